"""Every invariant that is spoken of is held by something that exists."""

import importlib
import re
from pathlib import Path

import pytest

import sagafsm.testing
from sagafsm.testing.judging import INVARIANTS, TRACES
from tests.simulation.gate import NotReached, must_reach

FOLDER = Path(sagafsm.testing.__file__).parent
NUMBER = re.compile(r'"((?:V-L|CL|L|S|C|U|F|P|A|V|D|R)\d+)[ "]')
EXPECTED = (
    "L1 L2 L3 L4 L5 L6 L7 L8 L9 L10 L11 S1 S2 S3 S4 S5 S6 C1 C2 C3 C4 C5 C6 C7 U1 U2 U3 U4 U5 U6 U7 U8 "
    "F1 F2 F3 F4 F5 F6 F7 F8 F9 CL1 CL2 CL3 CL4 P1 P2 P3 P4 A1 A2 A3 A4 V1 V2 V3 D1 D2 R1 V-L1 V-L2 V-L3 V-L4 V-L5"
)


def test_every_invariant_is_there():
    assert " ".join(INVARIANTS) == EXPECTED


@pytest.mark.parametrize("number", INVARIANTS)
def test_an_invariant_is_held_by_what_exists(number):
    for place in INVARIANTS[number].held_by:
        parts = place.split(".")
        for cut in range(len(parts) - 1, 0, -1):
            try:
                found = importlib.import_module(".".join(["sagafsm.testing", *parts[:cut]]))
            except ModuleNotFoundError:
                continue
            for name in parts[cut:]:
                found = getattr(found, name)
            break
        else:
            pytest.fail(f"{place} does not exist")


def test_every_number_that_an_error_can_begin_with_is_in_the_catalogue():
    spoken = set()
    for path in [*FOLDER.glob("*.py"), *FOLDER.glob("judging/*.py"), *FOLDER.glob("simulation/*.py")]:
        if path.name != "catalogue.py":
            spoken |= set(NUMBER.findall(path.read_text()))
    assert spoken <= set(INVARIANTS)
    assert len(spoken) > 30


@pytest.mark.parametrize("number", INVARIANTS)
def test_an_invariant_says_what_it_is_judged_by(number):
    assert INVARIANTS[number].reads
    assert set(INVARIANTS[number].reads) <= set(TRACES)


def test_every_trace_is_read():
    assert {trace for invariant in INVARIANTS.values() for trace in invariant.reads} == set(TRACES)


def test_what_is_never_reached_fails_the_campaign():
    must_reach({"completed": 3}, ["completed"])
    with pytest.raises(NotReached, match="no run has reached: the moon, the sea"):
        must_reach({"completed": 3, "the sea": 0}, ["the moon", "completed", "the sea"])
