"""The judge: holds every invariant against what is known, in one pass over the trace and one over each log.

What must stay true: the same judge for every source of evidence; it changes nothing, and says by its number which
invariant is broken. What cannot be judged by the evidence at hand is left out, not guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from ...core.progress import Progress
from ..checker import Effect, check_net_effect
from ..laws import Broken
from ..trace import (
    Answered,
    Appended,
    Asked,
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
from .answers import Told
from .calls import Calls
from .evidence import Evidence
from .known import Known
from .logs import Followed
from .made import calls_were_announced
from .records import Records


@attrs.define
class Verdict:
    """Nothing is broken. ``reached``: what of interest happened; ``standing``: how each saga ended."""

    reached: set[str] = attrs.Factory(set[str])
    standing: dict[str, Progress] = attrs.Factory(dict[str, Progress])


def judge(evidence: Evidence, known: Known | None = None) -> Verdict:
    """Hold every invariant against the evidence. Raises :class:`~sagafsm.testing.checker.Broken`.

    ``known``: logs of the same definitions that were found clean; new ones are added.
    """
    verdict = Verdict()
    records = Records(verdict.reached)
    told: Sequence[Told] = ()
    if evidence.trace is not None:
        definitions = {saga: log.definition for saga, log in evidence.logs.items()}
        told = _follow(evidence.trace, records, Calls(records, evidence.knows, definitions), verdict.reached)
    for saga, log in evidence.logs.items():
        try:
            if known is None or evidence.thorough:
                followed = logs.follow(log, thorough=evidence.thorough)
            else:
                followed = known.follow(log)
            progress = followed.progress
            logs.record_agrees(log, progress)
            if evidence.trace is not None:
                logs.stored_as_accepted(log, records)
            if evidence.quiescent:
                logs.at_rest(log, progress, progress.updated_at)
        except Broken as broken:
            broken.add_note(f"saga {saga}")
            raise
        verdict.standing[saga] = progress
        _note(verdict.reached, followed)
    if evidence.effects is not None and evidence.quiescent:
        _judge_effects(evidence, verdict, records.purged_as)
    calls_were_announced(evidence)
    answers.starts_are_kept(evidence, told)
    answers.one_id_one_saga(told)
    answers.aborts_are_kept(evidence, told, verdict.reached)
    answers.views_are_whole(evidence, verdict.standing)
    return verdict


def _follow(trace: Sequence[TraceEntry], records: Records, calls: Calls, reached: set[str]) -> list[Told]:
    """Show every entry to those who keep books of its kind; what clients were told, and what is gone."""
    told: list[Told] = []
    hear: dict[type[TraceEntry], tuple[Callable[[Any], object], ...]] = {
        Appended: (records.appended, calls.appended),
        Beat: (records.beat,),
        CallBegan: (calls.began,),
        CallOver: (calls.over,),
        Granted: (records.granted, calls.granted),
        Heard: (calls.heard,),
        Effected: (calls.effected,),
        Retired: (records.retired,),
        Fault: (records.fault, calls.fault),
        Released: (records.released,),
        Purged: (records.purge, told.append),
        Answered: (told.append,),
        Asked: (),
    }
    for entry in trace:
        for book in hear[type(entry)]:
            book(entry)
    reached.update(f"{entry.verb}: {entry.what}" for entry in told if type(entry) is Answered and entry.what)
    return told


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


def _note(reached: set[str], followed: Followed) -> None:
    """What of interest a log shows."""
    progress = followed.progress
    reached.update(followed.types)
    reached.add(f"{progress.state.value} {progress.outcome or ''}".strip())
    if progress.stuck:
        reached.add("stuck in the end")
    elif progress.state.terminal and "SagaUnstuck" in followed.types:
        reached.add("a saga was stuck and led on")
