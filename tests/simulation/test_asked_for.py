"""Every fault that was asked for is there, every one that is there is spoken of; the page about them is current."""

from pathlib import Path

from sagafsm.testing.judging import INVARIANTS, TRACES
from sagafsm.testing.simulation.faults import SITES
from tests.generated import assert_current
from tests.simulation.asked_for import FAULTS, MUTANTS
from tests.simulation.shapes import SHAPES

PAGE = Path("docs/explanation/proof.md")


def names(text):
    return text.split(", ")


def test_what_stands_for_a_fault_exists():
    for fault, standing in FAULTS.items():
        assert set(names(standing)) <= {*SITES, *SHAPES}, fault


def test_every_fault_is_spoken_of():
    assert {name for standing in FAULTS.values() for name in names(standing)} >= set(SITES)


def test_the_page_names_every_invariant():
    lines = ["| | what must be true | judged by |", "|---|---|---|"]
    lines += [f"| {one.number} | {one.rule} | {', '.join(one.reads)} |" for one in INVARIANTS.values()]
    assert_current(PAGE, "invariants", "\n".join(lines))


def test_the_page_names_every_trace():
    assert_current(PAGE, "traces", "\n".join(f"- *{name}*: {what}" for name, what in TRACES.items()))


def test_the_page_names_every_fault():
    lines = ["| fault | in the simulation |", "|---|---|"]
    lines += [
        f"| {fault} | {', '.join(f'`{name}`' for name in names(standing))} |" for fault, standing in FAULTS.items()
    ]
    assert_current(PAGE, "faults", "\n".join(lines))


def test_the_page_names_every_mutant():
    lines = ["| planted mistake | as |", "|---|---|"]
    lines += [f"| {words} | `{name}` |" for words, name in MUTANTS.items()]
    assert_current(PAGE, "mutants", "\n".join(lines))


def test_the_page_names_every_shape():
    assert_current(PAGE, "shapes", ", ".join(f"`{name}`" for name in SHAPES))
