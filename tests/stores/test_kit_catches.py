"""Each obligation of the kit is one that a store can break: for each there is a memory store with just that bug."""

import asyncio
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


class ComesLate(MemoryStore):
    """Right, and slow where it may be: a write whose caller was cancelled arrives while somebody reads."""

    def __init__(self):
        super().__init__()
        self._under_way = []

    async def commit(self, batch):
        self._under_way.append(batch)
        await asyncio.sleep(0)
        self._under_way.remove(batch)
        return await super().commit(batch)

    async def events(self, saga_id, after=0):
        for batch in self._under_way:
            await super().commit(batch)
        self._under_way.clear()
        return await super().events(saga_id, after)


async def test_a_write_that_arrives_while_the_kit_reads_is_no_bug():
    """It was called one, now and then, of a driver that writes in threads."""
    await run("test_a_cancelled_commit_leaves_all_of_an_append_or_nothing", ComesLate)
