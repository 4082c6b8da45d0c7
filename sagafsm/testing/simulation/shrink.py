"""Making a failing run smaller: a shorter tape, with more zeros in it, that breaks the same invariant.

What must stay true: what is handed back was played, and broke what the original broke.
"""

from __future__ import annotations

import time

from .campaign import Played, play
from .case import Case
from .plan import Plan

MOST_PLAYS = 400
MOST_SECONDS = 5.0


def law_of(played: Played) -> str:
    """The number of the invariant that a run broke."""
    return played.broken.law.split()[0] if played.broken is not None else ""


class _Shrinking:
    def __init__(self, plan: Plan, failing: Played) -> None:
        self.plan = plan
        self.best = failing
        self.law = law_of(failing)
        self._plays = 0
        self._until = time.perf_counter() + MOST_SECONDS

    @property
    def goes_on(self) -> bool:
        """Whether it is worth the time."""
        return self._plays < MOST_PLAYS and time.perf_counter() < self._until

    def fails(self, tape: bytes) -> bool:
        """Whether this tape breaks the same invariant; then it is the best so far."""
        if not self.goes_on:
            return False
        self._plays += 1
        played = play(self.plan, Case(tape=tape.rstrip(b"\0")))
        if law_of(played) != self.law:
            return False
        self.best = played
        return True


def shrink(plan: Plan, failing: Played) -> Played:
    """The smallest run that could be found which breaks the same; the failing one itself where none could."""
    if failing.case.aimed:
        return failing
    recorded = play(plan, failing.case, record=True)
    work = _Shrinking(plan, failing)
    if not work.fails(recorded.tape):
        return failing
    tape = recorded.tape.rstrip(b"\0")
    tape = _shortest(work, tape)
    size = max(1, len(tape) // 2)
    while size >= 1 and work.goes_on:
        tape = _zero_blocks(work, tape, size)
        size //= 2
    return work.best


def _shortest(work: _Shrinking, tape: bytes) -> bytes:
    """The shortest beginning that still fails, as far as halving finds it."""
    low, high = 0, len(tape)
    while low < high and work.goes_on:
        middle = (low + high) // 2
        if work.fails(tape[:middle]):
            high = middle
        else:
            low = middle + 1
    return tape[:high]


def _zero_blocks(work: _Shrinking, tape: bytes, size: int) -> bytes:
    for start in range(0, len(tape), size):
        block = tape[start : start + size]
        if any(block):
            quieter = tape[:start] + bytes(len(block)) + tape[start + size :]
            if work.fails(quieter):
                tape = quieter
    return tape
