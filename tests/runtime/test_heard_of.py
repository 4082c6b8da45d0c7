"""Errors of work that outlives its caller are heard of. Found by the simulation, which cancels verbs at every step."""

import asyncio
import gc

import pytest

from sagafsm import OutcomeUnknown, SagaDefinition, Step
from tests.runtime.world import Around, state_of


async def test_an_error_in_the_instant_in_which_its_caller_is_cancelled(world, caplog):
    unheard = []
    world.loop.set_exception_handler(lambda loop, context: unheard.append(context["message"]))
    async with world.orchestrator(worker=False) as orchestrator:

        async def fail():
            waiting.cancel()
            raise OutcomeUnknown("the answer was lost")

        waiting = asyncio.create_task(orchestrator._engine.to_the_end(fail()))
        with pytest.raises(asyncio.CancelledError):
            await waiting
    gc.collect()
    assert unheard == []
    assert "in the background: the answer was lost" in caplog.text


class StoresLate(Around):
    """The first append takes half a minute."""

    late = True

    async def commit(self, batch):
        if self.late:
            self.late = False
            await asyncio.sleep(30)
        return await self.inner.commit(batch)


async def test_a_saga_whose_creation_is_answered_long_after_its_caller_was_cancelled_is_run(world, did):
    async def pay(data):
        did("pay")

    saga = SagaDefinition(name="payment", steps=[Step("pay", pay, compensatable=False)])
    async with world.orchestrator(saga, store=StoresLate(world.store)) as orchestrator:
        starting = asyncio.create_task(orchestrator.start(saga, saga_id="late"))
        await asyncio.sleep(1)
        starting.cancel()
        await asyncio.sleep(40)
        assert state_of(await orchestrator.wait("late", timeout=30)) == "completed"
    assert did.names == ["pay"]
