"""Errors of work that outlives its caller are heard of. Found by the simulation, which cancels verbs at every step."""

import asyncio
import gc

import pytest

from sagafsm import OutcomeUnknown


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
