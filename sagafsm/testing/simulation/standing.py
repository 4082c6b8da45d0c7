"""How a saga stands, as the store has it, followed from the appends that it accepts."""

from __future__ import annotations

import attrs

from .server import TERMINAL


@attrs.define(eq=False)
class Standing:
    """One saga."""

    state: str = "none"
    stuck: bool = False
    suspended: bool = False

    @property
    def settled(self) -> bool:
        """Whether it has ended."""
        return self.state in TERMINAL
