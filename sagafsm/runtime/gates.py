"""Who waits for a permit under which limit, in this process.

What must stay true: pure bookkeeping, no store and no tasks. Those who have waited longest go first. A gate has few
seats; whoever finds none is told a time at which to come back, and these times are spread so that they do not all come
at once, however many they are.
"""

from __future__ import annotations

from bisect import insort
from typing import Generic, TypeVar

W = TypeVar("W")

MOST_SEATS = 16
LATEST = 300.0  # seconds: whoever waits for long still looks now and then, because deployments change limits
PAUSES = (0.1, 1.0)  # seconds between two questions to the store while all places are taken: at first, at most
OFTEN = 0.02  # seconds between two questions, at least: a high rate is asked for in bursts
SHORTEST = 0.01  # seconds that a call is taken to last, at least


class Gate(Generic[W]):
    """One limit, its key included. Times are those of the event loop, in seconds."""

    def __init__(self, concurrency: int | None, rate: float | None, burst: int) -> None:
        self.seats = max(1, min(MOST_SEATS, concurrency or burst))
        self.ask_at = 0.0
        self._queue: list[tuple[float, int, W]] = []
        self._pause = 0.0
        self._slot = 0.0
        self._concurrency = concurrency
        self._rate = rate

    # --- those who wait ---

    def __len__(self) -> int:
        return len(self._queue)

    def seated(self) -> list[W]:
        """Those who have a seat, the longest waiting first."""
        return [who for _, _, who in self._queue[: self.seats]]

    def next(self) -> W | None:
        """The first who waits here without a seat."""
        return self._queue[self.seats][2] if len(self._queue) > self.seats else None

    def is_behind(self, since: float) -> bool:
        """Whether somebody who waits here came no later."""
        return bool(self._queue) and self._queue[0][0] <= since

    def enter(self, since: float, number: int, who: W) -> None:
        """Let somebody wait here, behind those who came earlier."""
        insort(self._queue, (since, number, who), key=lambda entry: entry[:2])

    def leave(self, who: W) -> None:
        """Somebody no longer waits here."""
        self._queue = [entry for entry in self._queue if entry[2] is not who]

    # --- time ---

    def refused(self, now: float, wait: float) -> None:
        """The store let nobody through and named a ``wait``: when to ask it again."""
        if self._concurrency is not None:  # nobody knows when a place becomes free elsewhere
            self._pause = min(max(self._pause * 2, PAUSES[0]), PAUSES[1])
        self.ask_at = now + max(wait, self._pause, OFTEN)

    def granted(self) -> None:
        """The store let somebody through."""
        self._pause = 0.0

    def freed(self, now: float) -> None:
        """A place became free in this process."""
        self._pause = 0.0
        self.ask_at = min(self.ask_at, now) if self._rate is None else self.ask_at

    def slot(self, now: float, wait: float, lasts: float) -> float:
        """When somebody without a seat is to come back. ``lasts``: seconds that a call usually takes."""
        apart = 0.0 if self._rate is None else 1.0 / self._rate
        if self._concurrency is not None:
            apart = max(apart, max(lasts, SHORTEST) / self._concurrency)
        self._slot = min(max(self._slot, now + wait) + apart, now + LATEST)
        return self._slot

    def is_idle(self, now: float) -> bool:
        """Whether there is nothing to remember of it."""
        return not self._queue and self._slot <= now
