"""The sagas of the acceptance tests, one of each shape, and the participants they call.

What must stay true: how a call ends depends on its step and its attempt only, never on which process makes it, so
that a saga ends the same way however often its processes are killed.
"""

from __future__ import annotations

import _thread
import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from sagafsm import (
    Compensation,
    Fallback,
    Orchestrator,
    Parallel,
    Rejected,
    RetryPolicy,
    SagaDefinition,
    SagaState,
    Step,
    StepContext,
    SubSaga,
)

from .failpoints import AFTER_EFFECT, BEFORE_EFFECT, Failpoints
from .ledger import Ledger

AT_ONCE = RetryPolicy(max_attempts=3, initial_interval=0, jitter=0, max_interruptions=100)
Data = dict[str, str]
Action = Callable[[Data, StepContext], Awaitable[str | None]]


class World:
    """The participants of one process, and (once it is there) the orchestrator that their replies go to."""

    def __init__(self, folder: Path, failpoints: Failpoints | None = None) -> None:
        self.ledger = Ledger(folder)
        self._failpoints = failpoints or Failpoints(folder)
        self.orchestrator: Orchestrator | None = None
        self._replies: set[asyncio.Task[None]] = set()

    # --- what steps call ---

    async def act(self, data: Data, ctx: StepContext) -> str:
        return self.act_in_a_thread(data, ctx)

    def act_in_a_thread(self, data: Data, ctx: StepContext) -> str:
        self._do(ctx)
        return f"done {ctx.step}"

    async def act_at_the_second_attempt(self, data: Data, ctx: StepContext) -> str:
        if ctx.attempt == 1:
            self.ledger.called(ctx.saga_id, ctx.step, ctx.idempotency_key, ctx.attempt)
            raise RuntimeError("not now")
        return await self.act(data, ctx)

    async def act_slowly(self, data: Data, ctx: StepContext) -> str:
        await asyncio.sleep(0.02)
        return await self.act(data, ctx)

    async def act_behind_the_gate(self, data: Data, ctx: StepContext) -> str:
        """Wait until somebody opens the gate."""
        stands_at_the_gate(self.ledger.path.parent, os.getpid(), ctx.saga_id).touch()
        while not gate(self.ledger.path.parent).exists():  # noqa: ASYNC110 - another process opens it
            await asyncio.sleep(0.01)
        return await self.act(data, ctx)

    async def act_or_be_interrupted(self, data: Data, ctx: StepContext) -> str:
        """Unless the gate is open, be at work when Ctrl-C is pressed twice."""
        if not gate(self.ledger.path.parent).exists():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return await self.act(data, ctx)

    def act_behind_the_gate_in_a_thread(self, data: Data, ctx: StepContext) -> str:
        while not gate(self.ledger.path.parent).exists():
            time.sleep(0.01)
        return self.act_in_a_thread(data, ctx)

    def act_or_interrupt_without_waking_anybody(self, data: Data, ctx: StepContext) -> str:
        """Unless the gate is open, see to a Ctrl-C that comes just before the main thread falls asleep."""
        if not gate(self.ledger.path.parent).exists():
            _thread.interrupt_main()
        return self.act_behind_the_gate_in_a_thread(data, ctx)

    async def act_or_reject(self, data: Data, ctx: StepContext) -> str:
        return await (self.reject if data["item"] == "unicorn" else self.act)(data, ctx)

    async def reject(self, data: Data, ctx: StepContext) -> str:
        self.ledger.called(ctx.saga_id, ctx.step, ctx.idempotency_key, ctx.attempt)
        self._failpoints.reach(BEFORE_EFFECT)
        raise Rejected("out of stock")

    async def hand_over(self, data: Data, ctx: StepContext) -> None:
        self._do(ctx, reply=True)
        self._reply(ctx.saga_id, ctx.step, undo=False)

    async def undo(self, data: Data, result: str | None, ctx: StepContext) -> None:
        self._undo(ctx)

    async def hand_over_the_undoing(self, data: Data, result: str | None, ctx: StepContext) -> None:
        self._undo(ctx, reply=True)
        self._reply(ctx.saga_id, ctx.step, undo=True)

    def _do(self, ctx: StepContext, *, reply: bool = False) -> None:
        self.ledger.called(ctx.saga_id, ctx.step, ctx.idempotency_key, ctx.attempt)
        self._failpoints.reach(BEFORE_EFFECT)
        self.ledger.do(ctx.saga_id, ctx.step, ctx.via, ctx.idempotency_key, reply=reply)
        self._failpoints.reach(AFTER_EFFECT)

    def _undo(self, ctx: StepContext, *, reply: bool = False) -> None:
        self.ledger.called(ctx.saga_id, ctx.step, ctx.idempotency_key, ctx.attempt)
        self._failpoints.reach(BEFORE_EFFECT)
        self.ledger.undo(ctx.saga_id, ctx.step, ctx.via, ctx.idempotency_key, ctx.action_key, reply=reply)
        self._failpoints.reach(AFTER_EFFECT)

    # --- replies: delivered at least once, also by the next process ---

    def deliver_what_is_left(self) -> None:
        """Send the replies that an earlier process was to send."""
        for saga_id, step, undo in self.ledger.replies():
            self._reply(saga_id, step, undo=undo)

    def _reply(self, saga_id: str, step: str, *, undo: bool) -> None:
        task = asyncio.get_running_loop().create_task(self._deliver(saga_id, step, undo=undo))
        self._replies.add(task)
        task.add_done_callback(self._replies.discard)

    async def _deliver(self, saga_id: str, step: str, *, undo: bool) -> None:
        assert self.orchestrator is not None
        await self.orchestrator.complete_step(
            saga_id, step, None if undo else f"done {step}", message_id=f"{step}-{undo}", compensation=undo
        )
        self.ledger.delivered(saga_id, step, undo=undo)


def stands_at_the_gate(folder: Path, pid: int, saga_id: str) -> Path:
    """The file that says that a call of this process has begun, not only its event been stored."""
    return folder / f"at-the-gate-{pid}-{saga_id}"


def gate(folder: Path) -> Path:
    """The file that opens the gate for all processes that work in this folder."""
    return folder / "gate"


def shape(name: str, world: World) -> SagaDefinition:
    """The definition of this shape, calling these participants."""
    return SHAPES[name](world)


def _definition(name: str, *steps: Step | Parallel | SubSaga, parallel_compensation: bool = False) -> SagaDefinition:
    return SagaDefinition(
        name=name,
        version=1,
        steps=list(steps),
        retry=AT_ONCE,
        compensation_retry=AT_ONCE,
        parallel_compensation=parallel_compensation,
    )


def _happy(world: World) -> SagaDefinition:
    return _definition(
        "happy",
        Step("reserve", world.act, compensation=world.undo),
        Step("charge", world.act_in_a_thread, compensation=world.undo),
        Step("ship", world.act_at_the_second_attempt, compensation=world.undo),
        Step("confirm", world.act, compensatable=False),
    )


def _undone(world: World) -> SagaDefinition:
    return _definition(
        "undone",
        Step("reserve", world.act, compensation=world.undo),
        Step("charge", world.act, compensation=world.undo),
        Step("ship", world.act, compensation=world.undo),
        Step("confirm", world.reject, compensatable=False),
    )


def _pivot(world: World) -> SagaDefinition:
    return _definition(
        "pivot",
        Step("reserve", world.act, compensation=world.undo),
        Step("pay", world.act, pivot=True),
        Step("notify", world.act_at_the_second_attempt),
        Step("deliver", world.reject, fallback=Fallback(world.act)),
    )


def _parallel(world: World) -> SagaDefinition:
    return _definition(
        "parallel",
        Parallel(
            Step("flight", world.act, compensation=world.undo),
            Step("hotel", world.reject, compensation=world.undo),
            Step("car", world.act_in_a_thread, compensation=world.undo),
        ),
        Step("confirm", world.act, compensatable=False),
        parallel_compensation=True,
    )


def _reply(world: World) -> SagaDefinition:
    undoing = Compensation(world.hand_over_the_undoing, awaits_reply=True)
    return _definition(
        "reply",
        Step("quote", world.hand_over, awaits_reply=True, compensation=undoing),
        Step("order", world.reject, compensatable=False),
    )


def _family(world: World) -> SagaDefinition:
    child = _definition(
        "shipping",
        Step("pack", world.act, compensation=world.undo),
        Step("label", world.act, compensation=world.undo),
    )
    return _definition(
        "family",
        Step("reserve", world.act, compensation=world.undo),
        SubSaga("shipping", child),
        Step("confirm", world.reject, compensatable=False),
    )


def _small(world: World) -> SagaDefinition:
    return _definition(
        "small",
        Step("reserve", world.act, compensation=world.undo),
        Step("charge", world.reject, compensatable=False),
    )


def _busy(world: World) -> SagaDefinition:
    return _definition(
        "busy",
        Step("reserve", world.act_slowly, compensation=world.undo),
        Step("charge", world.act_slowly, compensation=world.undo),
        Step("ship", world.act_or_reject, compensatable=False),
    )


def _gated(world: World) -> SagaDefinition:
    return _with_a_gate("gated", world, world.act_behind_the_gate)


def _gated_thread(world: World) -> SagaDefinition:
    return _with_a_gate("gated-thread", world, world.act_behind_the_gate_in_a_thread)


def _interrupted(world: World) -> SagaDefinition:
    return _with_a_gate("interrupted", world, world.act_or_be_interrupted)


def _interrupted_asleep(world: World) -> SagaDefinition:
    return _with_a_gate("interrupted-asleep", world, world.act_or_interrupt_without_waking_anybody)


def _with_a_gate(name: str, world: World, action: Callable[..., object]) -> SagaDefinition:
    return _definition(
        name,
        Step("reserve", world.act, compensation=world.undo),
        Step("charge", action, compensation=world.undo),
        Step("ship", world.act, compensatable=False),
    )


SHAPES: Mapping[str, Callable[[World], SagaDefinition]] = {
    "happy": _happy,
    "undone": _undone,
    "pivot": _pivot,
    "parallel": _parallel,
    "reply": _reply,
    "family": _family,
    "small": _small,
    "busy": _busy,
    "gated": _gated,
    "gated-thread": _gated_thread,
    "interrupted": _interrupted,
    "interrupted-asleep": _interrupted_asleep,
}

ENDS: Mapping[str, SagaState] = dict.fromkeys(SHAPES, SagaState.FAILED) | {
    "happy": SagaState.COMPLETED,
    "pivot": SagaState.COMPLETED,
    "gated": SagaState.COMPLETED,
    "gated-thread": SagaState.COMPLETED,
    "interrupted": SagaState.COMPLETED,
    "interrupted-asleep": SagaState.COMPLETED,
}
"""How a saga of each shape ends."""
