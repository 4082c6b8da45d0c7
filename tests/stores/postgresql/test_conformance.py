"""The PostgreSQL store keeps every obligation of the protocol: directly, and through a pgbouncer."""

import pytest

from sagafsm.testing.appends import create
from sagafsm.testing.conformance import LimitsConformance, StoreConformance, TwinConformance, WakeupConformance
from sagafsm_sql import SQLStore


class TestPostgreSQL(StoreConformance, WakeupConformance, LimitsConformance, TwinConformance):
    @pytest.fixture
    async def store(self, url):
        self.url = url
        store = SQLStore.from_url(self.url)
        await store.setup()
        yield store
        await store.close()

    async def open_again(self, store):
        second = SQLStore.from_url(self.url)
        await second.setup()
        return second

    def poison(self):
        return create("poison", problem="no text of PostgreSQL holds a \0")


class TestPostgreSQLThroughAPooler(TestPostgreSQL):
    @pytest.fixture
    async def url(self, pooled):
        return pooled.url(await pooled.empty())
