"""Sagas of every shape through everything that can happen to them: after each step of it all invariants hold.

``tests.core.hostility`` says what can happen, ``sagafsm.testing.laws`` and ``checker`` what must hold. Longer runs:
``SAGAFSM_RUNS=100000 pytest tests/core/test_invariants.py``.
"""

import os
from collections import Counter
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sagafsm.core import commands as c
from sagafsm.core import events as e
from sagafsm.core.decider import decide
from sagafsm.core.lifecycle import SAGA_TABLE, STEP_TABLE
from sagafsm.testing.account import Entry
from sagafsm.testing.checker import Broken, check_log
from tests.core.hostile_run import Run
from tests.core.hostility import run_through_everything
from tests.core.strategies import Choices

RUNS = int(os.environ.get("SAGAFSM_RUNS", "6000"))
EXAMPLES = max(100, RUNS // 6)
KEPT = 300


@given(st.data())
@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
@pytest.mark.timeout(0)
def test_no_history_breaks_an_invariant_and_a_broken_one_shrinks(data):
    """Hypothesis draws the definition and the history, and shrinks what breaks to the shortest story."""
    run_through_everything(Choices.of_data(data), most=40)


class Seen:
    """What many histories reached, and some of them."""

    def __init__(self) -> None:
        self.kept: list[Run] = []
        self.events: set[str] = set()
        self.moves: set[object] = set()
        self.inputs: set[type[c.Struct]] = set()
        self.deliveries: set[c.Delivery] = set()
        self.endings = Counter[str]()

    def add(self, run: Run) -> None:
        self.events |= {type(entry.event).__name__ for entry in run.log.entries}
        self.moves |= run.log.moves
        self.inputs |= {type(given) for given in run.inputs}
        self.deliveries |= run.deliveries
        self.endings[f"{run.progress.state.value} {run.progress.outcome}"] += 1
        if len(self.kept) < KEPT:
            self.kept.append(run)


@pytest.fixture(scope="module")
def seen():
    """Many histories of plain seeds: the same code, much faster than with Hypothesis, but without shrinking."""
    found = Seen()
    for seed in range(RUNS):
        found.add(run_through_everything(Choices.of_seed(seed)))
    return found


@pytest.mark.timeout(0)
def test_the_runs_reach_every_event(seen):
    """A run that never got there would have proved nothing."""
    assert set(e.EVENT_TYPES) - seen.events == set()


@pytest.mark.parametrize("table", [SAGA_TABLE, STEP_TABLE], ids=["saga", "step"])
def test_the_runs_take_every_way_of_the_tables(seen, table):
    assert {(state, to) for (state, _), to in table.items()} - seen.moves == set()


def test_the_runs_reach_every_input_and_every_answer(seen):
    assert seen.inputs == set(get_args(c.Input))
    assert seen.deliveries == set(c.Delivery)


@pytest.mark.parametrize("ending", ["completed None", "failed compensated", "failed aborted", "failed forced"])
def test_the_runs_end_in_every_way(seen, ending):
    assert seen.endings[ending] > RUNS / 200


def test_every_log_of_the_runs_is_accepted_as_a_whole(seen):
    for run in seen.kept:
        assert check_log(run.definition, run.log.entries) == run.progress


def test_the_checker_sees_a_hole_in_a_log(seen):
    run = next(run for run in seen.kept if len(run.log.entries) > 5)
    with pytest.raises(Broken, match="event 4 is missing"):
        check_log(run.definition, [entry for entry in run.log.entries if entry.seq != 4])


def test_the_checker_sees_what_comes_after_the_end(seen):
    run = next(run for run in seen.kept if run.progress.state.value == "failed")
    late = Entry(len(run.log.entries) + 1, run.now, e.SagaFailed(outcome="compensated"))
    with pytest.raises(Broken, match="one terminal event, last"):
        check_log(run.definition, [*run.log.entries, late])


def test_a_saga_begins_alike_however_closely_one_looks():
    """``Begin`` looks only at what can be ready; had somebody else written, it would look at everything."""
    quick = 0
    for seed in range(RUNS):
        run = Run(Choices.of_seed(seed))
        quick += run.definition.begins_with_calls
        decisions = [
            decide(run.definition, run.progress, c.Begin(), run.now, run.surroundings, anew=anew)
            for anew in (False, True)
        ]
        assert decisions[0] == decisions[1]
    assert RUNS > quick > RUNS / 10
