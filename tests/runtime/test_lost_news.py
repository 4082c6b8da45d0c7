"""What a child has to say reaches its parent, also when the process died before it could say so."""

import asyncio

from sagafsm import SagaDefinition, Step, SubSaga
from tests.runtime.world import NEVER, state_of, types


class DiesWith:
    """A hook: the process dies when this event of this saga is stored, before anybody is told."""

    def __init__(self, saga_id, event):
        self.process = None
        self._at = (saga_id, event)

    async def on_transition(self, instance, event):
        if (instance.saga_id, event.type) == self._at:
            self.process.kill()
            await asyncio.Event().wait()


async def test_a_step_after_a_child_whose_end_was_not_told_is_called_once(world, did):
    """It was called twice at a time: first when the news was found, again as if its first call had died."""

    async def work(data, ctx):
        did(f"{ctx.step} {ctx.attempt}")

    child = SagaDefinition(name="child", version=1, steps=[Step("pack", work, compensatable=False)])
    parent = SagaDefinition(
        name="parent",
        version=1,
        steps=[
            SubSaga("shipping", child),
            Step("confirm", work, compensatable=False, idempotent=False, retry=NEVER),
        ],
    )
    hook = DiesWith("p:shipping", "SagaCompleted")
    hook.process = await world.open("first", parent, hooks=[hook])
    await hook.process.ask(lambda to: to.create(parent, saga_id="p"))
    hook.process.spawn(lambda to: to.start(parent, saga_id="p"))
    await world.idle()
    assert did.names == ["pack 1"]

    async with world.orchestrator(parent) as orchestrator:
        saga = await orchestrator.wait("p", timeout=600)
        history = await orchestrator.history("p")
    assert state_of(saga) == "completed"
    assert did.names == ["pack 1", "confirm 1"]
    assert types(history).count("AttemptStarted") == 2
