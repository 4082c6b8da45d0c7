"""Each obligation of the kit is one that a store can break: for each there is a memory store with just that bug."""

import inspect

import pytest

from sagafsm.runtime.memory import MemoryStore
from sagafsm.testing.conformance import StoreConformance
from tests.stores.planted import appends, claims, faults, keeping, reading
from tests.stores.planted.register import PLANTED

assert all(module.planted for module in (appends, claims, faults, keeping, reading))  # importing them plants the bugs


class Kit(StoreConformance):
    """The kit as a store's tests would use it."""

    async def open_again(self, store):
        if isinstance(store, reading.CursorsOfItsOwn):
            return store.beside()
        return type(store)() if isinstance(store, keeping.SecondStoreIsAnother) else store


async def run(name, store, **attributes):
    """Run one test of the kit on a store, with every value of its parameters."""
    kit = Kit()
    vars(kit).update(attributes)
    test = getattr(kit, name)
    parameters = [mark.args[1] for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
    for value in parameters[0] if parameters else [None]:
        await test(store(), *([value] if "by_id" in inspect.signature(test).parameters else []))


@pytest.mark.parametrize(("store", "obligation"), PLANTED)
async def test_the_kit_catches(store, obligation):
    await run(obligation, MemoryStore)
    with pytest.raises((Exception, pytest.fail.Exception)):  # how it fails is each test's own
        await run(obligation, store, patience=0.3)
