"""The memory store keeps every obligation of the protocol; and what is its own."""

from types import MappingProxyType

import hypothesis
import pytest
from hypothesis.stateful import run_state_machine_as_test
from msgspec.structs import replace

from sagafsm.core.errors import SettingsError
from sagafsm.runtime.memory import MemoryStore
from sagafsm.store import Store, open_store
from sagafsm.testing.appends import KIND, create
from sagafsm.testing.conformance import LimitsConformance, StoreConformance
from sagafsm.testing.stateful import store_machine


class TestMemoryStore(StoreConformance):
    @pytest.fixture
    def store(self):
        return MemoryStore()

    async def open_again(self, store):
        return store


class Lists(MemoryStore):
    """The protocol asks for sequences and mappings: these will do."""

    async def commit(self, batch):
        return tuple(await super().commit(batch))

    async def load(self, saga_ids):
        found = await super().load(saga_ids)
        return MappingProxyType({name: replace(saga, events=list(saga.events)) for name, saga in found.items()})

    async def events(self, saga_id, after=0):
        return list(await super().events(saga_id, after))

    async def find(self, where, *, cursor=None, limit=100):
        page = await super().find(where, cursor=cursor, limit=limit)
        return replace(page, records=tuple(page.records))

    async def claim(self, worker_id, kinds, *, limit, saga_ids=None):
        claim = await super().claim(worker_id, kinds, limit=limit, saga_ids=saga_ids)
        sagas = tuple(replace(saga, events=list(saga.events)) for saga in claim.sagas)
        return replace(claim, sagas=sagas, attention=tuple(claim.attention))

    async def workers(self):
        return tuple(await super().workers())

    async def counts(self):
        return tuple(await super().counts())

    async def definitions(self):
        return MappingProxyType(await super().definitions())

    async def acquire(self, permits):
        return tuple(await super().acquire(permits))


class TestOtherSequences(StoreConformance, LimitsConformance):
    """It was held against a store that it answered with lists where the memory store has tuples."""

    @pytest.fixture
    def store(self):
        return Lists()

    async def open_again(self, store):
        return store


def test_other_sequences_are_compared_with_the_memory_store():
    async def lists():
        return Lists()

    settings = hypothesis.settings(max_examples=30, stateful_step_count=20, deadline=None)
    run_state_machine_as_test(store_machine(lists), settings=settings)


def test_a_memory_store_is_a_store():
    assert isinstance(MemoryStore(), Store)


async def test_leases_and_due_times_follow_the_clock_that_was_handed_in():
    now = [1000.0]
    store = MemoryStore(clock=lambda: now[0])
    await store.commit([create("s", due_at=1005.0)])
    await store.heartbeat("w", 10.0)
    claim = await store.claim("w", [KIND], limit=1)
    assert (list(claim.sagas), claim.next_due, claim.now) == ([], 5.0, 1000.0)
    now[0] = 1005.0
    assert len((await store.claim("w", [KIND], limit=1)).sagas) == 1
    await store.heartbeat("x", 100.0)
    now[0] = 1009.9
    assert not (await store.claim("x", [KIND], limit=1)).sagas
    now[0] = 1010.0
    assert len((await store.claim("x", [KIND], limit=1)).sagas) == 1


async def test_closing_forgets_nothing():
    store = MemoryStore()
    await store.commit([create("s")])
    await store.close()
    assert list(await store.load(["s"])) == ["s"]


def test_a_url_without_a_name_gives_a_fresh_store_each_time():
    assert open_store("memory://") is not open_store("memory://")


def test_a_named_url_gives_the_same_store_throughout_the_process():
    assert MemoryStore.from_url("memory://shared") is MemoryStore.from_url("memory://shared")
    assert MemoryStore.from_url("memory://shared") is not MemoryStore.from_url("memory://other")


@pytest.mark.parametrize("url", ["memory://?x=1", "memory://name/path"])
def test_a_memory_url_takes_no_options(url):
    with pytest.raises(SettingsError, match="takes no options"):
        MemoryStore.from_url(url)
