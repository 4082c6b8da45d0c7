"""A lease that ran out and was renewed later: what was announced under it is not begun any more.

Found by the simulation: a frozen process, thawed, renewed its lease before the answer to its last append came in, and
then made a call that its successor had made long ago. Later: the same, where it was thawed at the very moment at which
its lease ended and its successor claimed.
"""

import asyncio

import pytest

from sagafsm import Orchestrator, SagaDefinition, Step, StoreUnavailable
from tests.runtime.world import Around


class AnswersLate(Around):
    """What is stored of a certain step is stored at once, and the answer takes its time."""

    async def commit(self, batch):
        results = await self.inner.commit(batch)
        if any(event.type == "AttemptStarted" and b'"b"' in event.data for new in batch for event in new.events):
            await asyncio.sleep(15)
        return results


@pytest.mark.parametrize("late", [4.0, 9.0])
async def test_a_call_announced_under_a_lease_that_ran_out_is_not_begun(world, did, late):
    """``late`` 4: five seconds after its only heartbeat, when the lease of five seconds ends."""

    async def a(data):
        did("a")

    async def b(data):
        did("b")

    saga = SagaDefinition(name="letters", steps=[Step("a", a, compensatable=False), Step("b", b, compensatable=False)])
    cluster = {"lease": 5, "poll_interval": 1}
    first = await world.open("first", saga, store=AnswersLate(world.store), **cluster)
    second = await world.open("second", saga, **cluster)
    starting = first.spawn(lambda to: to.start(saga, saga_id="s"))
    await asyncio.sleep(1)
    world.loop.freeze("first")
    await asyncio.sleep(late)
    await world.idle()
    assert did.names == ["a", "b"]
    world.loop.thaw("first")
    await asyncio.sleep(20)
    assert did.names == ["a", "b"]
    assert starting.done()
    await first.close()
    await second.close()


class HearsOnce(Around):
    """The first heartbeat counts, all later ones fail."""

    heard = False

    async def heartbeat(self, worker_id, ttl):
        if self.heard:
            raise StoreUnavailable("no")
        self.heard = True
        return await self.inner.heartbeat(worker_id, ttl)


async def test_a_clock_that_begins_below_zero_lets_no_lease_hold_for_ever(world, did):
    """Found by the simulation: a monotonic clock may begin anywhere, and 0 was later than all of its times."""
    saga = SagaDefinition(name="letter", steps=[Step("a", lambda data: did("a"), compensatable=False)])
    environment = world.environment()
    environment.monotonic = lambda: world.time - 1000
    async with Orchestrator(HearsOnce(world.store), sagas=[saga], environment=environment, lease=5) as orchestrator:
        assert orchestrator._engine.lease_holds()
        await asyncio.sleep(10)
        assert not orchestrator._engine.lease_holds()
