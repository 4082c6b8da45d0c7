"""Cues: a story told to the harness, one thing that happens at a time, in exactly this order.

What must stay true: a cue is plain data with a short way to write it, so that a story found by the model checker, or
recorded from a stored saga, reads as a test.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import attrs

from ..core.errors import Rejected


@attrs.frozen(kw_only=True)
class Cue:
    """One thing that happens in a story; made by ``ends``, ``fails``, ``dies``, ``passes`` and ``asks``."""

    kind: Literal["ends", "fails", "dies", "passes", "asks"]
    name: str = ""
    result: Any = None
    error: BaseException | None = None
    seconds: float | None = None
    arguments: tuple[Any, ...] = ()
    keywords: Mapping[str, Any] = {}
    of: str = ""

    def __str__(self) -> str:
        return f"{self.kind}({self.name!r})" if self.name else f"{self.kind}()"


def ends(name: str, result: Any = None) -> Cue:
    """The call of a function comes back with ``result`` (a probe: with one of its answers).

    ``name`` is that of the step for its action, else ``"step.compensation"``, ``"step.fallback"``, ``"step.probe"``,
    with ``"Saga."`` in front for a sub-saga's. Time goes on until the call is made, if it has to.
    """
    return Cue(kind="ends", name=name, result=result)


def fails(name: str, error: BaseException | type[BaseException] | None = None) -> Cue:
    """The call of a function raises ``error`` (default: Rejected)."""
    if error is None:
        error = Rejected(f"{name} is to fail")
    return Cue(kind="fails", name=name, error=error() if isinstance(error, type) else error)


def dies() -> Cue:
    """The process dies with all its calls, and another takes the saga up."""
    return Cue(kind="dies")


def passes(seconds: float | None = None) -> Cue:
    """So many seconds pass; or, without a number, as many as it takes until the saga goes on by itself."""
    return Cue(kind="passes", seconds=seconds)


def asks(verb: str, *arguments: Any, of: str = "", **keywords: Any) -> Cue:
    """Somebody asks something of the orchestrator: ``asks("signal", "approval")``, ``asks("abort", "too late")``.

    ``verb`` is a method that takes the saga's id first, ``arguments`` are those after it. ``of``: the step whose
    sub-saga is meant. What the orchestrator raises is raised by the test.
    """
    return Cue(kind="asks", name=verb, arguments=arguments, keywords=keywords, of=of)
