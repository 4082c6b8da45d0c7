"""Looking at a whole store: how many sagas are where, what is stuck and what would mend it.

What must stay true: nothing here writes. What would mend a stuck saga is found by asking the core's own rules, so it
is never advice that would be refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs

from ..core import commands as c
from ..core.decider import decide
from ..core.definition import SagaDefinition
from ..core.errors import SagaError, StoreError
from ..core.instance import SagaInstance, iso
from ..core.lifecycle import SagaState, StepState
from ..core.progress import Progress
from ..moving import mark_of
from ..store import Count
from .outside import definition_for, read

if TYPE_CHECKING:
    from .engine import Engine

TERMINAL = ("completed", "failed")


@attrs.frozen(kw_only=True)
class Stats:
    """How many sagas a store holds, by definition, state and flags. ``taken_at`` is the store's time."""

    taken_at: float
    counts: Sequence[Count]

    @property
    def total(self) -> int:
        """All sagas."""
        return sum(count.count for count in self.counts)

    @property
    def live(self) -> int:
        """Those that have not ended."""
        return self.total - self.finished

    @property
    def finished(self) -> int:
        """Those that have ended."""
        return sum(count.count for count in self.counts if count.state in TERMINAL)

    @property
    def stuck(self) -> int:
        """Those that wait for a person."""
        return sum(count.count for count in self.counts if count.stuck)

    @property
    def suspended(self) -> int:
        """Those that a person paused."""
        return sum(count.count for count in self.counts if count.suspended)

    def finished_per_second(self, earlier: Stats) -> float:
        """How many sagas ended per second since an earlier count (0.0 where some were purged in between)."""
        seconds = self.taken_at - earlier.taken_at
        return max(0, self.finished - earlier.finished) / seconds if seconds > 0 else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; times are ISO 8601 in UTC."""
        return {
            "taken_at": iso(self.taken_at),
            "total": self.total,
            "live": self.live,
            "finished": self.finished,
            "stuck": self.stuck,
            "suspended": self.suspended,
            "counts": [
                {
                    "saga_type": count.saga_type,
                    "kind": count.kind,
                    "state": count.state,
                    "stuck": count.stuck,
                    "suspended": count.suspended,
                    "count": count.count,
                }
                for count in self.counts
            ],
        }


@attrs.frozen(kw_only=True)
class Remedy:
    """One thing that a person can do about a stuck saga: call ``verb`` of the orchestrator for ``saga_id``.

    ``saga_id`` is that of a sub-saga where that is what is stuck. ``step``: the verb's argument, where it has one.
    """

    verb: str
    saga_id: str
    step: str | None = None
    meaning: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return attrs.asdict(self)


async def stats(engine: Engine) -> Stats:
    """Count."""
    return Stats(counts=tuple(await engine.store.counts()), taken_at=await engine.store.now())


async def definition_of_saga(engine: Engine, saga_id: str) -> SagaDefinition:
    """The definition that a saga runs by, made of its stored shape where this process does not have it."""
    return await definition_for(engine, engine.progress_of(await read(engine, saga_id)))


async def remedies(engine: Engine, saga: SagaInstance) -> list[Remedy]:
    """What would mend a stuck saga, in the order in which it should be considered; empty where it is not stuck."""
    if not saga.stuck:
        return []
    if saga.problem is not None:
        if mark_of((await read(engine, saga.saga_id)).record) is not None:
            return []  # whatever there is to mend is to be mended where it is
        meaning = "after the cause is mended (upgrade, or restore the log from a backup): take it up again"
        return [Remedy(verb="retry", saga_id=saga.saga_id, meaning=meaning)]
    if saga.progress.stuck_child is not None:
        try:
            below = engine.instance(engine.progress_of(await read(engine, saga.progress.stuck_child)))
        except SagaError:
            below = None
        if below is not None and below.stuck:
            return await remedies(engine, below)
    try:
        definition = await definition_for(engine, saga.progress)
    except StoreError:
        return []
    return list(_accepted(engine, definition, saga.progress))


def _accepted(engine: Engine, definition: SagaDefinition, progress: Progress) -> list[Remedy]:
    """The verbs that the core would accept for this saga as it stands."""

    def accepts(given: c.Input) -> bool:
        try:
            decision = decide(definition, progress, given, engine.clock(), engine.surroundings, advance=False)
        except SagaError:
            return False
        return bool(decision.events)

    def remedy(verb: str, meaning: str, step: str | None = None) -> Remedy:
        return Remedy(verb=verb, saga_id=progress.saga_id, step=step, meaning=meaning)

    who = {"actor": "nobody", "reason": "to see whether it is possible"}
    found: list[Remedy] = []
    if accepts(c.RetryAsked(**who)):
        found.append(remedy("retry", "once the cause is mended: new attempts for what is stuck"))
    for name, step in progress.steps.items():
        if step.state is StepState.UNKNOWN and progress.state is SagaState.PENDING:
            reply = c.ReplyArrived(step=name, kind=c.OutcomeKind.SUCCEEDED)
            if accepts(reply):
                found.append(remedy("complete_step", "you found out that it happened", name))
                found.append(remedy("fail_step", "you found out that it did not happen", name))
    for name, step in progress.steps.items():
        if accepts(c.SkipAsked(step=name, **who)):
            waived = step.state is StepState.COMPENSATION_FAILED
            meaning = "its effect stays, or you undid it by hand" if waived else "go on without it; its result is null"
            found.append(remedy("skip", meaning, name))
    if accepts(c.AbortAsked(reason=who["reason"], actor=who["actor"])):
        found.append(remedy("abort", "give up: undo what was done"))
    return found
