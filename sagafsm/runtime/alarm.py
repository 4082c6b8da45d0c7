"""When the driver of a saga looks at it again by itself.

What must stay true: one timer at most. A time that has passed already is looked at soon, and then less and less often:
what is due and cannot begin waits for something else, whose end is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

SOON, LATEST = 0.001, 1.0  # seconds until the next look at a time that has passed: at first, at most


class Alarm:
    """Rings once, at the time for which it was set last."""

    __slots__ = ("_pause", "_ring", "_timer")

    def __init__(self, ring: Callable[[], object]) -> None:
        self._ring = ring
        self._pause = SOON
        self._timer: asyncio.TimerHandle | None = None

    def set(self, due_at: float | None, now: float) -> None:
        """Ring at this time instead (None: not at all), counted from ``now`` by the same clock."""
        self.stop()
        if due_at is None or due_at > now:
            self._pause = SOON
        if due_at is not None:
            self._timer = asyncio.get_running_loop().call_later(max(self._pause, due_at - now), self._rings)

    def stop(self) -> None:
        """Do not ring."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _rings(self) -> None:
        self._timer = None
        self._pause = min(self._pause * 2, LATEST)
        self._ring()
