"""The fold: from one progress and one event to the next progress.

What must stay true: ``evolve`` is a function of its arguments only (no clock, no registry, no randomness); it accepts
every prefix of a legal log and refuses an illegal event with an error that names it; it never looks at the
definition, so a log can be read where the code is not at hand. Each event raises ``version`` by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from . import events as e
from .changes import (
    CALL_SUCCEEDED,
    begun,
    changed,
    checked_step,
    first_started,
    moved,
    remembered,
    saga_moved,
    step_of,
    troubled_by,
    with_result,
    with_step,
)
from .errors import StoreCorrupt
from .legality import check_saga
from .lifecycle import SAGA_STARTED, STEP_RUNNING, STEP_UNKNOWN, move_step
from .progress import MAX_EVENTS, WAITING_STEP, Progress, StepProgress


def evolve(progress: Progress | None, event: e.SagaEvent, at: float) -> Progress:
    """The progress after one more event, which happened ``at``. Raises StoreCorrupt for an event that cannot be."""
    if progress is None:
        if not isinstance(event, e.SagaStarted):
            raise StoreCorrupt(f"a log must begin with SagaStarted, not {type(event).__name__}")
        return _born(event, at)
    try:
        fold = FOLDS[type(event)]
    except KeyError:
        raise StoreCorrupt(f"saga {progress.saga_id}: no second {type(event).__name__} is possible") from None
    check_saga(progress, event)
    return fold(progress, event, at)


def fold(log: Iterable[tuple[e.SagaEvent, float]], start: Progress | None = None) -> Progress:
    """The progress after all these (event, time) pairs, from the beginning or from a snapshot."""
    progress = start
    for event, at in log:
        progress = evolve(progress, event, at)
    if progress is None:
        raise StoreCorrupt("a saga without any event")
    return progress


def _born(event: e.SagaStarted, at: float) -> Progress:
    return Progress(
        saga_id=event.saga_id,
        saga_type=event.saga_type,
        definition_version=event.definition_version,
        fingerprint=event.fingerprint,
        state=SAGA_STARTED,
        data=event.data,
        steps=dict.fromkeys(event.steps, WAITING_STEP),
        correlation_id=event.correlation_id,
        created_at=at,
        updated_at=at,
        version=1,
        parent_id=event.parent_id,
        parent_step=event.parent_step,
        tags=event.tags,
        deadline=event.deadline,
    )


# --- forward ---


def _attempt_started(p: Progress, event: e.AttemptStarted, at: float) -> Progress:
    step = step_of(p, event.step)
    if step is WAITING_STEP and event.via == "action":  # by far the most frequent case
        version = p.version + 1
        steps = {**p.steps, event.step: first_started(event, at, version)}
        return replace(p, steps=steps, version=version, updated_at=at, state=begun(p))
    state = moved(p, event.step, step, "start")
    fresh = event.via != step.via
    new = replace(
        step,
        state=state,
        via=event.via,
        attempts=event.attempt,
        base=event.attempt - 1 if fresh or step.again else step.base,
        interruptions=event.interruption,
        open=(step.open or event.interruption > step.interruptions) and not fresh,
        calling=True,
        waiting=None,
        waiting_name=None,
        due_at=None,
        started_at=at,
        began=p.version + 1,
        again=False,
        halted=False,
    )
    return with_step(p, at, event.step, new, state=begun(p), troubled=p.troubled + troubled_by(step.state, state))


def _reply_awaited(p: Progress, event: e.ReplyAwaited | e.CompensationReplyAwaited, at: float) -> Progress:
    step = checked_step(p, event.step, event)
    waiting = "child" if event.child else "reply"
    new = replace(step, calling=False, waiting=waiting, waiting_name=event.child, due_at=event.until)
    return with_step(p, at, event.step, new)


def _wait_started(p: Progress, event: e.WaitStarted, at: float) -> Progress:
    step = step_of(p, event.step)
    state = moved(p, event.step, step, "start")
    new = replace(
        step,
        state=state,
        waiting=event.kind,
        waiting_name=event.name,
        due_at=event.until,
        started_at=at,
        again=False,
    )
    troubled = p.troubled + troubled_by(step.state, state)
    return with_step(p, at, event.step, new, state=begun(p), troubled=troubled)


def _step_succeeded(p: Progress, event: e.StepSucceeded, at: float) -> Progress:
    step = step_of(p, event.step)
    state = move_step(step.state, "succeed", p.saga_id, event.step)
    changes: dict[str, Any] = {}
    if event.by == "signal" and step.waiting_name is not None:
        first = next((i for i, signal in enumerate(p.signals) if signal.name == step.waiting_name), None)
        if first is None:
            raise StoreCorrupt(f"saga {p.saga_id}, step {event.step}: consumes a signal that never came")
        changes["signals"] = p.signals[:first] + p.signals[first + 1 :]
    if event.message_id is not None:
        changes["message_ids"] = remembered(p, event.message_id)
    if step.state is not STEP_RUNNING:
        changes["troubled"] = p.troubled + troubled_by(step.state, state)
    version = p.version + 1
    steps = {**p.steps, event.step: with_result(step, state, event, version)}
    if changes:
        return replace(p, steps=steps, version=version, updated_at=at, done=p.done + 1, **changes)
    return replace(p, steps=steps, version=version, updated_at=at, done=p.done + 1)


def _attempt_failed(p: Progress, event: e.AttemptFailed, at: float) -> Progress:
    step = checked_step(p, event.step, event)
    new = replace(
        step,
        calling=False,
        open=step.open or event.open,
        waiting="backoff" if event.retry_at is not None else None,
        waiting_name=None,
        due_at=event.retry_at,
        error=event.error,
        halted=event.retry_at is None,
    )
    return with_step(p, at, event.step, new, event.message_id)


def _step_ended_badly(
    p: Progress, event: e.StepFailed | e.StepUnknown, at: float, trigger: str, open_: bool
) -> Progress:
    step = step_of(p, event.step)
    state = moved(p, event.step, step, trigger)
    new = replace(
        step,
        state=state,
        calling=False,
        probing=False,
        open=open_,
        waiting=None,
        due_at=None,
        error=event.error,
        ended=p.version + 1,
        again=False,
        halted=False,
        probe_base=step.probes,  # a new question has all its attempts
    )
    troubled = p.troubled + troubled_by(step.state, state)
    return with_step(p, at, event.step, new, event.message_id, state=begun(p), troubled=troubled)


def _step_failed(p: Progress, event: e.StepFailed, at: float) -> Progress:
    return _step_ended_badly(p, event, at, "fail", False)


def _step_unknown(p: Progress, event: e.StepUnknown, at: float) -> Progress:
    return _step_ended_badly(p, event, at, "lose", True)


def _step_skipped(p: Progress, event: e.StepSkipped, at: float) -> Progress:
    step = step_of(p, event.step)
    state = moved(p, event.step, step, "skip")
    new = replace(step, state=state, ended=p.version + 1, probing=False, waiting=None, due_at=None, again=False)
    troubled = p.troubled + troubled_by(step.state, state)
    return with_step(p, at, event.step, new, state=begun(p), done=p.done + 1, troubled=troubled)


def _probe_started(p: Progress, event: e.ProbeStarted, at: float) -> Progress:
    step = checked_step(p, event.step, event)
    new = replace(
        step,
        probes=event.attempt,
        probe_base=event.attempt - 1 if step.again else step.probe_base,
        probe_interruptions=event.interruption,
        probing=True,
        waiting=None,
        due_at=None,
        started_at=at,
        again=False,
        halted=False,
    )
    return with_step(p, at, event.step, new)


def _probe_failed(p: Progress, event: e.ProbeFailed, at: float) -> Progress:
    step = checked_step(p, event.step, event)
    new = replace(
        step,
        probing=False,
        waiting="backoff" if event.retry_at is not None else None,
        due_at=event.retry_at,
        probe_error=event.error,  # what left the outcome open stays the step's error
        halted=event.retry_at is None,
    )
    return with_step(p, at, event.step, new)


def _signal_received(p: Progress, event: e.SignalReceived, at: float) -> Progress:
    return changed(p, at, signals=(*p.signals, event), message_ids=remembered(p, event.message_id))


# --- backward ---


def _compensation_started(p: Progress, event: e.CompensationStarted, at: float) -> Progress:
    if event.undo and p.parent_id is None:
        raise StoreCorrupt(f"saga {p.saga_id} has no parent that could undo it")
    state = saga_moved(p, "undo" if event.undo else "compensate")
    steps = {name: _no_longer_asked(step) for name, step in p.steps.items()}
    return changed(p, at, state=state, cause=event.cause, finished_at=None, steps=steps)


def _no_longer_asked(step: StepProgress) -> StepProgress:
    """What is unknown is undone as it is: no probe of it, running or planned, is of interest any more."""
    if step.state is not STEP_UNKNOWN:
        return step
    return replace(step, probing=False, waiting=None, due_at=None, halted=False, again=False)


def _compensation_attempt_started(p: Progress, event: e.CompensationAttemptStarted, at: float) -> Progress:
    step = step_of(p, event.step)
    new = replace(
        step,
        state=moved(p, event.step, step, "undo"),
        compensation_attempts=event.attempt,
        compensation_base=event.attempt - 1 if step.again else step.compensation_base,
        compensation_interruptions=event.interruption,
        calling=True,
        waiting=None,
        waiting_name=None,
        due_at=None,
        started_at=at,
        again=False,
    )
    return with_step(p, at, event.step, new)


def _compensation_attempt_failed(p: Progress, event: e.CompensationAttemptFailed, at: float) -> Progress:
    step = checked_step(p, event.step, event)
    new = replace(
        step, calling=False, waiting="backoff", waiting_name=None, due_at=event.retry_at, compensation_error=event.error
    )
    return with_step(p, at, event.step, new, event.message_id)


def _compensation_failed(p: Progress, event: e.CompensationFailed, at: float) -> Progress:
    step = step_of(p, event.step)
    new = replace(
        step,
        state=moved(p, event.step, step, "give_up"),
        calling=False,
        waiting=None,
        due_at=None,
        compensation_error=event.error,
    )
    return with_step(p, at, event.step, new, event.message_id)


def _step_compensated(p: Progress, event: e.StepCompensated, at: float) -> Progress:
    step = step_of(p, event.step)
    new = replace(
        step, state=moved(p, event.step, step, "undone"), calling=False, waiting=None, due_at=None, again=False
    )
    return with_step(p, at, event.step, new, event.message_id)


def _compensation_waived(p: Progress, event: e.CompensationWaived, at: float) -> Progress:
    step = checked_step(p, event.step, event)
    return with_step(
        p, at, event.step, replace(step, waived=True, calling=False, waiting=None, due_at=None, again=False)
    )


# --- the saga as a whole ---


def _turned(p: Progress, at: float, *, cut: bool, **changes: Any) -> Progress:
    number = p.version + 1
    return changed(p, at, turned_at=p.turned_at or number, cut_at=number if cut else p.cut_at, **changes)


def _saga_stuck(p: Progress, event: e.SagaStuck, at: float) -> Progress:
    return changed(p, at, stuck=True, stuck_reason=event.reason, stuck_step=event.step, stuck_child=event.child)


def _saga_unstuck(p: Progress, event: e.SagaUnstuck, at: float) -> Progress:
    steps = dict(p.steps)
    for name in event.steps:
        steps[name] = replace(step_of(p, name), again=True)
    return changed(
        p,
        at,
        steps=steps,
        stuck=False,
        stuck_reason=None,
        stuck_step=None,
        stuck_child=None,
        event_budget=p.version + MAX_EVENTS,
    )


def succeeded_and_started(p: Progress, succeeded: e.StepSucceeded, started: e.AttemptStarted, at: float) -> Progress:
    """The progress after both, folded in one go: a call ended well, and the first one of a step begins."""
    version = p.version
    steps = {
        **p.steps,
        succeeded.step: with_result(p.steps[succeeded.step], CALL_SUCCEEDED, succeeded, version + 1),
        started.step: first_started(started, at, version + 2),
    }
    return replace(p, steps=steps, version=version + 2, updated_at=at, done=p.done + 1)


def _saga_ended(p: Progress, event: e.SagaCompleted | e.SagaFailed, at: float) -> Progress:
    if isinstance(event, e.SagaFailed):
        return changed(p, at, state=saga_moved(p, "fail"), outcome=event.outcome, finished_at=at)
    return changed(p, at, state=saga_moved(p, "complete"), finished_at=at)


FOLDS: Mapping[type[e.SagaEvent], Callable[[Progress, Any, float], Progress]] = {
    e.AttemptStarted: _attempt_started,
    e.ReplyAwaited: _reply_awaited,
    e.WaitStarted: _wait_started,
    e.StepSucceeded: _step_succeeded,
    e.AttemptFailed: _attempt_failed,
    e.StepFailed: _step_failed,
    e.StepUnknown: _step_unknown,
    e.StepSkipped: _step_skipped,
    e.ProbeStarted: _probe_started,
    e.ProbeFailed: _probe_failed,
    e.SignalReceived: _signal_received,
    e.CompensationStarted: _compensation_started,
    e.CompensationAttemptStarted: _compensation_attempt_started,
    e.CompensationReplyAwaited: _reply_awaited,
    e.CompensationAttemptFailed: _compensation_attempt_failed,
    e.CompensationFailed: _compensation_failed,
    e.StepCompensated: _step_compensated,
    e.CompensationWaived: _compensation_waived,
    e.SagaStuck: _saga_stuck,
    e.SagaUnstuck: _saga_unstuck,
    e.SagaSuspended: lambda p, event, at: changed(p, at, suspended=True),
    e.SagaResumed: lambda p, event, at: changed(p, at, suspended=False),
    e.AbortRequested: lambda p, event, at: _turned(p, at, cut=event.cut, abort=event),
    e.DeadlineExpired: lambda p, event, at: _turned(p, at, cut=True, deadline_expired=True),
    e.SagaCompleted: _saga_ended,
    e.SagaFailed: _saga_ended,
}
