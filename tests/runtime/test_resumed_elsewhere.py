"""What somebody else writes may let steps begin that the call which ends at that moment has nothing to do with.

Found by the simulation: a step waited for ever, because its saga was resumed elsewhere just when another call ended.
"""

import asyncio

from sagafsm import Parallel, SagaDefinition, Sequence, Step
from tests.runtime.world import Around, state_of


class Between(Around):
    """Somebody resumes the saga before the end of step ``d`` is stored."""

    resume = None

    async def commit(self, batch):
        ends = [event for append in batch for event in append.events if event.type == "StepSucceeded"]
        if self.resume is not None and any(b'"step":"d"' in event.data for event in ends):
            resume, self.resume = self.resume, None
            await resume("s", actor="ann", reason="go on")
        return await self.inner.commit(batch)


async def test_a_saga_that_is_resumed_elsewhere_while_a_call_ends_goes_on_with_all_that_waits(world, did):
    async def quick(data, ctx):
        await asyncio.sleep(1)
        did(ctx.step)

    async def slow(data, ctx):
        await asyncio.sleep(5)
        did(ctx.step)

    saga = SagaDefinition(
        name="resumed",
        steps=[
            Parallel(
                Sequence(Step("b", quick, compensatable=False), Step("c", quick, compensatable=False)),
                Step("d", slow, compensatable=False),
            )
        ],
    )
    store = Between(world.store)
    async with (
        world.orchestrator(saga, store=store) as orchestrator,
        world.orchestrator(saga, worker=False) as elsewhere,
    ):
        await orchestrator.start(saga, None, saga_id="s")
        await orchestrator.suspend("s", actor="ann", reason="wait")
        await asyncio.sleep(2)
        assert did.names == ["b"]
        store.resume = elsewhere.resume
        assert state_of(await orchestrator.wait("s", timeout=100)) == "completed"
        assert sorted(did.names) == ["b", "c", "d"]
