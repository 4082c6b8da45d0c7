"""The campaigns over the corpus, cut into parts: one file is one unit for a worker of pytest."""

import math
from collections import Counter
from typing import ClassVar

import pytest

from sagafsm.testing.simulation.campaign import by_chance, pairs_of_faults, run_all, single_faults
from tests.simulation.gate import RUNS, demand, must_reach
from tests.simulation.shapes import PAIRED, SHAPES
from tests.simulation.sometimes import EVERYTHING

PARTS = 2


class Interleavings:
    """Whole engines by chance: processes that crash, freeze and stop, a store and participants that fail, races.

    Nothing may be broken, and the runs of each part have to reach what they are there to try.
    """

    part: ClassVar[int]
    reached: ClassVar[Counter[str]]
    counted: ClassVar[Counter[str]]

    def __init_subclass__(cls) -> None:
        cls.reached, cls.counted = Counter(), Counter()

    @pytest.mark.timeout(0)
    @pytest.mark.parametrize("shape", SHAPES)
    def test_nothing_breaks(self, shape):
        plan = SHAPES[shape]()
        count = max(25, math.ceil(RUNS / PARTS / len(SHAPES)))
        tally = demand(plan, run_all(plan, by_chance(1 + self.part * count, count)))
        self.reached.update(tally.reached)
        self.counted[shape] = tally.runs
        print(f"{shape}: {tally.runs} runs, {tally.rate:.0f} a second")

    def test_everything_is_reached(self):
        """A run that never got there would have proved nothing."""
        if set(self.counted) != set(SHAPES) or sum(self.counted.values()) < 20_000:
            pytest.skip("only the whole corpus reaches everything")
        must_reach(self.reached, EVERYTHING)


def single_faults_of(shape: str) -> None:
    """Every single fault at every place where it can strike, with every behaviour of the participants."""
    plan = SHAPES[shape]()
    tally = demand(plan, run_all(plan, single_faults(plan)))
    assert tally.runs > 500
    print(f"{shape}: {tally.runs} runs, {tally.rate:.0f} a second")


def pairs_of(shape: str) -> None:
    """Every pair of faults: what no single fault breaks, two may."""
    plan = PAIRED[shape]()
    tally = demand(plan, run_all(plan, pairs_of_faults(plan)))
    assert tally.runs > 10_000
    print(f"{shape}: {tally.runs} runs, {tally.rate:.0f} a second")
