"""What a person is shown of a run that broke something: what, the whole story in order, and how to play it again."""

from __future__ import annotations

from collections.abc import Sequence

from .campaign import Played
from .case import Case

LONGEST = 400


class SimulationFailed(AssertionError):
    """A simulated run broke an invariant. ``case`` names the run, ``law`` what it broke."""

    def __init__(self, message: str, case: Case, law: str) -> None:
        super().__init__(message)
        self.case = case
        self.law = law


def explain(
    plan: str, played: Played, *, command: str, kept_in: str | None = None, more: Sequence[str] = ()
) -> SimulationFailed:
    """The error to raise for a failing run. ``more``: lines for its end."""
    broken = played.broken
    law = broken.law if broken is not None else ""
    run = played.run
    lines = run.trace.timeline().splitlines()
    if len(lines) > LONGEST:
        lines = [f"({len(lines) - LONGEST} lines before these)", *lines[-LONGEST:]]
    parts = [
        f"simulation of {plan}: {broken}",
        f"run {played.case}; faults: {', '.join(run.faults.struck) or 'none'}; meant: {dict(run.behaviour) or 'well'}",
        "",
        *lines,
        "",
        f"broken: {broken}",
        *(getattr(broken, "__notes__", None) or ()),
        f"play it again: {command}",
    ]
    if kept_in is not None:
        parts.append(f"kept in {kept_in}: it is played first from now on")
    parts += more
    error = SimulationFailed("\n".join(parts), played.case, law)
    error.__cause__ = broken.__cause__ if broken is not None else None
    return error
