"""The simulation kills every planted mistake within 2,000 runs: else it would not have seen the real one either."""

import pytest

from sagafsm.testing.simulation.campaign import by_chance, play
from tests.simulation.asked_for import MUTANTS as ASKED_FOR
from tests.simulation.mutants import MUTANTS
from tests.simulation.shapes import SHAPES

WITHIN = 2_000


@pytest.mark.timeout(0)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_simulation_kills(mutant, monkeypatch):
    mutant.plant(monkeypatch)
    plans = [SHAPES[name]() for name in mutant.on]
    for number, case in enumerate(by_chance(1, WITHIN)):
        played = play(plans[number % len(plans)], case, thorough=False)
        if played.broken is not None:
            assert not isinstance(played.broken.__cause__, TypeError), (
                "the mutant itself does not fit the code any more"
            )
            print(f"KILLED {mutant.name} by run {case}: {str(played.broken)[:150]}")
            return
    pytest.fail(f"{mutant.name} survived {WITHIN} runs")


@pytest.mark.timeout(0)
def test_without_a_mutant_the_same_runs_are_clean():
    for name in sorted({name for mutant in MUTANTS for name in mutant.on}):
        plan = SHAPES[name]()
        for case in by_chance(1, 60):
            assert play(plan, case).broken is None, f"{name} {case}"


def test_all_that_were_asked_for_are_planted():
    assert sorted(ASKED_FOR.values()) == sorted(mutant.name for mutant in MUTANTS)
