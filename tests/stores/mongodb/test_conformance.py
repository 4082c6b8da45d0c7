"""The MongoDB store keeps every obligation of the protocol: through PyMongo's client, and through Motor's."""

from urllib.parse import urlsplit

import pytest
from motor.motor_asyncio import AsyncIOMotorClient

from sagafsm.testing.appends import create
from sagafsm.testing.conformance import LimitsConformance, NetworkConformance, StoreConformance, TwinConformance
from sagafsm_mongo import MongoStore
from tests.stores.mongodb.conftest import through

POISON = create("poison", tags={"half a character": "\ud800"})


class TestMongoDB(StoreConformance, LimitsConformance, TwinConformance):
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
        return POISON


class TestThroughMotor(StoreConformance, LimitsConformance):
    """Motor has come to its end, but those who have a client of it may hand it in."""

    @pytest.fixture
    async def store(self, url):
        self.name = urlsplit(url).path.strip("/")
        self.client = AsyncIOMotorClient(url)
        store = MongoStore(self.client, database=self.name)
        await store.setup()
        yield store
        await store.close()
        self.client.close()

    async def open_again(self, store):
        second = MongoStore(self.client, database=self.name)
        await second.setup()
        return second

    def poison(self):
        return POISON


class TestMongoDBOnABadNetwork(NetworkConformance):
    @pytest.fixture
    async def store(self, url, monkeypatch):
        self.url = url
        # After each failure the driver waits half a second before it looks for the server again: minutes, all in all.
        monkeypatch.setattr("pymongo.common.MIN_HEARTBEAT_INTERVAL", 0.02)
        store = MongoStore.from_url(url)
        await store.setup()
        yield store
        await store.close()

    def server(self):
        parts = urlsplit(self.url)
        return parts.hostname, parts.port or 27017

    async def store_behind(self, proxy):
        store = MongoStore.from_url(through(proxy, self.url))
        await store.setup()
        return store
