"""Each log by itself, and against what the store is known to have accepted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

import attrs

from ...core import commands as c
from ...core import events as e
from ...core.decider import decide
from ...core.errors import StoreCorrupt, StoreTooNew
from ...core.fold import evolve
from ...core.progress import Progress
from ...core.turn import Surroundings
from ..account import Account, Entry, message_id_of
from ..checker import LogChecker, check_bounded, check_fold_agrees, check_replay
from ..law_index import laws_about
from ..laws import Broken
from .evidence import Evidence, Log
from .records import Records

SURROUNDINGS = Surroundings()
DECIDED = (e.CompensationWaived, e.SagaUnstuck)
ASTRAY = "astray-"  # begins the last part of the message ids of replies that nobody asked for


@attrs.frozen
class Followed:
    """A log that is clean. ``types``: of its events, by name; ``progress``: where the saga stands after it."""

    types: frozenset[str]
    progress: Progress


def follow(log: Log, *, thorough: bool) -> Followed:
    """Hold every law of a log against it."""
    try:
        entries = log.entries()
    except (StoreCorrupt, StoreTooNew) as exc:
        _broken("V3 what is stored can be read", f"{log.saga_id}: {exc}")
    if [entry.seq for entry in entries] != list(range(1, len(entries) + 1)):
        _broken("L1 gap-free", f"{log.saga_id} has the events {[entry.seq for entry in entries]}")
    account, progress = _counted(log, entries, thorough=thorough)
    if progress is None:
        _broken("L1 gap-free", f"the log of {log.saga_id} is empty")
    check_fold_agrees(account, progress)
    if thorough:
        check_replay(entries, range(1, len(entries), 4))
        time_is_not_order(entries, progress)
    check_bounded(account)
    kinds = {type(entry.event) for entry in entries}
    if e.WaitStarted in kinds:
        timers_are_due(entries)
    if not kinds.isdisjoint(DECIDED):
        people_are_named(entries)
    replies_are_of_their_attempt(entries)
    steps_are_those_of_the_definition(log, entries)
    return Followed(frozenset(kind.__name__ for kind in kinds), progress)


def _counted(log: Log, entries: list[Entry], *, thorough: bool) -> tuple[Account, Progress | None]:
    """What the events count up to, and where they lead; every law is asked on the way."""
    if thorough:
        checker = LogChecker(log.definition)
        for entry in entries:
            checker.see(entry.event, entry.at)
        return checker.account, checker.progress
    account = Account(log.definition)
    progress: Progress | None = None
    for entry in entries:
        for law in laws_about(type(entry.event)):
            law(account, entry)
        account.add(entry)
        progress = evolve(progress, entry.event, entry.at)
    return account, progress


def record_agrees(log: Log, progress: Progress) -> None:
    """The record says what the events say, and nobody owns what has ended."""
    record = log.record
    if record is None:
        return
    if (record.version, record.state) != (progress.version, progress.state.value):
        _broken(
            "L1 record and log", f"{record.state} at {record.version}, but {progress.state.value} at {progress.version}"
        )
    if (record.stuck, record.suspended, record.outcome) != (progress.stuck, progress.suspended, progress.outcome):
        _broken("L1 record and log", f"{record}, but {progress}")
    if progress.state.terminal and (record.owner, record.due_at) != (None, None):
        _broken(
            "S1 nothing after the end", f"{log.saga_id} is {record.state}, and yet {record.owner} is to go on with it"
        )


def stored_as_accepted(log: Log, records: Records) -> None:
    """What is stored is what was accepted, whole and in that order."""
    held = records.sagas.get(log.saga_id)
    if held is None:
        return
    accepted = [(event.type, event.at, event.data) for event in held.events]
    stored = [(event.type, event.at, event.data) for event in log.events]
    if accepted != stored:
        _broken("L3 batches are whole", f"{log.saga_id}: accepted were {accepted}, stored are {stored}")
    if log.record is not None and log.record.fence < held.fence:
        _broken("F3 fences only grow", f"{log.saga_id} is at fence {log.record.fence}, {held.fence} was granted")


def at_rest(log: Log, progress: Progress, now: float) -> None:
    """A saga that has ended, or is stuck, decides nothing; one that is asked twice says the same."""
    if log.record is not None and log.record.problem is not None:
        return
    decision = decide(log.definition, progress, c.Tick(), now, SURROUNDINGS)
    if (progress.state.terminal or progress.stuck) and (decision.events or decision.commands):
        _broken("L7 a saga at its end decides nothing", f"{log.saga_id}: {decision.events} {decision.commands}")


def time_is_not_order(entries: list[Entry], progress: Progress) -> None:
    """With all times the same the log still folds, and to the same states."""
    other: Progress | None = None
    for entry in entries:
        other = evolve(other, entry.event, 0.0)
    if other is not None:
        states = {name: step.state for name, step in progress.steps.items()}
        if (other.state, {name: step.state for name, step in other.steps.items()}) != (progress.state, states):
            _broken("L11 time is not order", f"without times {other.state} {other.steps}")


def timers_are_due(entries: list[Entry]) -> None:
    """A sleep ends, and a wait times out, when its time has come and not before."""
    until: dict[str, float] = {}
    for entry in entries:
        event = entry.event
        if type(event) is e.WaitStarted and event.until is not None:
            until[event.step] = event.until
        elif type(event) is e.StepSucceeded and event.by == "timer" and entry.at < until.get(event.step, 0.0) - 1e-6:
            _broken("CL4 timers are due", f"{event} at {entry.at}, but it was to wait until {until[event.step]}")


def replies_are_of_their_attempt(entries: list[Entry]) -> None:
    """A reply that names an attempt (in its message id, as the simulation's do) ends that attempt and no other."""
    for entry in entries:
        message_id = message_id_of(entry.event)
        if message_id is None:
            continue
        if f":{ASTRAY}" in message_id:
            _broken("U4 a reply astray is not taken", f"{entry.event}")
        named = message_id.rpartition(":attempt-")[2]
        attempt = getattr(entry.event, "attempt", None)
        if named.isdigit() and attempt is not None and int(named) != attempt:
            _broken("U4 a late reply is not taken", f"{entry.event} is the answer to attempt {named}")


def people_are_named(entries: list[Entry]) -> None:
    """What a person decided says who and why."""
    for entry in entries:
        event = entry.event
        waived = type(event) is e.CompensationWaived and not event.actor
        decided = type(event) is e.SagaUnstuck and event.decision in ("retry", "skip") and not event.actor
        if waived or decided:
            _broken("A3 people are named", f"{event} does not say who decided it")


def steps_are_those_of_the_definition(log: Log, entries: list[Entry]) -> None:
    """A saga's steps are those of the definition that it was started with, by name."""
    first = entries[0].event
    if isinstance(first, e.SagaStarted) and (
        first.steps != log.definition.step_names or first.fingerprint != log.definition.fingerprint
    ):
        _broken("V2 steps are known by their names", f"{log.saga_id} was started with {first.steps}")


def effects_of_children(evidence: Evidence, log: Log, purged: Mapping[str, str]) -> list[str]:
    """The steps whose sub-saga stands completed, or stood so when it was purged."""
    found: list[str] = []
    for name, spec in log.definition.steps.items():
        child = f"{log.saga_id}:{name}"
        stored = evidence.logs.get(child)
        completed = purged.get(child) == "completed" if stored is None else _completed(stored)
        if spec.child is not None and completed:
            found.append(name)
    return found


def _completed(child: Log) -> bool:
    return bool(child.events) and child.events[-1].type == "SagaCompleted"


def _broken(law: str, problem: str) -> NoReturn:
    raise Broken(law, problem)
