"""The judge: holds every invariant against what is known, in one pass over the trace and one over each log.

What must stay true: the same judge for every source of evidence; it changes nothing, and says by its number which
invariant is broken. What cannot be judged by the evidence at hand is left out, not guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from ...core.progress import Progress
from ..account import Entry
from ..checker import Effect, check_net_effect
from ..laws import Broken
from ..trace import (
    Answered,
    Appended,
    Beat,
    CallBegan,
    CallOver,
    Effected,
    Fault,
    Granted,
    Heard,
    Purged,
    Released,
    Retired,
)
from ..trace import Entry as TraceEntry
from . import answers, logs
from .calls import Calls
from .evidence import Evidence
from .made import calls_were_announced
from .records import Records


@attrs.define
class Verdict:
    """Nothing is broken. ``reached``: what of interest happened; ``standing``: how each saga ended."""

    reached: set[str] = attrs.Factory(set[str])
    standing: dict[str, Progress] = attrs.Factory(dict[str, Progress])


def judge(evidence: Evidence) -> Verdict:
    """Hold every invariant against the evidence. Raises :class:`~sagafsm.testing.checker.Broken`."""
    verdict = Verdict()
    records = Records(verdict.reached)
    if evidence.trace is not None:
        definitions = {saga: log.definition for saga, log in evidence.logs.items()}
        _follow(evidence.trace, records, Calls(records, evidence.knows, definitions), verdict.reached)
    entries: dict[str, list[Entry]] = {}
    for saga, log in evidence.logs.items():
        try:
            progress, entries[saga], _ = logs.follow(log, thorough=evidence.thorough)
            logs.record_agrees(log, progress)
            if evidence.trace is not None:
                logs.stored_as_accepted(log, records)
            if evidence.quiescent:
                logs.at_rest(log, progress, progress.updated_at)
        except Broken as broken:
            broken.add_note(f"saga {saga}")
            raise
        verdict.standing[saga] = progress
        _note(verdict.reached, entries[saga], progress)
    if evidence.effects is not None and evidence.quiescent:
        _judge_effects(evidence, verdict, records.purged_as)
    calls_were_announced(evidence)
    answers.starts_are_kept(evidence)
    answers.one_id_one_saga(evidence)
    answers.aborts_are_kept(evidence, verdict.reached)
    answers.views_are_whole(evidence, entries)
    return verdict


def _follow(trace: Iterable[TraceEntry], records: Records, calls: Calls, reached: set[str]) -> None:
    for entry in trace:
        if isinstance(entry, Appended):
            records.appended(entry)
            calls.appended(entry)
        elif isinstance(entry, Beat):
            records.beat(entry)
        elif isinstance(entry, CallBegan):
            calls.began(entry)
        elif isinstance(entry, CallOver):
            calls.over(entry)
        elif isinstance(entry, Granted):
            records.granted(entry)
            calls.granted(entry.process, entry.saga)
        elif isinstance(entry, Heard):
            calls.heard(entry)
        elif isinstance(entry, Effected):
            calls.effected(entry)
        elif isinstance(entry, Retired):
            records.retired(entry)
        elif isinstance(entry, Fault):
            records.fault(entry)
            calls.fault(entry)
            reached.add(entry.what)
        elif isinstance(entry, Released):
            records.released(entry)
        elif isinstance(entry, Purged):
            records.purge(entry)
        elif isinstance(entry, Answered) and entry.what:
            reached.add(f"{entry.verb}: {entry.what}")


def _judge_effects(evidence: Evidence, verdict: Verdict, purged: Mapping[str, str]) -> None:
    """The net effect of every saga, once nothing is under way any more."""
    effects = evidence.effects or {}
    for saga, progress in verdict.standing.items():
        log = evidence.logs[saga]
        of_children = [Effect(step=name) for name in logs.effects_of_children(evidence, log, purged)]
        try:
            check_net_effect(log.definition, progress, [*effects.get(saga, ()), *of_children])
        except Broken as broken:
            broken.add_note(f"saga {saga}")
            raise


def _note(reached: set[str], entries: list[Entry], progress: Progress) -> None:
    """What of interest a log shows."""
    reached.update(type(entry.event).__name__ for entry in entries)
    reached.add(f"{progress.state.value} {progress.outcome or ''}".strip())
    if progress.stuck:
        reached.add("stuck in the end")
    elif progress.state.terminal and any(type(entry.event).__name__ == "SagaUnstuck" for entry in entries):
        reached.add("a saga was stuck and led on")
