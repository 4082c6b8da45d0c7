"""The invariants of a saga, as assertions over its log, its decisions and its effects in the world.

What must stay true: each function is one rule and says which in its error. A log is judged from its events alone, by
:class:`~sagafsm.testing.account.Account`; where the library's own fold is asked, it is held against that. Whatever
runs a saga (the tests of the core, a simulation, a killed process) is judged by these same functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NoReturn, TypeAlias

import attrs

from ..core import commands as c
from ..core import events as e
from ..core.codec import decode_event, decode_snapshot, encode_event, encode_snapshot
from ..core.decider import decide, next_wake
from ..core.decision import Decision
from ..core.definition import SagaDefinition
from ..core.fold import evolve, fold
from ..core.lifecycle import SagaState, StepState
from ..core.progress import MAX_EVENTS, Progress
from ..core.step import StepKind
from ..core.turn import Surroundings
from .account import Account, Entry
from .laws import LAWS, Broken

SIGNALS_KEPT = 1000
EVENTS_PER_TURN = 20

_OneCall: TypeAlias = tuple[str, c.Role, int, int, str | None]


@attrs.frozen(kw_only=True)
class Effect:
    """Something that took effect in the world: a step's action or fallback (``via``), or the undoing of it."""

    step: str
    via: str = "action"
    undo: bool = False


@attrs.frozen(kw_only=True)
class Stored:
    """An event as a store keeps it."""

    seq: int
    type: str
    at: float
    data: bytes


class LogChecker:
    """Follows one log, event by event, and holds every law of a log against each. Raises :class:`Broken`.

    ``moves``: the changes of state that it saw, as (from, to), of the saga and of its steps.
    """

    def __init__(self, definition: SagaDefinition) -> None:
        self.account = Account(definition)
        self.progress: Progress | None = None
        self.entries: list[Entry] = []
        self.moves: set[tuple[SagaState | StepState, SagaState | StepState]] = set()

    def see(self, event: e.SagaEvent, at: float) -> Progress:
        """The next event of the log; the progress after it, as it comes back from its stored form."""
        entry = Entry(self.account.seq + 1, at, event)
        for law in LAWS:
            law(self.account, entry)
        self.account.add(entry)
        stored = Stored(seq=entry.seq, type=type(event).__name__, at=at, data=encode_event(event))
        again = decode_event("", stored)
        if again != event:
            _broken("D1 codec", f"{event} comes back from its stored form as {again}")
        before = self.progress
        self.progress = evolve(before, again, at)
        if evolve(before, again, at) != self.progress:
            _broken("L6 fold is pure", f"folding {event} twice gives two different results")
        self.entries.append(entry)
        check_fold_agrees(self.account, self.progress)
        if before is not None:
            self._note_moves(before, self.progress, event)
        return self.progress

    def _note_moves(self, before: Progress, after: Progress, event: e.SagaEvent) -> None:
        if before.state is not after.state:
            self.moves.add((before.state, after.state))
        name: str = getattr(event, "step", None) or ""
        if name in before.steps:
            self.moves.add((before.steps[name].state, after.steps[name].state))


def check_log(definition: SagaDefinition, entries: Iterable[Entry]) -> Progress:
    """Hold every law of a log against a whole log; where the saga stands after it. Raises :class:`Broken`."""
    checker = LogChecker(definition)
    for entry in entries:
        if entry.seq != checker.account.seq + 1:
            _broken("L1 gap-free", f"event {checker.account.seq + 1} is missing: found {entry.seq}")
        checker.see(entry.event, entry.at)
    if checker.progress is None:
        _broken("L1 gap-free", "the log is empty")
    return checker.progress


def check_fold_agrees(account: Account, progress: Progress) -> None:
    """The library's fold says the same as the events counted up by themselves."""
    if (progress.version, progress.state.value) != (account.seq, account.state):
        _broken("L5 fold agrees", f"{progress.state.value} at {progress.version}, but {account.state} at {account.seq}")
    if (progress.stuck, progress.suspended) != (account.stuck, account.suspended):
        _broken("L5 fold agrees", f"stuck {progress.stuck}, suspended {progress.suspended}: the log says otherwise")
    for name, step in account.steps.items():
        told = progress.steps[name]
        ours = (step.state, step.via, step.calls.attempt, step.calls.interruption, step.calls.live or step.undoing.live)
        if ours != (told.state.value, told.via, told.attempts, told.interruptions, told.calling):
            _broken("L5 fold agrees", f"step {name}: the log says {ours}, the fold {told}")
        if (step.waived, step.ended) != (told.waived, told.ended):
            _broken("L5 fold agrees", f"step {name}: waived {step.waived}, ended {step.ended}; the fold {told}")


def check_replay(entries: Sequence[Entry], cuts: Iterable[int] | None = None) -> None:
    """Every prefix folds, and a snapshot with the events after it is the same as the whole log, at every cut."""
    log = [(entry.event, entry.at) for entry in entries]
    whole = fold(log)
    wanted = set(range(1, len(log)) if cuts is None else cuts)
    progress: Progress | None = None
    for number, (event, at) in enumerate(log, start=1):
        progress = evolve(progress, event, at)
        if number in wanted:
            snapshot = decode_snapshot(progress.saga_id, encode_snapshot(progress))
            if snapshot != progress:
                _broken(
                    "L6 snapshot", f"the snapshot at {number} is not the fold at {number}: {snapshot} != {progress}"
                )
            if fold(log[number:], snapshot) != whole:
                _broken("L6 snapshot", f"the snapshot at {number} and the events after it are not the whole log")


# --- decisions ---


def check_decision(progress: Progress, decision: Decision) -> None:
    """Write-ahead: every call has its event in the same decision, under the same key, and no other call has it."""
    announced = [told for event in decision.events if (told := _announced(event)) is not None]
    calls = [_called(command) for command in decision.commands if isinstance(command, c.Call)]
    if calls != announced:
        _broken("U1 write-ahead", f"the calls {calls} are not those that the events announce: {announced}")
    if decision.progress.version != progress.version + len(decision.events):
        _broken("U1 write-ahead", "the progress of a decision is not that after its events")
    if calls and decision.progress.state.terminal:
        _broken("S1 terminal sagas rest", f"a {decision.progress.state.value} saga begins {calls}")
    begun: set[str] = set()
    for command in decision.commands:
        if isinstance(command, c.Call):
            begun.add(command.step)
        elif isinstance(command, c.CancelCall) and command.step in begun:
            _broken("U1 write-ahead", f"a call of {command.step} begins and is cut short in one decision")


def _announced(event: e.SagaEvent) -> _OneCall | None:
    match event:
        case e.AttemptStarted():
            return event.step, c.Role.FORWARD, event.attempt, event.interruption, event.idempotency_key
        case e.CompensationAttemptStarted():
            return event.step, c.Role.BACKWARD, event.attempt, event.interruption, event.idempotency_key
        case e.ProbeStarted():
            return event.step, c.Role.PROBE, event.attempt, event.interruption, None
        case _:
            return None


def _called(call: c.Call) -> _OneCall:
    key = None if call.role is c.Role.PROBE else call.idempotency_key
    return call.step, call.role, call.attempt, call.interruption, key


def check_repeatable(first: Decision, second: Decision) -> None:
    """Deciding twice gives the same events and the same commands."""
    if first != second:
        _broken("L7 deciding twice", f"first {first}, then {second}")


def check_rest(definition: SagaDefinition, progress: Progress, now: float, surroundings: Surroundings) -> None:
    """After a decision nothing is left to decide at the same instant: no hot loop, and nothing was forgotten.

    A saga that is terminal, stuck or suspended begins nothing, whatever the time.
    """
    again = decide(definition, progress, c.Tick(), now, surroundings)
    calls = [command for command in again.commands if isinstance(command, c.Call)]
    wake = next_wake(definition, progress, now)
    if again.events or calls:
        due = wake is not None and wake <= now
        if progress.state.terminal or not due:
            _broken("L7 at rest", f"asked again at once, it decides {again.events} {calls}")
        if calls and (progress.stuck or progress.suspended):
            _broken("L7 at rest", f"stuck or suspended, and yet it begins {calls}")
    elif wake is not None and wake <= now:
        _broken("V-L4 no hot loop", f"it wants to be woken at {wake}, but at {now} it has nothing to do")


def check_awake(definition: SagaDefinition, progress: Progress, now: float) -> None:
    """A live saga runs something, waits for somebody, or says when it is to be woken; a stuck one says for what."""
    if progress.state.terminal or progress.suspended or progress.state.value == "started":
        return
    if progress.stuck:
        if not progress.stuck_reason or (progress.stuck_step or "") not in progress.stuck_reason:
            _broken(
                "V-L1 stuck is explained", f"stuck for {progress.stuck_step!r} because of {progress.stuck_reason!r}"
            )
        return
    if next_wake(definition, progress, now) is None and not any(
        step.calling or step.probing or step.waiting in ("reply", "signal", "child") for step in progress.steps.values()
    ):
        _broken("V-L2 no lost wake-up", f"nothing runs, and nothing will wake it: {progress}")


def check_bounded(account: Account) -> None:
    """A log does not grow for ever by itself: at its limit the saga stops for a person."""
    steps = len(account.steps)
    if account.seq - account.granted_at > MAX_EVENTS + SIGNALS_KEPT + EVENTS_PER_TURN * steps:
        _broken("L8 bounded", f"{account.seq} events, and nobody was asked")


# --- effects ---


def check_net_effect(definition: SagaDefinition, progress: Progress, effects: Iterable[Effect]) -> None:
    """What the world holds is what the log says, once a saga has ended and nothing is under way any more.

    ``effects`` in the order in which they took effect; a call that changed nothing (a repeat, or the undoing of what
    was never done) has none. Succeeded: exactly one effect. Failed, skipped or never begun: none. Compensated: none,
    or one and one undoing after it. Unknown, or passed over by a person: at most one.
    """
    standing: dict[tuple[str, str], int] = {}
    done: dict[tuple[str, str], int] = {}
    for effect in effects:
        where = (effect.step, effect.via)
        standing[where] = standing.get(where, 0) + (-1 if effect.undo else 1)
        done[where] = done.get(where, 0) + (not effect.undo)
        if standing[where] < 0:
            _broken("C1 net effect", f"{effect.step} ({effect.via}) was undone before it was done")
    for where, count in done.items():
        if count > 1:
            _broken("C1 net effect", f"{where[0]} ({where[1]}) took effect {count} times")
    for name, step in progress.steps.items():
        stands = {via: standing.get((name, via), 0) for via in ("action", "fallback")}
        state = step.state.value
        if definition.steps[name].kind in (StepKind.SIGNAL, StepKind.SLEEP):
            expected = range(1)
        elif step.waived or state in ("unknown", "skipped", "running", "compensating", "compensation_failed"):
            expected = range(2)
        else:
            expected = range(1, 2) if state == "succeeded" else range(1)
        if sum(stands.values()) not in expected or (state == "succeeded" and stands[step.via] not in expected):
            _broken("C1 net effect", f"step {name} is {state} (by its {step.via}), but what stands is {stands}")


def _broken(law: str, problem: str) -> NoReturn:
    raise Broken(law, problem)


__all__ = [
    "Broken",
    "Effect",
    "Entry",
    "LogChecker",
    "Stored",
    "check_awake",
    "check_bounded",
    "check_decision",
    "check_fold_agrees",
    "check_log",
    "check_net_effect",
    "check_repeatable",
    "check_replay",
    "check_rest",
]
