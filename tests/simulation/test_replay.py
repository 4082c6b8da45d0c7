"""The same seed and tape are the same run, on any machine; and failures shrink."""

import os
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sagafsm import InvalidInput
from sagafsm.core import backward
from sagafsm.testing.simulation.campaign import by_chance, play, single_faults
from sagafsm.testing.simulation.case import Case
from sagafsm.testing.simulation.chance import Chance
from sagafsm.testing.simulation.shrink import law_of, shrink
from tests.core.mutants import wraps
from tests.simulation.shapes import SHAPES

DIGESTS = """
import sys
from sagafsm.testing.simulation.campaign import by_chance, play
from tests.simulation.shapes import SHAPES
for name in SHAPES:
    plan = SHAPES[name]()
    for case in by_chance(1, 5):
        print(name, case, play(plan, case).run.trace.digest())
"""


@pytest.mark.timeout(0)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_seed_played_twice_is_the_same_run(shape):
    plan = SHAPES[shape]()
    for case in by_chance(1, 10):
        assert play(plan, case).run.trace.digest() == play(plan, case).run.trace.digest(), f"{shape} {case}"


@pytest.mark.timeout(0)
def test_another_process_with_other_hashes_plays_the_same_runs():
    answers = {
        subprocess.run(
            [sys.executable, "-c", DIGESTS],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            check=True,
            capture_output=True,
            timeout=600,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(answers) == 1


def test_the_tape_of_a_run_plays_it_again_without_its_seed():
    plan = SHAPES["parallel"]()
    for case in by_chance(1, 20):
        recorded = play(plan, case, record=True)
        again = play(plan, Case(tape=recorded.tape))
        assert recorded.run.trace.digest() == again.run.trace.digest()


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(tape=st.binary(max_size=256), seed=st.integers(0, 2**32))
@pytest.mark.timeout(0)
def test_no_tape_breaks_anything(tape, seed):
    """With Hypothesis on top: it shortens the tape of a failure, and puts zeros into it."""
    plan = SHAPES["sequence"]()
    played = play(plan, Case(seed=seed, tape=tape), thorough=False)
    assert played.broken is None, f"{played.broken}\n{played.run.trace.timeline()}"


@given(st.lists(st.tuples(st.integers(2, 2_000), st.integers(0, 1_999))))
def test_what_a_tape_records_it_plays(draws):
    recording = Chance(7, record=True)
    drawn = [recording.below(bound) for bound, _ in draws]
    playing = Chance(0, bytes(recording.drawn))
    assert [playing.below(bound) for bound, _ in draws] == drawn


@pytest.mark.timeout(0)
def test_a_failure_shrinks(monkeypatch):
    wraps(monkeypatch, backward, "due", lambda original, turn: original(turn)[::-1])
    plan = SHAPES["sequence"]()
    failing = next(played for case in by_chance(1, 200) if (played := play(plan, case, thorough=False)).broken)
    smallest = shrink(plan, failing)
    assert law_of(smallest) == law_of(failing) == "C3"
    assert smallest.case.seed == 0
    assert sum(1 for byte in smallest.case.tape if byte) <= 4
    assert len(smallest.run.trace.entries) <= len(failing.run.trace.entries)


@pytest.mark.parametrize("text", ["17", "0:0a04", "3:ff", "b2!31=commit after!s40=crash", "b0"])
def test_a_run_is_named_by_a_text(text):
    assert str(Case.parse(text)) == text


@pytest.mark.parametrize("text", ["", "x", "0:0", "b", "b0!3", "b0!x=crash", "b0!3=no such fault"])
def test_a_text_that_names_no_run_is_refused(text):
    with pytest.raises(InvalidInput, match="names no run"):
        Case.parse(text)


def test_the_first_of_all_single_faults_is_none():
    plan = SHAPES["sequence"]()
    calm = play(plan, next(single_faults(plan)))
    assert calm.run.faults.struck == []
    assert calm.verdict.standing["saga-1"].state.value == "completed"
