"""The property run kills every planted mistake: otherwise it would not have seen the real one either."""

import pytest

from tests.core.hostility import run_through_everything
from tests.core.mutants import MUTANTS
from tests.core.strategies import Choices

WITHIN = 4000


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_the_property_run_kills(mutant, monkeypatch):
    mutant(monkeypatch)
    for seed in range(WITHIN):
        try:
            run_through_everything(Choices.of_seed(seed))
        except Exception as broken:
            print(f"KILLED {mutant.__name__} by run {seed}: {type(broken).__name__} {broken}"[:200])
            return
    pytest.fail(f"{mutant.__name__} survived {WITHIN} runs")


def test_without_a_mutant_the_same_runs_are_clean():
    for seed in range(200):
        run_through_everything(Choices.of_seed(seed))


def test_enough_is_planted():
    assert len(MUTANTS) >= 40
