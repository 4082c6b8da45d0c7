"""Steps beside one another: what becomes ready through one is not forgotten because another ends at that moment."""

import asyncio
import random

import pytest

from sagafsm import Limit, SagaDefinition, Settings, Step, WaitFor
from sagafsm.testing import VirtualLoop
from tests.runtime.steps import one_step, undo
from tests.runtime.world import EXACT, Around, World, state_of


def step(did, name, seconds=0.0, times=1, **options):
    """``times``: how often its first call is cut off before it is through."""
    calls = 0

    async def work(data):
        nonlocal calls
        calls += 1
        if calls < times:
            raise asyncio.CancelledError
        await asyncio.sleep(seconds)
        did(name)

    return Step(name, work, compensation=undo, retry=EXACT, **options)


@pytest.mark.parametrize("seconds", [4, 8])
async def test_what_was_written_elsewhere_makes_ready_is_begun_also_where_a_call_ends_first(world, did, seconds):
    """The end of a call looks only at what follows it: what a signal from elsewhere had made ready was forgotten."""
    definition = SagaDefinition(
        name="beside",
        steps=[
            step(did, "a", seconds),
            WaitFor("go", signal="go", after=()),
            step(did, "b"),
            step(did, "c", 6, after=()),
        ],
    )
    async with (
        world.orchestrator(definition, poll_interval=500, lease=5_000) as here,
        world.orchestrator(definition, worker=False) as there,
    ):
        await here.start(definition, saga_id="s-1")
        await asyncio.sleep(2)
        await there.signal("s-1", "go")
        assert state_of(await here.wait("s-1", timeout=100)) == "completed"
    assert sorted(did.names) == ["a", "b", "c"]


async def test_a_step_that_waits_for_its_limit_is_not_forgotten_when_another_one_ends(world, did):
    """The end of a call looks only at what follows it: what waited for its limit was given up, for ever."""
    limit = Limit("one", concurrency=1)
    busy = one_step(lambda data: asyncio.sleep(5), limit=limit)
    definition = SagaDefinition(name="beside", steps=[step(did, "a", 1), step(did, "b", after=(), limit=limit)])
    async with world.orchestrator(busy, definition) as orchestrator:
        await orchestrator.start(busy)
        await asyncio.sleep(0.5)
        await orchestrator.start(definition, saga_id="s-1")
        assert state_of(await orchestrator.wait("s-1", timeout=100)) == "completed"
    assert did.names == ["a", "b"]


async def test_calls_that_died_are_made_again_although_their_saga_was_suspended_at_that_moment(world, did):
    """It was kept because of a permit that it had been granted, and when it was resumed nobody made its calls."""

    class Meddled(Around):
        suspended = False

        async def commit(self, batch):
            if not self.suspended and any(b"interruption" in event.data for append in batch for event in append.events):
                self.suspended = True
                await operator.suspend("s-1", actor="eve", reason="audit")
            return await self.inner.commit(batch)

    limit, store = Limit("one", concurrency=1), Meddled(world.store)
    definition = SagaDefinition(name="beside", steps=[step(did, "a", 5), step(did, "b", 5, after=(), limit=limit)])
    first = await world.open("first", definition)
    await first.ask(lambda to: to.start(definition, saga_id="s-1"))
    await asyncio.sleep(1)
    first.kill()
    async with world.orchestrator(definition, worker=False) as operator, world.orchestrator(definition, store=store):
        await asyncio.sleep(10)
        assert (store.suspended, did.names) == (True, [])
        await operator.resume("s-1")
        assert state_of(await operator.wait("s-1", timeout=100)) == "completed"
    assert did.names == ["a", "b"]


@pytest.mark.parametrize("seeds", [range(60), range(60, 120)])
def test_a_step_that_has_just_been_granted_its_permit_is_not_forgotten_when_another_one_ends(seeds):
    """Its saga was let go in between. In any order of what happens at one moment."""

    async def one():
        world, did = World(), []
        limit = Limit("one", concurrency=1)
        busy = one_step(lambda data: asyncio.sleep(2), limit=limit)
        definition = SagaDefinition(
            name="beside", steps=[step(did.append, "a", 1), step(did.append, "b", times=2, after=(), limit=limit)]
        )
        settings = Settings(store_patience=0.5, grace_period=0.5)
        async with world.orchestrator(busy, definition, settings=settings, poll_interval=0.1) as orchestrator:
            await orchestrator.start(definition, saga_id="s-1")
            await orchestrator.start(busy)
            assert state_of(await orchestrator.wait("s-1", timeout=100)) == "completed"
        assert sorted(did) == ["a", "b"]

    for seed in seeds:
        loop = VirtualLoop(choose=random.Random(seed).randrange)
        try:
            loop.run_until_complete(one())
        finally:
            loop.close()
