"""How often a store is asked: seldom where nothing happens, soon where something might, in time without any hint."""

import asyncio
from collections import Counter

import pytest

from sagafsm import InvalidInput, SagaDefinition, Settings, Sleep
from sagafsm.core.errors import StoreUnavailable
from tests.runtime.steps import one_step
from tests.runtime.world import Around

ASKED = (
    "claim", "commit", "counts", "definitions", "events", "find", "heartbeat", "load", "now", "purge", "release",
    "retire", "save_definition", "setup", "workers", "acquire", "give_back",
)  # fmt: skip


class Counted(Around):
    """Counts every call, by name."""

    def __init__(self, store):
        super().__init__(store)
        self.calls = Counter()

    def __getattribute__(self, name):
        if name in ASKED:
            self.calls[name] += 1
            return getattr(self.inner, name)
        return super().__getattribute__(name)


class Hinted(Counted):
    """Tells of changes when it is told to."""

    def __init__(self, store):
        super().__init__(store)
        self.changed = asyncio.Event()

    async def wait_for_change(self, timeout):
        try:
            async with asyncio.timeout(timeout):
                await self.changed.wait()
        except TimeoutError:
            return False
        self.changed.clear()
        return True


@pytest.mark.parametrize("kind", [Counted, Hinted])
@pytest.mark.parametrize("poll_interval", [0.5, 5.0])
async def test_an_idle_worker_asks_twice_per_interval_and_little_besides(world, kind, poll_interval):
    store = kind(world.store)
    definition = one_step(lambda data: None)
    async with world.orchestrator(definition, store=store, poll_interval=poll_interval, lease=30):
        await asyncio.sleep(60)
        before = store.calls.copy()
        await asyncio.sleep(1200)
        calls = store.calls - before
    assert set(calls) == {"claim", "workers", "heartbeat", "counts"}
    looks = 1200 / poll_interval
    assert looks * 0.9 <= calls["claim"] <= looks + 2
    assert calls["workers"] <= looks + 1200 / 10 + 2
    assert calls["heartbeat"] == pytest.approx(1200 / 10, abs=2)
    assert calls["counts"] <= 1200 / 60 + 1


async def test_whoever_only_submits_keeps_quiet(world):
    store = Counted(world.store)
    definition = one_step(lambda data: None)
    async with world.orchestrator(definition, store=store, worker=False) as orchestrator:
        await orchestrator.start(definition)
        store.calls.clear()
        await asyncio.sleep(1200)
        assert not store.calls


async def test_a_saga_that_another_process_handed_in_is_taken_up_within_the_interval(world):
    async def at_once(data):
        return world.time

    definition = one_step(at_once)
    submitter = await world.open("submitter", definition, worker=False)
    async with world.orchestrator(definition, poll_interval=2.0) as worker:
        for number in range(20):
            await asyncio.sleep(7.3)
            begun = world.time
            await submitter.ask(lambda to, n=number: to.start(definition, saga_id=f"s-{n}"))
            saga = await worker.wait(f"s-{number}")
            assert saga.results["work"] - begun <= 2.01
    await submitter.close()


async def test_a_hint_saves_the_wait(world):
    store = Hinted(world.store)
    definition = one_step(lambda data: None)
    async with world.orchestrator(definition, store=store, poll_interval=60.0) as worker:
        submitter = await world.open("submitter", definition, worker=False)
        await asyncio.sleep(90)
        begun = world.time
        await submitter.ask(lambda to: to.start(definition, saga_id="s"))
        store.changed.set()
        await worker.wait("s")
        assert world.time - begun < 0.5
        await submitter.close()


async def test_a_storm_of_hints_is_not_a_storm_of_questions(world):
    """A busy neighbour on the same database writes all the time."""
    store = Hinted(world.store)
    definition = one_step(lambda data: None)
    async with world.orchestrator(definition, store=store, poll_interval=1.0):
        before = store.calls["claim"]
        for _ in range(2000):
            store.changed.set()
            await asyncio.sleep(0.001)
        assert store.calls["claim"] - before <= 2 / 0.02 + 5


async def test_looks_that_find_something_come_soon_after_another_and_then_less_often(world):
    store = Counted(world.store)
    definition = SagaDefinition(name="naps", steps=[Sleep("nap", 100)])
    settings = Settings(concurrency=5)
    async with world.orchestrator(definition, store=store, poll_interval=10.0, settings=settings) as orchestrator:
        await orchestrator.start(definition)
        await asyncio.sleep(99)
        before = store.calls["claim"]
        await asyncio.sleep(11)  # the nap is over after one of them
        assert store.calls["claim"] - before <= 12


async def test_however_many_wait_for_sagas_that_run_elsewhere_they_look_together(world):
    async def slow(data):
        await asyncio.sleep(30)

    definition = one_step(slow)
    elsewhere = await world.open("elsewhere", definition)
    store = Counted(world.store)
    async with world.orchestrator(definition, store=store, worker=False) as orchestrator:
        for number in range(1000):
            await elsewhere.ask(lambda to, n=number: to.start(definition, saga_id=f"s-{n}"))
        store.calls.clear()
        found = await asyncio.gather(*(orchestrator.wait(f"s-{number}", timeout=100) for number in range(1000)))
    assert {saga.state.value for saga in found} == {"completed"}
    assert store.calls["load"] < 10 * 40  # a hundred at once, for 31 seconds and the first moments
    await elsewhere.close()


async def test_a_look_that_fails_is_an_error_of_those_who_looked(world):
    class Failing(Counted):
        failing = False

        async def load(self, saga_ids):
            if self.failing:
                self.failing = False
                raise StoreUnavailable("away")
            return await self.inner.load(saga_ids)

        def __getattribute__(self, name):
            return object.__getattribute__(self, name)

    definition = SagaDefinition(name="naps", steps=[Sleep("nap", 10)])
    elsewhere = await world.open("elsewhere", definition)
    await elsewhere.ask(lambda to: to.start(definition, saga_id="s"))
    store = Failing(world.store)
    async with world.orchestrator(definition, store=store, worker=False) as orchestrator:
        store.failing = True
        answers = await asyncio.gather(*(orchestrator.wait("s") for _ in range(3)), return_exceptions=True)
        assert [str(answer) for answer in answers] == ["away"] * 3
        assert (await orchestrator.wait("s", timeout=60)).state.value == "completed"
    await elsewhere.close()


async def test_who_waits_when_all_is_closed_is_told(world):
    class Hanging(Around):
        async def load(self, saga_ids):
            await asyncio.sleep(3600)

    definition = SagaDefinition(name="naps", steps=[Sleep("nap", 10)])
    async with world.orchestrator(definition, store=Hanging(world.store), worker=False) as orchestrator:
        waiting = asyncio.ensure_future(orchestrator.wait("s"))
        await asyncio.sleep(1)
    with pytest.raises(InvalidInput, match="the orchestrator was closed before the saga came to its end"):
        await waiting
