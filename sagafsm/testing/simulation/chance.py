"""Where a simulated run gets its decisions from: bytes of a tape first, then a seed. 0 is always the calm choice.

What must stay true: the same seed and tape give the same decisions; every decision is a number below a bound, and 0 is
the plain one (no fault, the first in the queue), so that a shorter tape, or one with zeros in it, is a quieter run.
After Hypothesis' own byte strings, and the tape of FoundationDB's and TigerBeetle's simulators.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

ONE_BYTE = 256


class Chance:
    """Decisions. ``seed`` 0: after the tape come zeros only. ``drawn``: the tape of what was decided, if asked for.

    ``below(bound)``: a number from 0 to ``bound - 1``.
    """

    below: Callable[[int], int]

    def __init__(self, seed: int, tape: bytes = b"", *, record: bool = False) -> None:
        self.seed = seed
        self._tape = tape
        self._place = 0
        self._random = random.Random(seed).random if seed else None
        self.drawn: bytearray | None = bytearray() if record else None
        if self._random is not None and not tape and not record:
            self.below = _from(self._random)
        else:
            self.below = self._below

    def _below(self, bound: int) -> int:
        if bound < 2:
            return 0
        if self._place < len(self._tape):
            value = self._from_tape(bound)
        else:
            value = 0 if self._random is None else int(self._random() * bound)
        if self.drawn is not None:
            self.drawn.extend(value.to_bytes(1 if bound <= ONE_BYTE else 2, "big"))
        return value

    def _from_tape(self, bound: int) -> int:
        length = 1 if bound <= ONE_BYTE else 2
        value = int.from_bytes(self._tape[self._place : self._place + length], "big")
        self._place += length
        return value % bound

    def one_of(self, *options: T) -> T:
        """One of these; the first is the calm one."""
        return options[self.below(len(options))]

    def percent(self, chance: int) -> bool:
        """True in so many of a hundred cases."""
        return self.below(100) >= 100 - chance

    def weighted(self, options: Sequence[tuple[int, T]]) -> T:
        """One of the options, each as often as its weight says; 0 is the first."""
        number = self.below(sum(weight for weight, _ in options))
        for weight, option in options:
            if number < weight:
                return option
            number -= weight
        raise AssertionError("unreachable: the number is below the sum of the weights")

    def spread(self) -> float:
        """A number from -1 to 1, and 0 where all is calm: the jitter of a backoff."""
        return (0.0, 1.0, -1.0, 0.5)[self.below(4)]


def _from(draw: Callable[[], float]) -> Callable[[int], int]:
    """The same without a tape: there are hundreds of decisions in a run."""
    return lambda bound: int(draw() * bound) if bound > 1 else 0
