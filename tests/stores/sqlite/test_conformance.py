"""The SQLite store keeps every obligation of the protocol: in a file, without WAL, and in memory."""

import pytest

from sagafsm.testing.appends import create
from sagafsm.testing.conformance import LimitsConformance, StoreConformance, TwinConformance, WakeupConformance
from sagafsm_sql import SQLStore


class TestSQLiteFile(StoreConformance, WakeupConformance, LimitsConformance, TwinConformance):
    options = ""

    @pytest.fixture
    async def store(self, tmp_path):
        self.url = f"sqlite:///{tmp_path}/sagas.db{self.options}"
        store = SQLStore.from_url(self.url)
        await store.setup()
        yield store
        await store.close()

    async def open_again(self, store):
        second = SQLStore.from_url(self.url)
        await second.setup()
        return second

    def poison(self):
        return create("poison", tags={"half a character": "\ud800"})


class TestSQLiteFileWithoutWal(TestSQLiteFile):
    options = "?journal_mode=DELETE"


class TestSQLiteInMemory(StoreConformance, LimitsConformance):
    @pytest.fixture
    async def store(self):
        store = SQLStore.from_url("sqlite://")
        await store.setup()
        yield store
        await store.close()


async def test_a_database_in_memory_has_no_twin():
    assert SQLStore.from_url("sqlite://").twin() is None
