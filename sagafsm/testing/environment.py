"""Time, chance and identity for the runtime on virtual time: the same in every run.

What must stay true: nothing here differs from one run to the next; processes that share a ``Numbers`` never get the
same id twice.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

from ..runtime.environment import Environment

EPOCH = 1_750_000_000.0  # virtual time 0 as seconds since 1970: a date like any other


class VirtualClock:
    """The clock of a store on virtual time, in seconds since the epoch."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def __call__(self) -> float:
        """The time."""
        return EPOCH + self._loop.time()


class VirtualEnvironment(Environment):
    """What the runtime is given instead of the real world.

    ``spread`` draws the random part of backoffs, from -1 to 1 (default: none). ``numbers`` is shared by the
    environments of one run. ``is_alive`` says whether the process of a worker still runs (default: all do).
    """

    threads = False

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        spread: Callable[[], float] = lambda: 0.0,
        numbers: itertools.count[int] | None = None,
        is_alive: Callable[[str], bool] = lambda worker_id: True,
    ) -> None:
        self.monotonic = loop.time
        self.spread = spread
        self._numbers = itertools.count(1) if numbers is None else numbers
        self._is_alive = is_alive

    def append_id(self) -> str:
        """An id that no other append has."""
        return f"append-{next(self._numbers)}"

    def saga_id(self) -> str:
        """An id for a saga that was given none."""
        return f"saga-{next(self._numbers)}"

    def worker_id(self) -> str:
        """An id that no other worker has."""
        return f"worker-{next(self._numbers)}"

    def is_dead(self, worker_id: str) -> bool:
        """Whether that worker's process no longer runs."""
        return not self._is_alive(worker_id)
