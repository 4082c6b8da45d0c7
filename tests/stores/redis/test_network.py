"""The Redis store on a network that fails."""

from urllib.parse import urlsplit

import pytest

from sagafsm.testing.conformance.network import NetworkConformance
from sagafsm_redis import RedisStore
from tests.stores.redis.stores import fresh


class TestRedisOnABadNetwork(NetworkConformance):
    @pytest.fixture
    async def store(self, url):
        self.url = url
        self.prefixed = fresh(url)
        await self.prefixed.setup()
        yield self.prefixed
        await self.prefixed.close()

    def server(self):
        parts = urlsplit(self.url)
        return parts.hostname, parts.port

    async def store_behind(self, proxy):
        url = f"redis://{proxy.host}:{proxy.port}/0"
        store = RedisStore.from_url(url, prefix=self.prefixed.options.prefix, timeout=0.5)
        await store.setup()
        return store
