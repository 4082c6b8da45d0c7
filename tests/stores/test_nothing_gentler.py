"""Every obligation of the kit has a store that breaks it, and every store of ours is held to all that the kit has."""

from importlib import import_module
from importlib.metadata import entry_points
from itertools import combinations
from pathlib import Path

import pytest

from sagafsm.store import open_store
from sagafsm.supports import SupportsLimits, SupportsTwin, SupportsWakeups
from sagafsm.testing import conformance
from sagafsm.testing.conformance.base import StoreTests
from tests.stores.planted import appends, claims, faults, keeping, limits, reading, register, remote, twins, wakeups

assert all(module.planted for module in (appends, claims, faults, keeping, reading))  # importing them plants the bugs

HERE = Path(__file__).parent
KINDS = {
    "memory": "memory://",
    "sqlite": "sqlite:///sagas.db",
    "postgresql": "postgresql://127.0.0.1/sagas",
    "redis": "redis://127.0.0.1/0",
    "mongodb": "mongodb://127.0.0.1/sagas",
}
ALIASES = {"rediss": "redis", "redis+cluster": "redis", "mongodb+srv": "mongodb"}
WITHIN_THIS_HOST = {"memory", "sqlite"}
ABILITIES = {
    SupportsWakeups: conformance.WakeupConformance,
    SupportsLimits: conformance.LimitsConformance,
    SupportsTwin: conformance.TwinConformance,
}
ONLY_ONE_CAN_OPEN = {"TestSQLiteInMemory"}
PARTS = [getattr(conformance, name) for name in conformance.__all__]


def obligations(*parts):
    return {name for part in parts for name in dir(part) if name.startswith("test_")}


def modules_of(kind):
    """The test modules of a kind of store."""
    own = [f"{kind}.{path.stem}" for path in sorted((HERE / kind).glob("test_*.py"))]
    names = own or ["test_memory", "test_limits"]
    return [import_module(f"tests.stores.{name}") for name in names]


def classes_of(kind):
    """Those of its test classes that run parts of the kit."""
    return [
        value
        for module in modules_of(kind)
        for name, value in vars(module).items()
        if name.startswith("Test") and issubclass(value, StoreTests) and value.__module__ == module.__name__
    ]


def test_for_every_obligation_a_bug_is_planted():
    caught = {parameters.values[1] for parameters in (*register.PLANTED, *limits.PLANTED)}
    caught |= {name for _, name in (*remote.PLANTED, *twins.PLANTED, *wakeups.PLANTED)}
    assert obligations(*PARTS) - caught == set()
    assert caught - obligations(*PARTS) == set()


def test_every_obligation_has_a_name_of_its_own():
    """Else one class could hide the test of another where a store subclasses both."""
    single = [part for part in PARTS if part is not conformance.StoreConformance]
    for one, other in combinations(single, 2):
        assert obligations(one) & obligations(other) == set()


def test_every_scheme_of_ours_is_tested():
    ours = {entry.name for entry in entry_points(group="sagafsm.stores") if entry.dist.name == "sagafsm"}
    assert ours == KINDS.keys() | ALIASES.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_of_ours_runs_every_part_of_the_kit_that_it_can(kind):
    store = open_store(KINDS[kind])
    wanted = {conformance.StoreConformance}
    wanted |= {part for ability, part in ABILITIES.items() if isinstance(store, ability)}
    if kind not in WITHIN_THIS_HOST:
        wanted.add(conformance.NetworkConformance)
    run = {part for part in wanted if any(issubclass(one, part) for one in classes_of(kind))}
    assert wanted - run == set()


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_of_ours_runs_nothing_gentler(kind):
    for one in classes_of(kind):
        for part in (part for part in PARTS if issubclass(one, part)):
            changed = [name for name in obligations(part) if getattr(one, name) is not getattr(part, name)]
            assert changed == [], f"{one.__name__} has tests of its own instead of the kit's"
        marks = getattr(one, "pytestmark", [])
        assert {mark.name for mark in (marks if isinstance(marks, list) else [marks])} <= {"asyncio", "timeout"}
        skips = one.open_again is StoreTests.open_again and not issubclass(one, conformance.NetworkConformance)
        assert not skips or one.__name__ in ONLY_ONE_CAN_OPEN, f"{one.__name__} gives no open_again"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "memory"])  # that one is what all are compared with
def test_a_store_of_ours_is_compared_with_the_memory_store(kind):
    assert any("store_machine(" in Path(module.__file__).read_text() for module in modules_of(kind))
