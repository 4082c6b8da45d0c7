"""The MongoDB store keeps every obligation of the protocol: through PyMongo's client, and through Motor's."""

import pytest

from sagafsm.testing.appends import create
from sagafsm.testing.conformance import LimitsConformance, StoreConformance
from sagafsm_mongo import MongoStore


class TestMongoDB(StoreConformance, LimitsConformance):
    @pytest.fixture
    async def store(self, url):
        self.url = url
        store = MongoStore.from_url(url)
        await store.setup()
        yield store
        await store.close()

    async def open_again(self, store):
        second = MongoStore.from_url(self.url)
        await second.setup()
        return second

    def poison(self):
        return create("poison", tags={"half a character": "\ud800"})
