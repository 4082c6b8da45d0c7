"""Nobody starves: not a quiet definition beside a noisy one, nor what waits in the store beside what just starts."""

import asyncio
from collections import Counter

import pytest

from sagafsm import SagaDefinition, Settings, Sleep, Step
from sagafsm.core.errors import StoreUnavailable
from tests.runtime.steps import one_step
from tests.runtime.world import Around, state_of


def named(name, action, **options):
    return SagaDefinition(name=name, steps=[Step("work", action, compensatable=False)], **options)


async def a_second(data):
    await asyncio.sleep(1)


class Counting(Around):
    """Counts claims, and says what each asked for."""

    def __init__(self, store):
        super().__init__(store)
        self.claims = []

    async def claim(self, worker_id, kinds, *, limit, saga_ids=None):
        claim = await self.inner.claim(worker_id, kinds, limit=limit, saga_ids=saga_ids)
        self.claims.append((len(kinds), limit, len(claim.sagas)))
        return claim


async def stored(world, definition, count, prefix):
    """Sagas that are due, and that nobody runs yet."""
    submitter = await world.open(f"submitter of {prefix}", definition, worker=False)
    for number in range(count):
        await submitter.ask(lambda to, n=number: to.start(definition, saga_id=f"{prefix}-{n}"))
    await submitter.close()


async def all_ended(orchestrator):
    while (await orchestrator.stats()).live:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0.5)


@pytest.mark.parametrize("workers", [1, 3])
async def test_a_noisy_definition_does_not_hold_up_the_others(world, workers):
    noisy, quiet, silent = (named(name, a_second) for name in ("noisy", "quiet", "silent"))
    await stored(world, noisy, 1000, "noisy")
    processes = [
        await world.open(f"worker-{number}", noisy, quiet, silent, settings=Settings(concurrency=10))
        for number in range(workers)
    ]
    await asyncio.sleep(5.5)
    begun = world.time
    await stored(world, quiet, 1, "quiet")
    await processes[0].ask(lambda to: to.wait("quiet-0", timeout=100))
    assert world.time - begun < 4
    assert (await processes[0].ask(lambda to: to.stats())).live > 500
    for process in processes:
        await process.close()


async def test_two_noisy_definitions_share_the_places(world):
    """The first has a thousand that fell due before the first of the second."""
    first, second = named("first", a_second), named("second", a_second)
    await stored(world, first, 400, "first")
    await asyncio.sleep(1)
    await stored(world, second, 400, "second")
    running = Counter()
    async with world.orchestrator(first, second, settings=Settings(concurrency=20)) as orchestrator:
        for _ in range(15):
            await asyncio.sleep(1.01)
            running.update(driver.definition.name for driver in orchestrator._engine.drivers.values())
    assert 0.4 < running["second"] / running.total() < 0.6
    assert running.total() > 15 * 18


async def test_one_definition_gets_all_the_places_and_costs_one_claim_more_a_second(world):
    noisy, silent, store = named("noisy", a_second), named("silent", a_second), Counting(world.store)
    await stored(world, noisy, 300, "noisy")
    async with world.orchestrator(noisy, silent, store=store, settings=Settings(concurrency=20)) as orchestrator:
        await all_ended(orchestrator)
    assert world.time < 18  # 15 s at best
    extra = [claim for claim in store.claims if claim[0] == 1]
    assert 0 < len(extra) <= world.time + 2


async def test_what_the_first_of_two_claims_took_is_driven_though_the_second_fails(world):
    class FailsTheSecond(Around):
        failed = False

        async def claim(self, worker_id, kinds, *, limit, saga_ids=None):
            if self.armed and len(kinds) == 2:
                self.armed, self.failed = False, True
                raise StoreUnavailable("away")
            claim = await self.inner.claim(worker_id, kinds, limit=limit, saga_ids=saga_ids)
            self.armed = self.armed or (len(kinds) == 1 and bool(claim.sagas) and not self.failed)
            return claim

    noisy, quiet, store = named("noisy", a_second), named("quiet", a_second), FailsTheSecond(world.store)
    store.armed = False
    await stored(world, noisy, 30, "noisy")
    async with world.orchestrator(noisy, quiet, store=store, settings=Settings(concurrency=5)) as orchestrator:
        await asyncio.sleep(2.5)
        await stored(world, quiet, 1, "quiet")
        await orchestrator.wait("quiet-0", timeout=5)
        assert store.failed
        await all_ended(orchestrator)


async def test_what_waits_in_the_store_goes_before_what_is_started_just_now(world):
    """Users who start the next saga whenever one has ended do not take every place that becomes free."""
    definition = one_step(a_second)
    async with world.orchestrator(definition, settings=Settings(concurrency=3)) as orchestrator:

        async def keep_starting():
            while True:
                await orchestrator.run(definition)

        users = [asyncio.ensure_future(keep_starting()) for _ in range(3)]
        await asyncio.sleep(2.5)
        await stored(world, definition, 1, "patient")
        begun = world.time
        await orchestrator.wait("patient-0", timeout=100)
        assert world.time - begun < 5
        for user in users:
            user.cancel()


async def test_a_saga_whose_pause_is_over_goes_before_what_is_started_just_now(world):
    definition, nap = one_step(a_second), SagaDefinition(name="nap", steps=[Sleep("nap", 10)])
    async with world.orchestrator(definition, nap, settings=Settings(concurrency=3)) as orchestrator:
        await orchestrator.start(nap, saga_id="nap")

        async def keep_starting():
            while True:
                await orchestrator.run(definition)

        users = [asyncio.ensure_future(keep_starting()) for _ in range(3)]
        await orchestrator.wait("nap", timeout=100)
        assert world.time < 15
        for user in users:
            user.cancel()


async def test_starting_more_than_there_is_room_for_fills_the_store_and_not_the_memory(world):
    store, definition = Counting(world.store), one_step(a_second)
    settings = Settings(concurrency=50)
    async with world.orchestrator(definition, store=store, settings=settings) as orchestrator:
        before = len(asyncio.all_tasks())
        for number in range(3000):
            await orchestrator.start(definition, saga_id=f"s-{number}")
        engine = orchestrator._engine
        assert world.time < 0.5
        assert (len(engine.drivers), len(engine.unborn), len(engine.orphans)) == (50, 0, 0)
        assert len(asyncio.all_tasks()) - before < 2 * 50 + 10
        assert len(store.claims) < 20  # one for each start would be too much
        while (await orchestrator.stats()).live:
            await asyncio.sleep(1)
            assert len(engine.drivers) <= 50
        assert world.time < 70  # 60 s at best
        assert len(store.claims) < 300
        assert state_of(await orchestrator.get("s-2999")) == "completed"
