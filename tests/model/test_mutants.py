"""The model checker finds every planted mistake that it can see: else it would not have seen a real one either."""

import pytest

from sagafsm.testing.model import Bounds, check_model
from tests.core import mutants
from tests.core.mutants import MUTANTS
from tests.model.shapes import SHAPES, Two
from tests.model.test_check import run_pasted

BOUNDS = Bounds(faults=3, suspensions=True)
OUT_OF_SIGHT = {
    mutants.a_snapshot_off_by_one,  # the model keeps no snapshots,
    mutants.a_snapshot_forgets_the_signals,
    mutants.a_writer_that_does_not_own_the_saga_begins_calls,  # and this is planted in the tests of the core
}
VISIBLE = [mutant for mutant in MUTANTS if mutant not in OUT_OF_SIGHT]


def first_problem():
    """What is found first, over all the shapes."""
    for shape in SHAPES:
        problems = check_model(shape, bounds=BOUNDS, target=f"tests.model.shapes:{shape.name}").of("problem")
        if problems:
            return problems[0]
    return None


@pytest.mark.timeout(120)
@pytest.mark.parametrize("mutant", VISIBLE, ids=lambda mutant: mutant.__name__)
def test_the_model_checker_finds(mutant, monkeypatch):
    mutant(monkeypatch)
    problem = first_problem()
    assert problem is not None, f"{mutant.__name__} was not found"
    print(f"FOUND {mutant.__name__}: {problem.what}"[:200])
    assert problem.path is not None
    assert len(problem.path.happened) <= 8


def test_without_a_mutant_nothing_is_found():
    assert first_problem() is None


def test_enough_is_visible():
    assert len(VISIBLE) >= 40


@pytest.mark.parametrize(
    "mutant",
    [
        mutants.compensation_in_the_order_of_completion,
        mutants.an_unknown_step_is_not_undone,
        mutants.a_rejected_compensation_counts_as_done,
        mutants.completion_overwrites_an_accepted_abort,
    ],
    ids=lambda mutant: mutant.__name__,
)
def test_a_counterexample_pasted_as_a_test_fails_as_long_as_the_mistake_is_there(mutant, monkeypatch):
    with monkeypatch.context() as planted:
        mutant(planted)
        problem = check_model(Two, bounds=BOUNDS, target="tests.model.shapes:Two").of("problem")[0]
        assert problem.test is not None
        with pytest.raises(AssertionError):
            run_pasted(problem.test)
    run_pasted(problem.test)


def test_a_mistake_that_the_engine_itself_refuses_is_told_without_a_test(monkeypatch):
    """Nothing of it comes into a log that a test could look at."""
    mutants.a_call_without_its_event(monkeypatch)
    problem = check_model(Two, bounds=BOUNDS, target="tests.model.shapes:Two").of("problem")[0]
    assert problem.about == "U1 write-ahead"
    assert problem.test is None
