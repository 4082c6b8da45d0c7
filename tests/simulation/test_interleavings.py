"""Whole engines by chance: processes that crash, freeze and stop, a store that fails, participants that fail, races.

50,000 runs over the corpus (``SAGAFSM_TEST_INTERLEAVINGS=…`` for more, ``make prove`` for millions); nothing may be
broken, and between them the runs have to reach what they are there to try.
"""

from collections import Counter

import pytest

from sagafsm.core import events as e
from sagafsm.testing.simulation.campaign import by_chance, run_all
from sagafsm.testing.simulation.faults import SITES
from tests.simulation.gate import RUNS, demand
from tests.simulation.shapes import SHAPES

REACHED: Counter[str] = Counter()
COUNTED: Counter[str] = Counter()

SOMETIMES = (
    "takeover during an action", "takeover during a compensation", "a crash during a call",
    "an interrupted call was made again", "a stale owner was fenced off", "version conflict",
    "an append was handed in again", "a late effect after compensation began", "a call while an older one still runs",
    "an abort was accepted", "an abort was refused: PastPivot", "reply: LATE", "reply: DUPLICATE", "signal: DUPLICATE",
    "start other: SagaConflict", "resume all", "a saga was purged",
    "freeze", "thaw", "stopped", "clock jump", "an effect was undone",
    "completed", "failed compensated", "failed aborted", "failed forced",
)  # fmt: skip
DOUBTFUL = (
    "SagaStarted", "AttemptStarted", "StepSucceeded", "AttemptFailed", "StepUnknown", "CompensationStarted",
    "CompensationAttemptStarted", "StepCompensated", "SagaCompleted", "SagaFailed", "AbortRequested", "SagaStuck",
    "SagaUnstuck",
)  # fmt: skip


@pytest.mark.timeout(0)
@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_breaks(shape):
    plan = SHAPES[shape]()
    tally = demand(plan, run_all(plan, by_chance(1, max(50, RUNS // len(SHAPES)))))
    REACHED.update(tally.reached)
    COUNTED[shape] = tally.runs
    print(f"{shape}: {tally.runs} runs, {tally.rate:.0f} a second")


@pytest.fixture
def reached():
    if set(COUNTED) != set(SHAPES):
        pytest.skip("only the whole corpus reaches everything")
    return REACHED


def test_the_runs_reach_every_event(reached):
    """A run that never got there would have proved nothing."""
    assert set(e.EVENT_TYPES) - set(reached) == set()


def test_every_fault_strikes(reached):
    assert set(SITES) - set(reached) == set()


@pytest.mark.parametrize("what", SOMETIMES)
def test_sometimes(reached, what):
    assert reached[what] > 0


@pytest.mark.parametrize("event", DOUBTFUL)
def test_sometimes_nobody_knows_whether_an_event_was_stored(reached, event):
    assert reached[f"ambiguous {event}"] > 0
