"""Who runs next: first come first served, by chance, or by priorities that change now and then (PCT).

What must stay true: a schedule decides from the run's chance only.

PCT: Burckhardt, Kothari, Musuvathi, Nagarakatte, "A Randomized Scheduler with Probabilistic Guarantees of Finding
Bugs", ASPLOS 2010: with ``depth - 1`` change points it meets any bug of that depth with a known least probability.
Its threads are our processes, the store and the world included.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from ..loop import Ready
from .chance import Chance

SCHEDULES = ("fifo", "random", "pct")
NEVER = 1_000_000_000


def loop_options(name: str, chance: Chance, *, steps: int) -> dict[str, Any]:
    """What a VirtualLoop needs to follow this schedule. ``steps``: about how many there will be."""
    if name == "random":
        return {"choose": chance.below}
    if name == "pct":
        return {"pick": by_priorities(chance, steps)}
    return {}


def by_priorities(chance: Chance, steps: int) -> Callable[[Ready], int]:
    """The process with the highest priority runs; at each change point the one that runs drops to the bottom."""
    depth = 2 + chance.below(4)
    changes = [*sorted(chance.below(steps) for _ in range(depth - 1)), NEVER]
    priorities = defaultdict[str, int](lambda: 1 + chance.below(1000))
    taken = 0

    def pick(ready: Ready) -> int:
        nonlocal taken
        taken += 1
        best, found = -NEVER, 0
        for place, handle in enumerate(ready):
            priority = priorities[handle.process]
            if priority > best:
                best, found = priority, place
        if taken >= changes[0]:
            del changes[0]
            priorities[ready[found].process] = -taken
        return found

    return pick
