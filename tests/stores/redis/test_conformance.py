"""The Redis store keeps every obligation of the protocol: on one server, and on a cluster."""

import pytest

from sagafsm.testing.appends import create
from sagafsm.testing.conformance import LimitsConformance, StoreConformance, TwinConformance, WakeupConformance
from tests.stores.redis.stores import beside, fresh


class OnRedis(StoreConformance, WakeupConformance, LimitsConformance, TwinConformance):
    async def open_again(self, store):
        second = beside(store)
        await second.setup()
        return second

    def poison(self):
        return create("poison", tags={"half a character": "\ud800"})


class TestRedis(OnRedis):
    @pytest.fixture
    async def store(self, url):
        store = fresh(url)
        await store.setup()
        yield store
        await store.close()


class TestRedisCluster(OnRedis):
    @pytest.fixture
    async def store(self, cluster_url):
        store = fresh(cluster_url, partitions=8)
        await store.setup()
        yield store
        await store.close()
