"""What was seen of the user's functions in all the runs of a simulation: called, what they raised, what was refused.

What must stay true: it only notes; what a run is judged by is in the run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import attrs

from ...core.definition import SagaDefinition
from .outside import CannotSimulate

ROLES = ("action", "compensation", "fallback", "fallback_compensation", "probe")
ADVICE = (
    "A simulation plays thousands of runs on virtual time, and nothing outside takes part in them. Give the function a "
    "stand-in: a fake client, a mock transport, an object in memory that before= makes new."
)


@attrs.define(eq=False)
class Watch:
    """What was seen. ``outside``: blocking sockets, threads and programs are allowed all the same."""

    outside: bool = False
    called: Counter[str] = attrs.Factory(Counter[str])
    raised: Counter[str] = attrs.Factory(Counter[str])
    refused: list[str] = attrs.Factory(list[str])

    def refuse(self, function: str, what: str) -> CannotSimulate:
        """Note what a function wanted; the error for it."""
        self.refused.append(f"{function} {what}")
        return CannotSimulate(f"{function} {what}, and it is simulated")

    def check(self, saga: str) -> None:
        """Raise CannotSimulate where something was refused."""
        if self.refused:
            raise CannotSimulate(f"{saga} cannot be simulated: {self.refused[0]}. {ADVICE}")

    def note_error(self, function: str, error: Exception) -> None:
        """A function raised something of its own."""
        text = f"{error}".partition("\n")[0][:200]
        if isinstance(error, RuntimeError) and "event loop" in text and ("different" in text or "other" in text):
            self.refuse(
                function,
                f"uses something that belongs to another event loop ({text}); every run has a loop of its own, so "
                "make locks, queues and clients anew in before=",
            )
        self.raised[f"{function} raised {type(error).__name__}: {text}"] += 1

    def never_called(self, definitions: Iterable[SagaDefinition]) -> list[str]:
        """The functions of these sagas that no run has called, in their order."""
        found: dict[str, None] = {}
        for definition in definitions:
            for step in definition.steps.values():
                for role in ROLES:
                    handler = getattr(step, role)
                    if handler is not None and handler.name not in self.called:
                        found[handler.name] = None
        return list(found)

    def most_raised(self, most: int = 3) -> list[str]:
        """What functions raised, most often first, in words."""
        return [f"{what} ({count} times)" for what, count in self.raised.most_common(most)]
