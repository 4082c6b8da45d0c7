"""Decide: from where a saga stands and what has happened, the events to store and the commands to carry out.

What must stay true: pure and total. Every state takes every input; asked twice with nothing new, it decides nothing
new; a terminal saga decides nothing at all. All rules of what a saga does are in this package and nowhere else:
``forward`` and ``backward`` move it, ``verbs`` takes what comes from outside, this file brings them together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs

from . import backward, forward, verbs
from . import commands as c
from . import events as e
from .definition import SagaDefinition
from .lifecycle import SagaState, StepState
from .progress import Progress
from .turn import Surroundings, Turn


@attrs.frozen
class Decision:
    """What follows from one input: events to store, the progress after them, and commands to carry out then."""

    events: Sequence[e.SagaEvent]
    progress: Progress
    commands: Sequence[c.Command]
    delivery: c.Delivery


def decide(
    definition: SagaDefinition,
    progress: Progress,
    given: c.Input,
    now: float,
    surroundings: Surroundings,
) -> Decision:
    """What follows from ``given`` for a saga that stands at ``progress``, at the time ``now``.

    Raises InvalidInput, PastPivot or SagaFinished where an operator asks for what cannot be; nothing is decided then.
    """
    turn = Turn(definition, progress, now, surroundings)
    candidates = _HANDLERS[type(given)](turn, given)
    if not turn.ended and progress.version > 0:
        _advance(turn, given, candidates)
    return Decision(turn.events, turn.progress, turn.commands, turn.delivery)


def _advance(turn: Turn, given: c.Input, candidates: Iterable[str] | None) -> None:
    state = turn.progress.state
    if state is SagaState.STARTED and not isinstance(given, (c.Begin, c.TakenOver, c.Tick)) and _untouched(turn):
        return  # created, not yet asked to run: it keeps what it is told
    if state is SagaState.STARTED or state is SagaState.PENDING:
        if candidates is None or turn.progress.deadline is not None:
            forward.timers(turn)
        if candidates is None and not turn.halted and forward.failing(turn) is None:
            forward.start_retries(turn)
        forward.go_forward(turn, candidates)
    if turn.progress.state is SagaState.COMPENSATING:
        backward.compensation_timers(turn)
        backward.go_back(turn)


def _untouched(turn: Turn) -> bool:
    return turn.progress.abort is None


def next_wake(definition: SagaDefinition, progress: Progress) -> float | None:
    """When the saga next has something to do by itself (None: not before somebody tells it something)."""
    if progress.state.terminal or progress.stuck or progress.suspended:
        return None
    times = [step.due_at for step in progress.steps.values() if step.due_at is not None]
    if (
        progress.deadline is not None
        and not progress.deadline_expired
        and progress.state is not SagaState.COMPENSATING
        and (definition.pivot is None or not progress.steps[definition.pivot].done)
    ):
        times.append(progress.deadline)
    return min(times, default=None)


# --- inputs ---


def _nothing(turn: Turn, given: Any) -> None:
    return None


def _taken_over(turn: Turn, given: c.TakenOver) -> None:
    for name, step in list(turn.progress.steps.items()):
        if step.probing:
            forward.probe_interrupted(turn, name, step)
        elif step.calling and step.state is StepState.RUNNING:
            forward.interrupted(turn, name, step)
        elif step.calling and step.state is StepState.COMPENSATING:
            backward.compensation_interrupted(turn, name, step)


def _call_ended(turn: Turn, ended: c.CallEnded) -> Iterable[str] | None:
    if turn.ended:
        return ()
    role = ended.call.role
    if role is c.Role.FORWARD:
        forward.call_ended(turn, ended)
        if turn.progress.steps[ended.call.step].state is StepState.SUCCEEDED:
            return turn.definition.followers[ended.call.step]
    elif role is c.Role.PROBE:
        forward.probe_ended(turn, ended)
    else:
        backward.compensation_ended(turn, ended)
    return None


_HANDLERS: Mapping[type[c.Struct], Callable[[Turn, Any], Iterable[str] | None]] = {
    c.Begin: _nothing,
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
