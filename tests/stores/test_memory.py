"""The memory store keeps every obligation of the protocol; and what is its own."""

import pytest

from sagafsm.core.errors import SettingsError
from sagafsm.runtime.memory import MemoryStore
from sagafsm.store import Store, open_store
from sagafsm.testing.appends import KIND, create
from sagafsm.testing.conformance import StoreConformance


class TestMemoryStore(StoreConformance):
    @pytest.fixture
    def store(self):
        return MemoryStore()

    async def open_again(self, store):
        return store


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
