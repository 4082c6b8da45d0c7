"""Going forward: starting what is ready, ending attempts, and winding down before compensation.

What must stay true: nothing new starts after a definite failure, an abort or the deadline; compensation is only
decided when no call is left running; while the pivot runs or its outcome is unknown, neither a later step nor
compensation starts; after the pivot the only ways are retry, fallback and a person.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from . import events as e
from .commands import OUTCOME_IMPOSSIBLE, OUTCOME_REJECTED, OUTCOME_SUCCEEDED, OUTCOME_UNKNOWN, CallEnded, OutcomeKind
from .lifecycle import (
    SAGA_COMPENSATING,
    SAGA_PENDING,
    STEP_FAILED,
    STEP_RUNNING,
    STEP_SKIPPED,
    STEP_SUCCEEDED,
    STEP_UNKNOWN,
    STEP_WAITING,
)
from .progress import StepProgress
from .step import KIND_CHILD, KIND_SIGNAL, KIND_SLEEP, StepDefinition
from .turn import Turn


def go_forward(turn: Turn, candidates: Iterable[str] | None = None) -> None:
    """Start everything that may start; ``candidates`` None looks at every step."""
    progress = turn.progress
    if progress.troubled or progress.abort is not None or progress.deadline_expired:
        settle_troubles(turn)
        if turn.progress.state is not SAGA_PENDING or turn.halted or failing(turn) is not None:
            return
        candidates = None
    elif progress.stuck or progress.suspended:
        return
    queue = list(turn.definition.steps if candidates is None else candidates)
    for name in queue:  # grows as steps end at once
        if _is_ready(turn, name):
            start(turn, name)
            state = turn.progress.steps[name].state
            if state is STEP_SUCCEEDED or state is STEP_SKIPPED:
                queue.extend(turn.definition.followers[name])
            elif state is STEP_FAILED or (state is STEP_WAITING and turn.halted):
                break  # it could not even begin: nothing else does
    progress = turn.progress
    if progress.troubled:
        settle_troubles(turn)
        progress = turn.progress
    if progress.done == len(progress.steps) and progress.state is SAGA_PENDING:
        turn.emit(e.SagaCompleted())


def _is_ready(turn: Turn, name: str) -> bool:
    steps = turn.progress.steps
    if steps[name].state is not STEP_WAITING:
        return False
    for before in turn.definition.steps[name].after:  # in line: asked for every step of every saga
        state = steps[before].state
        if state is not STEP_SUCCEEDED and state is not STEP_SKIPPED:
            return False
    return True


def start(turn: Turn, name: str) -> None:
    """Begin a step whose turn has come."""
    spec = turn.definition.steps[name]
    if spec.when is not None:
        answer = turn.surroundings.condition(spec, turn.progress)
        if isinstance(answer, e.Failure):
            turn.emit(e.StepFailed(step=name, error=answer))
            return
        if not answer:
            turn.emit(e.StepSkipped(step=name))
            return
    if spec.kind is KIND_SIGNAL:
        until = None if spec.seconds is None else turn.now + spec.seconds
        turn.emit(e.WaitStarted(step=name, kind="signal", name=spec.signal, until=until))
        consume_signal(turn, name)
    elif spec.kind is KIND_SLEEP:
        turn.emit(e.WaitStarted(step=name, kind="sleep", until=turn.now + (spec.seconds or 0.0)))
        if not spec.seconds:
            turn.succeed(name, e.NULL, "timer")
    else:
        turn.call(name, attempt=1)


def consume_signal(turn: Turn, name: str) -> None:
    """End a step that waits for a signal which has come already."""
    wanted = turn.step(name).waiting_name
    for signal in turn.progress.signals:
        if signal.name == wanted:
            turn.succeed(name, signal.payload, "signal")
            return


# --- the end of an attempt ---


def attempt_ended(
    turn: Turn,
    name: str,
    kind: OutcomeKind,
    result: msgspec.Raw,
    error: e.Failure | None,
    *,
    by: str = "call",
    final: bool = False,
    message_id: str | None = None,
) -> None:
    """Record how the current attempt of an action or fallback ended, and whether another follows."""
    if kind is OUTCOME_SUCCEEDED:
        turn.succeed(name, result, by, message_id)
        return
    step, spec, policy = turn.step(name), turn.definition.steps[name], turn.policy(name)
    attempt = step.attempts
    error = error or turn.failure(name, kind.value, "")
    open_now = kind is OUTCOME_UNKNOWN
    if kind is OUTCOME_IMPOSSIBLE and failing(turn) is None:
        turn.emit(e.AttemptFailed(step=name, attempt=attempt, error=error, message_id=message_id))
        turn.stick(f"step {name} cannot be called: {error}", name)
    elif kind is OUTCOME_REJECTED:
        turn.emit(e.StepFailed(step=name, attempt=attempt, error=error, message_id=message_id))
    elif (
        final
        or policy.exhausted(attempt - step.base)
        or (open_now and not spec.idempotent)
        or failing(turn) is not None
    ):
        end_badly(turn, name, error, open_=open_now or step.open, message_id=message_id)
    elif turn.progress.version >= turn.progress.event_budget:
        turn.emit(e.AttemptFailed(step=name, attempt=attempt, error=error, open=open_now, message_id=message_id))
        turn.stick(f"the log has {turn.progress.version} events; step {name} fails again and again: {error}", name)
    else:
        retry_at = turn.now + policy.delay(attempt - step.base, turn.surroundings.spread())
        turn.emit(
            e.AttemptFailed(
                step=name, attempt=attempt, error=error, retry_at=retry_at, open=open_now, message_id=message_id
            )
        )


def end_badly(turn: Turn, name: str, error: e.Failure, *, open_: bool, message_id: str | None = None) -> None:
    """Record that a step is not tried again: unknown where an attempt may have happened, else failed."""
    event = e.StepUnknown if open_ else e.StepFailed
    attempt = turn.step(name).attempts or None
    turn.emit(event(step=name, attempt=attempt, error=error, message_id=message_id))


def call_ended(turn: Turn, ended: CallEnded) -> None:
    """The action or fallback returned or raised."""
    call = ended.call
    step = turn.progress.steps[call.step]
    if (
        step.state is not STEP_RUNNING
        or not step.calling
        or step.attempts != call.attempt
        or step.interruptions != call.interruption
    ):
        return  # superseded: the reply came first, or the attempt was cut
    spec = turn.definition.steps[call.step]
    if ended.kind is OUTCOME_SUCCEEDED and spec.kind is KIND_CHILD:
        child = child_id(turn, call.step)
        turn.emit(e.ReplyAwaited(step=call.step, attempt=call.attempt, child=child))
        return
    handler = spec.forward(call.via)
    if ended.kind is OUTCOME_SUCCEEDED:
        if handler is not None and handler.awaits_reply:
            until = None if handler.timeout is None else (step.started_at or turn.now) + handler.timeout
            turn.emit(e.ReplyAwaited(step=call.step, attempt=call.attempt, until=until))
        else:
            turn.succeed(call.step, ended.result, "call")
        return
    attempt_ended(turn, call.step, ended.kind, ended.result, ended.error, final=ended.final)


def child_id(turn: Turn, name: str) -> str:
    """The id of a sub-saga: its parent's and its step's."""
    return f"{turn.progress.saga_id}:{name}"


def interrupted(turn: Turn, name: str, step: StepProgress) -> None:
    """A call died with its process: call again with the same key, unless that must not be."""
    spec, policy = turn.definition.steps[name], turn.policy(name)
    error = turn.failure(name, "Interrupted", "the process that made the call ended before the call did")
    if not spec.idempotent or step.interruptions >= policy.max_interruptions or failing(turn) is not None:
        end_badly(turn, name, error, open_=True)
    elif not turn.halted:
        turn.call(name, attempt=step.attempts, via=step.via, interruption=step.interruptions + 1)


# --- timers ---


def timers(turn: Turn) -> None:
    """Do what has fallen due while going forward."""
    deadline = turn.progress.deadline
    if (
        deadline is not None
        and turn.now >= deadline
        and not turn.progress.deadline_expired
        and not turn.halted
        and not turn.pivot_open
        and not turn.pivot_passed
    ):
        turn.emit(e.DeadlineExpired())
    for name, step in turn.in_state(STEP_RUNNING):
        if step.due_at is None or turn.now < step.due_at:
            continue
        if step.waiting == "sleep":
            turn.succeed(name, e.NULL, "timer")
        elif step.waiting == "signal":
            spec = turn.definition.steps[name]
            if spec.on_timeout == "continue":
                turn.succeed(name, e.NULL, "timer")
            else:
                message = f"no signal {spec.signal!r} within {spec.seconds:g} s"
                turn.emit(e.StepFailed(step=name, error=turn.failure(name, "TimeoutError", message)))
        elif step.waiting == "reply":
            error = turn.failure(name, "TimeoutError", "no reply in time")
            attempt_ended(turn, name, OUTCOME_UNKNOWN, e.NULL, error)


def start_retries(turn: Turn) -> None:
    """Begin the attempts whose backoff is over, or that a person granted, unless the saga must turn back."""
    due = [
        (name, step)
        for name, step in turn.in_state(STEP_RUNNING)
        if (step.waiting == "backoff" and step.due_at is not None and turn.now >= step.due_at) or step.again
    ]
    if due and failing(turn) is None:
        for name, step in due:
            turn.call(name, attempt=step.attempts + 1, via=step.via)


# --- failure ---


def failing(turn: Turn) -> e.Failure | None:
    """Why the saga must turn back, if it must: the first failure, the abort or the deadline."""
    found = _way_back(turn)
    return None if found is None else found[1]


def _way_back(turn: Turn) -> tuple[int, e.Failure] | None:
    """What makes the saga turn back, after the number of its event."""
    progress = turn.progress
    if progress.state is SAGA_COMPENSATING:
        return (0, progress.cause) if progress.cause is not None else None
    if not (progress.troubled or progress.abort is not None or progress.deadline_expired):
        return None
    if turn.pivot_passed:
        return None
    causes: list[tuple[int, e.Failure]] = []
    if progress.abort is not None:
        causes.append((progress.turned_at, e.Failure(type="Aborted", message=progress.abort.reason)))
    elif progress.deadline_expired:
        causes.append((progress.turned_at, e.Failure(type="DeadlineExceeded", message="the saga's deadline passed")))
    if progress.troubled:
        for name, step in turn.in_state(STEP_FAILED, STEP_UNKNOWN):
            if step.error is not None and _sends_back(turn.definition.steps[name], step):
                causes.append((step.ended, step.error))
    return min(causes, key=lambda pair: pair[0]) if causes else None


def _sends_back(spec: StepDefinition, step: StepProgress) -> bool:
    if step.again:
        return False
    if step.state is STEP_FAILED:
        return spec.fallback is None or step.via == "fallback" or not step.attempts
    return spec.on_unknown == "compensate"


def settle_troubles(turn: Turn) -> None:
    """Deal with every step that failed or is unknown: fallback, probe, a person, or the way back."""
    for name, step in turn.in_state(STEP_FAILED, STEP_UNKNOWN):
        spec = turn.definition.steps[name]
        if step.state is STEP_FAILED:
            _settle_failed(turn, name, step, spec)
        else:
            _settle_unknown(turn, name, step, spec)
    found = None if turn.halted else _way_back(turn)
    if found is not None:
        wind_down(turn, *found)


def _settle_failed(turn: Turn, name: str, step: StepProgress, spec: StepDefinition) -> None:
    if turn.halted:
        return
    if step.again:
        if step.attempts:
            turn.call(name, attempt=step.attempts + 1, via=step.via)
            return
        start(turn, name)  # it never came to a call: its condition, its key or its signal failed
        step = turn.step(name)
        if step.state is not STEP_FAILED:
            return
    if spec.fallback is not None and step.via != "fallback" and step.attempts:
        if failing(turn) is None:
            turn.call(name, attempt=step.attempts + 1, via="fallback")
    elif turn.pivot_passed:
        turn.stick(f"step {name} failed after the pivot: {step.error}", name)


def _settle_unknown(turn: Turn, name: str, step: StepProgress, spec: StepDefinition) -> None:
    if turn.halted or step.probing:
        return
    aborted = turn.progress.abort is not None
    # Whatever ``on_unknown`` says, a person's retry of what must not be repeated asks, and a question begun is ended.
    asks = spec.on_unknown == "probe" or step.waiting is not None or (step.again and not spec.idempotent)
    if asks and spec.probe is not None and not aborted:
        if step.halted and not step.again:
            turn.stick(f"the outcome of step {name} is unknown, and its probe cannot tell: {step.probe_error}", name)
        elif step.waiting is None or (step.due_at is not None and turn.now >= step.due_at) or step.again:
            turn.call_probe(name, attempt=step.probes + 1)
    elif step.again and spec.idempotent:
        turn.call(name, attempt=step.attempts + 1, via=step.via)
    elif turn.pivot_passed or (spec.on_unknown != "compensate" and not aborted):
        turn.stick(f"the outcome of step {name} is unknown: {step.error}", name)


def probe_ended(turn: Turn, ended: CallEnded) -> None:
    """The probe answered, or could not."""
    name = ended.call.step
    step = turn.step(name)
    current = (step.probes, step.probe_interruptions)
    if not step.probing or current != (ended.call.attempt, ended.call.interruption):
        return
    if ended.kind is OUTCOME_SUCCEEDED:
        if ended.happened:
            turn.succeed(name, ended.result, "probe")
        else:
            error = step.error or turn.failure(name, "DidNotHappen", "the probe says that it did not happen")
            turn.emit(e.StepFailed(step=name, error=error))
        return
    error = ended.error or turn.failure(name, "StillUnknown", "the probe cannot tell")
    tried = step.probes - step.probe_base
    policy = turn.policy(name)
    retry_at = None
    may_ask = ended.kind is not OUTCOME_IMPOSSIBLE and not ended.final and not policy.exhausted(tried)
    if may_ask and turn.progress.version < turn.progress.event_budget:
        retry_at = turn.now + policy.delay(tried, turn.surroundings.spread())
    turn.emit(e.ProbeFailed(step=name, attempt=step.probes, error=error, retry_at=retry_at))


def probe_interrupted(turn: Turn, name: str, step: StepProgress) -> None:
    """A probe died with its process: asking again is harmless, but not for ever."""
    if turn.progress.abort is not None:
        return  # it is undone as it is
    if step.probe_interruptions >= turn.policy(name).max_interruptions:
        error = turn.failure(name, "Interrupted", "the process ended during the probe, again and again")
        turn.emit(e.ProbeFailed(step=name, attempt=step.probes, error=error))
    elif not turn.halted:
        turn.call_probe(name, attempt=step.probes, interruption=step.probe_interruptions + 1)


def wind_down(turn: Turn, since: int, cause: e.Failure) -> None:
    """End what still runs, as far as it can be ended; when nothing runs any more, turn back.

    A call that a person granted later, to find out about a step that is unknown, is let run.
    """
    cut_at = turn.progress.cut_at
    for name, step in turn.in_state(STEP_RUNNING):
        if step.waiting == "backoff" or step.halted:
            end_badly(turn, name, step.error or cause, open_=step.open)
        elif step.waiting in ("signal", "sleep"):
            turn.emit(e.StepFailed(step=name, error=turn.failure(name, "Cancelled", f"not waited for: {cause}")))
        elif step.waiting == "child" and step.waiting_name is not None:
            turn.abort_child(step.waiting_name, str(cause))
        elif step.waiting == "reply":
            if step.began < cut_at or (step.due_at is None and step.began < since):
                end_badly(turn, name, turn.failure(name, "Cut", f"not waited for: {cause}"), open_=True)
        elif step.began < cut_at and turn.definition.steps[name].kind is not KIND_CHILD:
            turn.cancel(name)
            end_badly(turn, name, turn.failure(name, "Cut", f"cut short: {cause}"), open_=True)
    for name, step in turn.in_state(STEP_UNKNOWN):  # what was just cut short may have to be asked for
        _settle_unknown(turn, name, step, turn.definition.steps[name])
    if any(step.state is STEP_RUNNING for step in turn.progress.steps.values()):
        return
    for name, _ in turn.in_state(STEP_UNKNOWN):
        if turn.definition.steps[name].on_unknown != "compensate" and turn.progress.abort is None:
            return  # it has to be known before the saga may turn back
    turn.emit(e.CompensationStarted(cause=cause))
