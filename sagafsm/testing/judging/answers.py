"""What clients asked and were told, held against what came to be stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NoReturn, TypeAlias

from ...core.fold import evolve
from ...core.progress import Progress
from ..account import Entry
from ..laws import Broken
from ..trace import Answered, Purged
from .evidence import Evidence

Told: TypeAlias = Answered | Purged


def starts_are_kept(evidence: Evidence, told: Sequence[Told]) -> None:
    """A start that was answered with yes is there, unless it was purged."""
    purged = {saga for entry in told if isinstance(entry, Purged) for saga in entry.sagas}
    answered = [entry for entry in told if isinstance(entry, Answered) and entry.outcome == "ok"]
    for entry in answered:
        if entry.verb == "start" and not (entry.saga in evidence.logs or entry.saga in purged):
            _broken("L9 an acknowledged start is kept", f"{entry.saga} is gone")


def one_id_one_saga(told: Sequence[Told]) -> None:
    """Two starts of one id with different inputs are not both answered with yes."""
    yes: dict[str, set[str]] = {}
    for entry in told:
        if isinstance(entry, Purged):
            for saga in entry.sagas:
                yes.pop(saga, None)
        elif isinstance(entry, Answered) and entry.verb.startswith("start") and entry.outcome == "ok":
            yes.setdefault(entry.saga, set()).add(entry.verb)
            if len(yes[entry.saga]) > 1:
                _broken("A1 one id, one saga", f"{entry.saga} was started with two different inputs")


def aborts_are_kept(evidence: Evidence, told: Sequence[Told], reached: set[str]) -> None:
    """An abort that was answered with yes stands in the log, or the saga was on its way back already."""
    for entry in told:
        if not isinstance(entry, Answered) or entry.verb != "abort":
            continue
        if entry.outcome == "fail":
            reached.add(f"an abort was refused: {entry.what}")
            continue
        log = evidence.logs.get(entry.saga)
        if entry.outcome != "ok" or log is None or entry.version is None:
            continue
        reached.add("an abort was accepted")
        types = {event.type for event in log.events[: entry.version]}
        if not types & {"AbortRequested", "CompensationStarted", "SagaFailed"}:
            _broken(
                "A2 an accepted abort is kept", f"{entry} was answered with yes, and {entry.saga} knows nothing of it"
            )


def views_are_whole(evidence: Evidence, standing: Mapping[str, Progress]) -> None:
    """What a reader was shown is the fold of a prefix of the log: nothing of another moment is in it.

    ``standing``: the fold of every whole log.
    """
    logs: dict[str, list[Entry]] = {}
    for saga, shown in evidence.views:
        log = evidence.logs.get(saga)
        if log is None or shown == standing.get(saga):
            continue
        entries = logs[saga] if saga in logs else logs.setdefault(saga, log.entries())
        if shown.version > len(entries):
            _broken(
                "L2 the log only grows", f"{saga} was shown at version {shown.version}, and has {len(entries)} events"
            )
        progress: Progress | None = None
        for entry in entries[: shown.version]:
            progress = evolve(progress, entry.event, entry.at)
        if progress != shown:
            _broken("A4 reads are never torn", f"{saga} was shown as {shown}, but was {progress}")


def _broken(law: str, problem: str) -> NoReturn:
    raise Broken(law, problem)
