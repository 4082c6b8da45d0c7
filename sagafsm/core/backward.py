"""Going back: undoing what is due, in the reverse of the order in which it was done.

What must stay true: due is every step that succeeded or is unknown (or failed, where it asks for that), has
something to undo it and does not lie past the pivot; a compensation is never cancelled and never given up silently:
it succeeds, or is waived by a person, or leaves the saga stuck; ``failed`` is only reached when nothing stands.
"""

from __future__ import annotations

from . import events as e
from .commands import OUTCOME_FAILED, OUTCOME_SUCCEEDED, OUTCOME_UNKNOWN, CallEnded, OutcomeKind
from .forward import child_id
from .lifecycle import STEP_COMPENSATING, STEP_COMPENSATION_FAILED, STEP_FAILED, STEP_SUCCEEDED, STEP_UNKNOWN
from .progress import StepProgress
from .step import KIND_CHILD
from .turn import Turn

_DUE = (STEP_SUCCEEDED, STEP_COMPENSATING, STEP_UNKNOWN)


def go_back(turn: Turn) -> None:
    """Start every compensation that may start; end the saga when none is left."""
    if turn.halted:
        return
    abort = turn.progress.abort
    if abort is not None and not abort.compensate:
        for name in due(turn):
            if turn.step(name).state is not STEP_COMPENSATING:
                turn.emit(e.CompensationWaived(step=name, actor=abort.actor or "", reason=abort.reason))
    left = due(turn)
    if left:
        for name in _ready(turn, left):
            _begin(turn, name)
        return
    failed = [name for name, step in turn.in_state(STEP_COMPENSATION_FAILED) if not step.waived]
    if failed:
        error = turn.step(failed[0]).compensation_error
        turn.stick(f"the compensation of step {', '.join(failed)} failed: {error}", failed[0])
        return
    turn.emit(e.SagaFailed(outcome=_outcome(turn)))


def due(turn: Turn) -> list[str]:
    """The steps that are still to be undone, the next one first."""
    undoable = turn.definition.undoable
    found: list[tuple[int, str]] = []
    for name, step in turn.progress.steps.items():
        if name in undoable and not step.waived and (step.state in _DUE or _is_asked_for(turn, name, step)):
            found.append((step.ended, name))
    found.sort(reverse=True)
    return [name for _, name in found]


def _is_asked_for(turn: Turn, name: str, step: StepProgress) -> bool:
    """Whether a step is to be undone although it failed, or although undoing it has failed."""
    if step.state is STEP_FAILED:
        return turn.definition.steps[name].compensate_failed and step.attempts > 0
    return step.state is STEP_COMPENSATION_FAILED and step.again


def _ready(turn: Turn, left: list[str]) -> list[str]:
    if turn.definition.parallel_compensation:
        waiting = set(left)
        return [name for name in left if waiting.isdisjoint(turn.definition.descendants[name])]
    for name in left:
        if turn.progress.steps[name].state is STEP_COMPENSATING:
            return [name]
    return left[:1]


def _begin(turn: Turn, name: str) -> None:
    step = turn.progress.steps[name]
    if step.state is not STEP_COMPENSATING:
        turn.call_compensation(name, attempt=step.compensation_attempts + 1)
    elif step.waiting == "backoff" and step.due_at is not None and turn.now >= step.due_at:
        turn.call_compensation(
            name, attempt=step.compensation_attempts + 1, interruption=step.compensation_interruptions
        )


def _outcome(turn: Turn) -> e.Outcome:
    if any(step.waived for step in turn.progress.steps.values()):
        return "forced"
    return turn.progress.abort.outcome if turn.progress.abort is not None else "compensated"


# --- the end of a compensation's attempt ---


def compensation_ended(turn: Turn, ended: CallEnded) -> None:
    """The compensation returned or raised."""
    call = ended.call
    name, step = call.step, turn.progress.steps[call.step]
    if (
        step.state is not STEP_COMPENSATING
        or not step.calling
        or step.compensation_attempts != call.attempt
        or step.compensation_interruptions != call.interruption
    ):
        return
    spec = turn.definition.steps[name]
    if ended.kind is OUTCOME_SUCCEEDED and spec.kind is KIND_CHILD:
        child = child_id(turn, name)
        turn.emit(e.CompensationReplyAwaited(step=name, attempt=call.attempt, child=child))
        return
    handler = spec.backward(call.via)
    if ended.kind is OUTCOME_SUCCEEDED and handler is not None and handler.awaits_reply:
        until = None if handler.timeout is None else (step.started_at or turn.now) + handler.timeout
        turn.emit(e.CompensationReplyAwaited(step=name, attempt=call.attempt, until=until))
        return
    compensation_settled(turn, name, ended.kind, ended.error)


def compensation_settled(
    turn: Turn, name: str, kind: OutcomeKind, error: e.Failure | None, message_id: str | None = None
) -> None:
    """Record how the current attempt of a compensation ended, and whether another follows."""
    step = turn.progress.steps[name]
    attempt = step.compensation_attempts
    if kind is OUTCOME_SUCCEEDED:
        turn.emit(e.StepCompensated(step=name, attempt=attempt, message_id=message_id))
        return
    error = error or turn.failure(name, kind.value, "")
    policy = turn.definition.backward_retry[name, step.via]
    tried = attempt - step.compensation_base
    if (
        kind in (OUTCOME_FAILED, OUTCOME_UNKNOWN)
        and not policy.exhausted(tried)
        and turn.progress.version < turn.progress.event_budget
    ):
        retry_at = turn.now + policy.delay(tried, turn.surroundings.spread())
        turn.emit(
            e.CompensationAttemptFailed(
                step=name, attempt=attempt, error=error, retry_at=retry_at, message_id=message_id
            )
        )
        return
    _give_up(turn, name, attempt, error, message_id)


def _give_up(turn: Turn, name: str, attempt: int, error: e.Failure, message_id: str | None = None) -> None:
    turn.emit(e.CompensationFailed(step=name, attempt=attempt, error=error, message_id=message_id))
    if turn.definition.on_compensation_failure == "stick":
        turn.stick(f"the compensation of step {name} failed: {error}", name)


def compensation_interrupted(turn: Turn, name: str, step: StepProgress) -> None:
    """A compensation died with its process: call again with the same key."""
    policy = turn.definition.backward_retry[name, step.via]
    if step.compensation_interruptions >= policy.max_interruptions:
        error = turn.failure(name, "Interrupted", "the process ended during the compensation, again and again")
        _give_up(turn, name, step.compensation_attempts, error)
    elif not turn.halted:
        turn.call_compensation(
            name, attempt=step.compensation_attempts, interruption=step.compensation_interruptions + 1
        )


def compensation_timers(turn: Turn) -> None:
    """Replies to compensations that did not come in time: open, so called again with the same key."""
    for name, step in turn.progress.steps.items():  # as they stand now: what is decided here makes another mapping
        late = step.waiting == "reply" and step.due_at is not None and turn.now >= step.due_at
        if late and step.state is STEP_COMPENSATING:
            error = turn.failure(name, "TimeoutError", "no reply in time")
            compensation_settled(turn, name, OUTCOME_UNKNOWN, error)
