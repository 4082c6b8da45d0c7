"""Steps and definitions that many tests of this folder use."""

from sagafsm import SagaDefinition, Step, StepContext
from tests.runtime.world import EXACT


def undo(data, result): ...


def failing(did, *errors, result=None, name="work"):
    """An action that raises these errors one after the other, and then succeeds."""
    left = list(errors)

    async def work(data, ctx: StepContext):
        did(f"{name} {ctx.attempt}")
        if left:
            raise left.pop(0)
        return result

    return work


def one_step(action, **options):
    options.setdefault("compensation", undo)
    options.setdefault("retry", EXACT)
    return SagaDefinition(name="one", steps=[Step("work", action, **options)])


async def run(world, definition, data=None, **options):
    async with world.orchestrator(definition, **options) as orchestrator:
        saga = await orchestrator.run(definition, data, saga_id="s-1", timeout=10_000)
        return saga, await orchestrator.history("s-1")
