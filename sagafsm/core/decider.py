"""Decide: from where a saga stands and what has happened, the events to store and the commands to carry out.

What must stay true: pure and total. Every state takes every input; asked twice with nothing new, it decides nothing
new; a terminal saga decides nothing at all. All rules of what a saga does are in this package and nowhere else:
``forward`` and ``backward`` move it, ``verbs`` takes what comes from outside, ``straight`` is the short way where all
goes well, this file brings them together.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from . import backward, forward, verbs
from . import commands as c
from .decision import Decision
from .definition import SagaDefinition
from .lifecycle import (
    SAGA_COMPENSATING,
    SAGA_PENDING,
    SAGA_STARTED,
    STEP_COMPENSATING,
    STEP_RUNNING,
    STEP_SUCCEEDED,
    STEP_UNKNOWN,
)
from .progress import Progress
from .straight import straight_on
from .turn import Surroundings, Turn, pivot_open, pivot_passed

_WAKING = (c.Begin, c.TakenOver, c.Tick)
CHILD_CHECK = (1.0, 60.0)  # seconds between two looks at a sub-saga: at first, at most


def decide(
    definition: SagaDefinition,
    progress: Progress,
    given: c.Input,
    now: float,
    surroundings: Surroundings,
    *,
    advance: bool = True,
    anew: bool = False,
) -> Decision:
    """What follows from ``given`` for a saga that stands at ``progress``, at the time ``now``.

    ``advance`` false only records what is given and starts nothing: for a writer that does not own the saga, and for
    a process that is about to leave (where that call was the last one, the saga ends all the same). ``anew``: others
    have written to the saga, so more may be ready than what follows from ``given``. Raises InvalidInput, PastPivot or
    SagaFinished where an operator asks for what cannot be; nothing is decided then.
    """
    if type(given) is c.CallEnded and advance and not anew:
        plain = straight_on(definition, progress, given, now, surroundings.namespace)
        if plain is not None:
            return plain
    turn = Turn(definition, progress, now, surroundings)
    if not advance and isinstance(given, c.TakenOver):
        return Decision(turn.events, progress, turn.commands, turn.delivery)  # whoever takes it over next goes on
    candidates = _HANDLERS[type(given)](turn, given)
    if anew or definition.limited:  # what was held up by its limit is ready all the time
        candidates = None
    if advance:
        _advance(turn, given, candidates)
    elif isinstance(given, c.CallEnded):
        _end_at_once(turn, given, candidates)
    return Decision(turn.events, turn.progress, turn.commands, turn.delivery, turn.held)


def _advance(turn: Turn, given: c.Input, candidates: Iterable[str] | None) -> None:
    state = turn.progress.state
    if state is SAGA_STARTED and not isinstance(given, _WAKING) and turn.progress.abort is None:
        return  # created, not yet asked to run: it keeps what it is told
    if state is SAGA_PENDING or state is SAGA_STARTED:
        if candidates is None or turn.progress.deadline is not None:
            forward.timers(turn)
        if candidates is None and not turn.halted:
            forward.start_retries(turn)
        forward.go_forward(turn, candidates)
    if turn.progress.state is SAGA_COMPENSATING:
        backward.compensation_timers(turn)
        backward.go_back(turn)


def _end_at_once(turn: Turn, given: c.CallEnded, candidates: Iterable[str] | None) -> None:
    """End the saga, if nothing is left to be called or waited for."""
    rest = Turn(turn.definition, turn.progress, turn.now, turn.surroundings)
    _advance(rest, given, candidates)
    if rest.ended:
        turn.progress = rest.progress
        turn.events += rest.events
        turn.commands += rest.commands


def is_wanted(progress: Progress, call: c.Call) -> bool:
    """Whether a call that is about to begin was not cut short, or answered, before it could."""
    step = progress.steps[call.step]
    if call.role is c.ROLE_PROBE:
        return step.probing
    return step.calling and (step.state is STEP_COMPENSATING) is (call.role is c.ROLE_BACKWARD)


def names_a_call(progress: Progress) -> bool:
    """Whether a call is under way, by the log. Where none is, whoever takes the saga over has to make it again."""
    asks = progress.abort is None  # else what a probe would say is of no interest any more
    return any(step.calling or (step.probing and asks) for step in progress.steps.values())


def next_wake(definition: SagaDefinition, progress: Progress, now: float, held: Collection[str] = ()) -> float | None:
    """When the saga next has something to do by itself (None: not before somebody tells it something).

    ``held``: steps that have something to do already, and wait for a permit.
    """
    if progress.state.terminal or progress.suspended:
        return None
    if progress.stuck:
        return now + CHILD_CHECK[1] if progress.stuck_child is not None else None
    times: list[float] = []
    for name, step in progress.steps.items():
        if held and name in held:
            continue
        if step.due_at is not None:
            if step.state is STEP_UNKNOWN and progress.abort is not None:
                continue  # it is not asked for any more, and is undone once what runs beside it has ended
            times.append(step.due_at)
        elif step.waiting == "child":  # its end is told to us; asking now and then makes sure that it is not missed
            waited = now - (step.started_at or now)
            times.append(now + min(max(waited, CHILD_CHECK[0]), CHILD_CHECK[1]))
    if progress.deadline is not None and _deadline_counts(definition, progress):
        times.append(progress.deadline)
    return min(times, default=None)


def _deadline_counts(definition: SagaDefinition, progress: Progress) -> bool:
    if progress.deadline_expired or progress.state is SAGA_COMPENSATING:
        return False
    return not (pivot_open(definition, progress) or pivot_passed(definition, progress))


# --- inputs ---


def _nothing(turn: Turn, given: Any) -> None:
    return None


def _begun(turn: Turn, given: c.Begin) -> Iterable[str] | None:
    """Before anything has begun nothing is due, and only what follows nothing is ready.

    Unless that may end at once (a condition, a signal that has come, a sleep of no length): then all are looked at, in
    their order.
    """
    definition = turn.definition
    return definition.roots if turn.progress.state is SAGA_STARTED and definition.begins_with_calls else None


def _taken_over(turn: Turn, given: c.TakenOver) -> None:
    if turn.progress.state is SAGA_PENDING:
        forward.timers(turn)  # first: no call may begin that the deadline cuts short in the same decision
    for name, step in list(turn.progress.steps.items()):
        if given.steps is not None and name not in given.steps:
            continue
        if step.probing:
            forward.probe_interrupted(turn, name, step)
        elif step.calling and step.state is STEP_RUNNING:
            forward.interrupted(turn, name, step)
        elif step.calling and step.state is STEP_COMPENSATING:
            backward.compensation_interrupted(turn, name, step)


def _call_ended(turn: Turn, ended: c.CallEnded) -> Iterable[str] | None:
    role = ended.call.role
    if role is c.ROLE_FORWARD:
        forward.call_ended(turn, ended)
        if turn.progress.steps[ended.call.step].state is STEP_SUCCEEDED:
            return turn.definition.followers[ended.call.step]
    elif role is c.ROLE_PROBE:
        forward.probe_ended(turn, ended)
    else:
        backward.compensation_ended(turn, ended)
    return None


_HANDLERS: Mapping[type[c.Struct], Callable[[Turn, Any], Iterable[str] | None]] = {
    c.Begin: _begun,
    c.Tick: _nothing,
    c.TakenOver: _taken_over,
    c.CallEnded: _call_ended,
    c.ReplyArrived: verbs.reply_arrived,
    c.SignalArrived: verbs.signal_arrived,
    c.AbortAsked: verbs.abort_asked,
    c.RetryAsked: verbs.retry_asked,
    c.SkipAsked: verbs.skip_asked,
    c.SuspendAsked: verbs.suspend_asked,
    c.ResumeAsked: verbs.resume_asked,
    c.ChildStuck: verbs.child_stuck,
    c.ChildUnstuck: verbs.child_unstuck,
    c.UndoAsked: verbs.undo_asked,
}
