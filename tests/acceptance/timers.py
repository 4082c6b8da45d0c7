"""Sagas that wait for a long time, one of each kind of wait; they are run like the other shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sagafsm import RetryPolicy, SagaDefinition, SagaState, Sleep, Step, StepContext, WaitFor

from .shapes import AT_ONCE, Data, World

HOUR = 3600.0
IN_AN_HOUR = RetryPolicy(max_attempts=3, initial_interval=HOUR, maximum_interval=HOUR, jitter=0)


def _definition(name: str, *steps: Step | Sleep | WaitFor, deadline: float | None = None) -> SagaDefinition:
    return SagaDefinition(
        name=name, version=1, steps=list(steps), retry=AT_ONCE, compensation_retry=IN_AN_HOUR, deadline=deadline
    )


def _around(name: str, world: World, wait: Step | Sleep | WaitFor, *, deadline: float | None = None) -> SagaDefinition:
    """A wait between two steps."""
    return _definition(
        name,
        Step("reserve", world.act, compensation=world.undo),
        wait,
        Step("confirm", world.act, compensatable=False),
        deadline=deadline,
    )


def _sleep(world: World) -> SagaDefinition:
    return _around("sleep", world, Sleep("wait", HOUR))


def _nap(world: World) -> SagaDefinition:
    return _around("nap", world, Sleep("wait", 0.5))


def _backoff(world: World) -> SagaDefinition:
    action = world.act_at_the_second_attempt
    return _around("backoff", world, Step("wait", action, compensation=world.undo, retry=IN_AN_HOUR))


def _signal(world: World) -> SagaDefinition:
    return _around("signal", world, WaitFor("wait", signal="approval", timeout=HOUR))


def _signal_or_not(world: World) -> SagaDefinition:
    return _around("signal-or-not", world, WaitFor("wait", signal="approval", timeout=HOUR, on_timeout="continue"))


def _deadline(world: World) -> SagaDefinition:
    return _around("deadline", world, WaitFor("wait", signal="approval"), deadline=HOUR)


def _silence(world: World) -> SagaDefinition:
    """The participant does its work and never says so: what it did has to be undone."""

    async def hand_over(data: Data, ctx: StepContext) -> None:
        await world.act(data, ctx)

    step = Step("wait", hand_over, compensation=world.undo, awaits_reply=True, timeout=HOUR, retry=RetryPolicy.none())
    return _around("silence", world, step)


def _undoing(world: World) -> SagaDefinition:
    async def undo(data: Data, result: str | None, ctx: StepContext) -> None:
        if ctx.attempt == 1:
            raise RuntimeError("not now")
        await world.undo(data, result, ctx)

    return _definition(
        "undoing",
        Step("reserve", world.act, compensation=undo),
        Step("confirm", world.reject, compensatable=False),
    )


WAITS: Mapping[str, tuple[Callable[[World], SagaDefinition], str, SagaState]] = {
    "sleep": (_sleep, "sleep", SagaState.COMPLETED),
    "nap": (_nap, "sleep", SagaState.COMPLETED),
    "backoff": (_backoff, "backoff", SagaState.COMPLETED),
    "signal": (_signal, "signal", SagaState.FAILED),
    "signal-or-not": (_signal_or_not, "signal", SagaState.COMPLETED),
    "deadline": (_deadline, "signal", SagaState.FAILED),
    "silence": (_silence, "reply", SagaState.FAILED),
    "undoing": (_undoing, "backoff", SagaState.FAILED),
}
"""Each with the kind of its wait, and how it ends when the time has passed."""
