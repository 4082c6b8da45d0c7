"""What the model checker says: what was explored, what was found, and the way to each finding.

What must stay true: what was not explored is said in the same breath as what was; a finding that has a way shows the
one with the fewest faults, and of those the shortest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import attrs

from ...core.diagram import DiagramFormat, definition_diagram
from ...core.events import SagaEvent
from .bounds import Bounds
from .explore import Explored
from .moves import Move
from .play import Answer

Level = Literal["problem", "warning", "note"]


class ModelBroken(AssertionError):
    """The model checker found a problem; ``verdict`` has all of it."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(str(verdict))
        self.verdict = verdict


@attrs.frozen(kw_only=True)
class Happened:
    """One thing that happened on a path, what the conditions said that were asked, and the events it led to."""

    move: Move
    answers: tuple[tuple[str, Answer], ...]
    events: Sequence[SagaEvent]

    @property
    def text(self) -> str:
        """It in words."""
        said = {True: "holds", False: "does not hold", None: "raises"}
        asked = "".join(f"; the condition of {step} {said[answer]}" for step, answer in self.answers)
        return self.move.text + asked


@attrs.frozen(kw_only=True)
class Path:
    """One way through a saga. ``states``: where its steps stand at the end of it, ``ends``: where the saga does."""

    shape: Mapping[str, Any]
    happened: Sequence[Happened]
    states: Mapping[str, str]
    saga_state: str
    ends: str
    stuck: tuple[str, ...] = ()

    @property
    def faults(self) -> int:
        """How many things go wrong on it."""
        return sum(one.move.fault + sum(answer is None for _, answer in one.answers) for one in self.happened)

    def timeline(self) -> str:
        """What happened, a line each."""
        return "\n".join(f"{number:>3}. {one.text}" for number, one in enumerate(self.happened, start=1))

    def diagram(self, format: DiagramFormat = "text") -> str:  # noqa: A002
        """The definition with the way that the saga went."""
        return definition_diagram(
            self.shape, format=format, states=self.states, saga_state=self.saga_state, stuck=set(self.stuck)
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "faults": self.faults,
            "happened": [
                {"what": one.text, "fault": one.move.fault, "events": [_event(event) for event in one.events]}
                for one in self.happened
            ],
            "steps": dict(self.states),
            "ends": self.ends,
        }


def _event(event: SagaEvent) -> dict[str, Any]:
    step: str | None = getattr(event, "step", None)
    return {"type": type(event).__name__, **({"step": step} if step else {})}


@attrs.frozen(kw_only=True)
class Finding:
    """One thing found.

    ``problem``: a promise is broken, or a rule of yours; ``warning``: surely not meant; ``note``: to know about.
    ``about``: the name of the law or rule, or of the kind of finding. ``test``: the path as a test to paste, where it
    can be written as one.
    """

    level: Level
    about: str
    what: str
    step: str | None = None
    path: Path | None = None
    test: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "level": self.level,
            "about": self.about,
            "what": self.what,
            "step": self.step,
            "path": None if self.path is None else self.path.to_dict(),
            "test": self.test,
        }


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


@attrs.frozen(kw_only=True)
class Verdict:
    """What the model checker says of one saga. ``endings``: in how many states paths end, by where the saga stands."""

    saga: str
    version: int
    bounds: Bounds
    explored: Explored
    endings: Mapping[str, int]
    findings: Sequence[Finding]

    @property
    def ok(self) -> bool:
        """Whether no problem was found."""
        return not self.of("problem")

    @property
    def proven(self) -> bool:
        """Whether no problem was found, and everything within the bounds was explored."""
        return self.ok and self.explored.complete

    def of(self, *levels: Level) -> list[Finding]:
        """The findings of these levels."""
        return [finding for finding in self.findings if finding.level in levels]

    def check(self) -> Verdict:
        """Itself, if no problem was found. Raises ModelBroken, which shows the shortest way to it."""
        if not self.ok:
            raise ModelBroken(self)
        return self

    @property
    def extent(self) -> str:
        """What was explored and what was not, in words."""
        seen, bounds = self.explored, self.bounds
        size = f"{seen.states} states, {seen.transitions} transitions, depth {seen.depth}, {seen.seconds:.1f} s"
        calls = (
            f"at most {_count(bounds.attempts, 'attempt')} and {_count(bounds.interruptions, 'interruption')} of a call"
        )
        if seen.complete:
            return f"everything was explored ({size}): any number of faults, {calls}"
        if not seen.waiting and bounds.faults is not None:
            return f"all paths with at most {_count(bounds.faults, 'fault')} were explored ({size}), {calls}"
        if not self.ok:
            return f"stopped at the first broken promise ({size})"
        done = (
            "not even all paths without a fault"
            if seen.faults_done is None
            else f"all paths with at most {_count(seen.faults_done, 'fault')}, and some with up to {seen.faults}"
        )
        return f"stopped at a limit ({size}): explored were {done}; {seen.waiting} states more were reached, {calls}"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "saga": self.saga,
            "version": self.version,
            "ok": self.ok,
            "proven": self.proven,
            "extent": self.extent,
            "explored": attrs.asdict(self.explored),
            "bounds": attrs.asdict(self.bounds),
            "endings": dict(self.endings),
            "findings": [finding.to_dict() for finding in self.findings],
        }

    def __str__(self) -> str:
        lines = [f"{self.saga} version {self.version}: {'no problem found' if self.ok else 'BROKEN'}", self.extent]
        for finding in self.findings:
            lines += ["", f"{finding.level}: {finding.what}"]
            if finding.level == "problem" and finding.path is not None:
                lines += [finding.path.timeline(), "", finding.path.diagram().rstrip("\n")]
                lines += ["", finding.test] if finding.test else []
        return "\n".join(lines)
