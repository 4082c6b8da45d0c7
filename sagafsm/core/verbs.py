"""What comes from outside: replies, signals and the verbs of operators.

What must stay true: asking twice changes nothing and has a clear answer; a message is accepted only by the attempt
it is for; nothing a person does brings a saga back from ``compensating`` to ``pending`` or past its pivot back.
"""

from __future__ import annotations

from . import events as e
from .backward import compensation_settled
from .commands import (
    AbortAsked,
    ChildStuck,
    ChildUnstuck,
    Delivery,
    OutcomeKind,
    ReplyArrived,
    ResumeAsked,
    RetryAsked,
    SignalArrived,
    SkipAsked,
    SuspendAsked,
    UndoAsked,
)
from .errors import InvalidInput, PastPivot, SagaFinished
from .forward import attempt_ended
from .lifecycle import SagaState, StepState
from .step import StepKind
from .turn import Turn


def signal_arrived(turn: Turn, signal: SignalArrived) -> None:
    """Keep the signal; the first step that waits for it consumes it."""
    if signal.message_id is not None and signal.message_id in turn.progress.message_ids:
        turn.delivery = Delivery.DUPLICATE
    elif not any(step.signal == signal.name for step in turn.definition.steps.values()):
        turn.delivery = Delivery.UNEXPECTED
    elif turn.ended or turn.progress.state is SagaState.COMPENSATING or not _wanted(turn, signal.name):
        turn.delivery = Delivery.LATE
    elif len(turn.progress.signals) >= 1000:
        raise InvalidInput(f"saga {turn.progress.saga_id}: 1000 signals wait to be consumed; no more are taken")
    else:
        turn.emit(e.SignalReceived(name=signal.name, payload=signal.payload, message_id=signal.message_id))
        for name, step in turn.in_state(StepState.RUNNING):
            if step.waiting == "signal" and step.waiting_name == signal.name:
                turn.succeed(name, signal.payload, "signal")
                return


def _wanted(turn: Turn, signal: str) -> bool:
    """Whether a step that waits for this signal has not ended yet."""
    return any(
        spec.signal == signal and turn.step(name).state in (StepState.WAITING, StepState.RUNNING)
        for name, spec in turn.definition.steps.items()
    )


def reply_arrived(turn: Turn, reply: ReplyArrived) -> None:
    """End the attempt that the reply is for, if that still waits."""
    spec = turn.definition.steps.get(reply.step)
    if reply.message_id is not None and reply.message_id in turn.progress.message_ids:
        turn.delivery = Delivery.DUPLICATE
    elif spec is None:
        turn.delivery = Delivery.UNEXPECTED
    elif reply.backward:
        _compensation_reply(turn, reply)
    else:
        _forward_reply(turn, reply)


def _forward_reply(turn: Turn, reply: ReplyArrived) -> None:
    spec, step = turn.definition.steps[reply.step], turn.step(reply.step)
    stuck = turn.progress.stuck and turn.progress.state is SagaState.PENDING
    if stuck and step.state is StepState.UNKNOWN and spec.kind is not StepKind.CHILD:
        _settle_by_reply(turn, reply)
        return
    handler = spec.forward(step.via)
    waits = spec.kind is StepKind.CHILD or (handler is not None and handler.awaits_reply)
    if not waits or step.state is StepState.WAITING:
        turn.delivery = Delivery.UNEXPECTED
    elif (
        step.state is not StepState.RUNNING
        or not (step.calling or step.waiting in ("reply", "child"))
        or (reply.attempt is not None and reply.attempt != step.attempts)
    ):
        turn.delivery = Delivery.LATE
    else:
        attempt_ended(turn, reply.step, reply.kind, reply.result, reply.error, by=reply.by, message_id=reply.message_id)
        _child_no_longer_holds(turn, reply.step)


def _settle_by_reply(turn: Turn, reply: ReplyArrived) -> None:
    """A step whose outcome is unknown, and for which the saga is stuck, is settled by whoever knows it.

    "Not this time" settles nothing: another of its attempts may have happened.
    """
    step = turn.step(reply.step)
    certain = reply.kind in (OutcomeKind.SUCCEEDED, OutcomeKind.REJECTED)
    if not certain or (reply.attempt is not None and reply.attempt != step.attempts):
        turn.delivery = Delivery.LATE
        return
    if reply.kind is OutcomeKind.SUCCEEDED:
        turn.succeed(reply.step, reply.result, "reply", reply.message_id)
    else:
        error = reply.error or turn.failure(reply.step, "Failed", "")
        turn.emit(e.StepFailed(step=reply.step, attempt=step.attempts, error=error, message_id=reply.message_id))
    _unstick_unless_held(turn, e.SagaUnstuck(decision="reply"))


def _compensation_reply(turn: Turn, reply: ReplyArrived) -> None:
    spec, step = turn.definition.steps[reply.step], turn.step(reply.step)
    handler = spec.backward(step.via)
    awaits = spec.kind is StepKind.CHILD or (handler is not None and handler.awaits_reply)
    if not awaits or turn.progress.state in (SagaState.STARTED, SagaState.PENDING):
        turn.delivery = Delivery.UNEXPECTED
    elif (
        step.state is not StepState.COMPENSATING
        or not (step.calling or step.waiting in ("reply", "child"))
        or (reply.attempt is not None and reply.attempt != step.compensation_attempts)
    ):
        turn.delivery = Delivery.LATE
    else:
        compensation_settled(turn, reply.step, reply.kind, reply.error, reply.message_id)
        _child_no_longer_holds(turn, reply.step)


# --- operators ---


def abort_asked(turn: Turn, asked: AbortAsked) -> None:
    """Stop forward work; refused once the saga can only go forward."""
    progress = turn.progress
    saga = f"saga {progress.saga_id}"
    if not asked.compensate and not asked.actor:
        raise InvalidInput(f"{saga}: an abort that undoes nothing (compensate=False) needs an actor")
    if progress.state is SagaState.COMPENSATING or progress.state is SagaState.FAILED:
        return
    if progress.state is SagaState.COMPLETED:
        raise SagaFinished(f"{saga} is completed: nothing is left to abort; start a saga that makes up for it")
    if turn.pivot_passed or turn.pivot_open:
        pivot = turn.definition.pivot
        state = "has succeeded" if turn.pivot_passed else "runs, or its outcome is unknown"
        raise PastPivot(f"{saga} is past its point of no return: the pivot {pivot!r} {state}; it can only go forward")
    if progress.abort is not None and (progress.abort.cut or not asked.cut):
        return
    turn.emit(
        e.AbortRequested(
            reason=asked.reason,
            actor=asked.actor,
            cut=asked.cut,
            compensate=asked.compensate,
            outcome=asked.outcome,
        )
    )
    if progress.stuck:
        turn.emit(e.SagaUnstuck(decision="abort", actor=asked.actor, reason=asked.reason))


def retry_asked(turn: Turn, asked: RetryAsked) -> None:
    """New attempts for what is stuck, and only for that."""
    if not turn.progress.stuck:
        return
    steps = tuple(held_steps(turn))
    for name in steps:
        step, spec = turn.step(name), turn.definition.steps[name]
        if step.state is StepState.UNKNOWN and not spec.idempotent and spec.probe is None:
            raise InvalidInput(
                f"saga {turn.progress.saga_id}: step {name} may have happened and is declared idempotent=False, "
                "so it is never called again; find out what happened and say so with complete_step or fail_step, "
                "or abort the saga"
            )
    turn.emit(e.SagaUnstuck(decision="retry", actor=asked.actor, reason=asked.reason, steps=steps))


def held_steps(turn: Turn) -> list[str]:
    """The steps for which the saga is stuck."""
    found = []
    for name, step in turn.progress.steps.items():
        if step.state is StepState.COMPENSATION_FAILED:
            if not step.waived:
                found.append(name)
        elif step.state is StepState.RUNNING or step.state is StepState.COMPENSATING:
            if step.halted:
                found.append(name)
        elif turn.progress.state is SagaState.PENDING and (
            (step.state is StepState.FAILED and turn.pivot_passed)
            or (step.state is StepState.UNKNOWN and _unsettled(turn, name))
        ):
            found.append(name)
    return found


def _unsettled(turn: Turn, name: str) -> bool:
    step, spec = turn.step(name), turn.definition.steps[name]
    if step.probing or step.waiting is not None:
        return False
    return spec.on_unknown != "compensate" or turn.pivot_passed


def skip_asked(turn: Turn, asked: SkipAsked) -> None:
    """Waive a stuck compensation, or pass over a stuck step after the pivot."""
    progress = turn.progress
    saga = f"saga {progress.saga_id}"
    if asked.step not in progress.steps:
        raise InvalidInput(f"{saga} has no step {asked.step!r}; it has: {', '.join(progress.steps)}")
    step = turn.step(asked.step)
    if step.waived or step.state is StepState.SKIPPED:
        return
    if not progress.stuck or asked.step not in held_steps(turn):
        raise InvalidInput(f"{saga}: step {asked.step} is not stuck, so there is nothing to skip")
    if step.state is StepState.COMPENSATION_FAILED:
        turn.emit(e.CompensationWaived(step=asked.step, actor=asked.actor, reason=asked.reason))
    elif turn.pivot_passed or asked.step == turn.definition.pivot:
        if step.state is StepState.RUNNING:
            error = step.error or turn.failure(asked.step, "Skipped", asked.reason)
            turn.emit(e.StepFailed(step=asked.step, error=error))
        turn.emit(e.StepSkipped(step=asked.step, actor=asked.actor, reason=asked.reason))
    else:
        raise InvalidInput(
            f"{saga}: step {asked.step} lies before the pivot and cannot be passed over; "
            "retry it, abort the saga, or say what happened with complete_step or fail_step"
        )
    _unstick_unless_held(turn, e.SagaUnstuck(decision="skip", actor=asked.actor, reason=asked.reason))


def _unstick_unless_held(turn: Turn, event: e.SagaUnstuck) -> None:
    progress = turn.progress
    if not progress.stuck or progress.stuck_child is not None:
        return  # a stuck sub-saga still holds it, and says itself when it no longer does
    held = held_steps(turn)
    if not held:
        turn.emit(event)
    elif progress.stuck_step not in held:  # the reason given is settled: name what is left
        turn.emit(event)
        step = turn.step(held[0])
        turn.stick(f"step {held[0]} needs a person too: {step.compensation_error or step.error}", held[0])


def suspend_asked(turn: Turn, asked: SuspendAsked) -> None:
    """Nothing new starts until the saga is resumed."""
    if not turn.ended and not turn.progress.suspended:
        turn.emit(e.SagaSuspended(actor=asked.actor, reason=asked.reason))


def resume_asked(turn: Turn, asked: ResumeAsked) -> None:
    """Lift a suspension."""
    if not turn.ended and turn.progress.suspended:
        turn.emit(e.SagaResumed(actor=asked.actor, reason=asked.reason))


# --- parents and children ---


def child_stuck(turn: Turn, told: ChildStuck) -> None:
    """A sub-saga waits for a person: so does its parent, and says for which child."""
    if turn.step(told.step).waiting == "child":
        turn.stick(f"its sub-saga {told.child_id} is stuck: {told.reason}", told.step, told.child_id)


def child_unstuck(turn: Turn, told: ChildUnstuck) -> None:
    """The sub-saga goes on, and so does its parent."""
    if turn.progress.stuck_child == told.child_id:
        turn.emit(e.SagaUnstuck(decision="child"))


def _child_no_longer_holds(turn: Turn, name: str) -> None:
    if turn.progress.stuck_child is not None and turn.progress.stuck_step == name:
        turn.emit(e.SagaUnstuck(decision="child"))


def undo_asked(turn: Turn, asked: UndoAsked) -> None:
    """The parent undoes this sub-saga, wherever it stands."""
    state = turn.progress.state
    if turn.progress.parent_id is None:
        raise InvalidInput(f"saga {turn.progress.saga_id} is nobody's sub-saga: abort it, if it is to be undone")
    if state is SagaState.COMPLETED:
        if turn.pivot_passed:
            raise PastPivot(
                f"saga {turn.progress.saga_id} is past its pivot {turn.definition.pivot!r}: it stays as it is"
            )
        turn.emit(e.CompensationStarted(cause=asked.cause, undo=True))
    elif state is SagaState.STARTED or state is SagaState.PENDING:
        abort_asked(turn, AbortAsked(reason=str(asked.cause), outcome="compensated"))
