"""The PostgreSQL store on a network that breaks: nothing is applied twice, nothing is said to be done that is not."""

from urllib.parse import urlsplit

import pytest

from sagafsm.testing.conformance import NetworkConformance
from sagafsm_sql import SQLStore


class TestPostgreSQLOnABadNetwork(NetworkConformance):
    options = ""

    @pytest.fixture
    async def store(self, url):
        self.url = url
        store = SQLStore.from_url(url)
        await store.setup()
        yield store
        await store.close()

    def server(self):
        parts = urlsplit(self.url)
        return parts.hostname, parts.port

    async def store_behind(self, proxy):
        host, port = self.server()
        url = self.url.replace(f"{host}:{port}", f"{proxy.host}:{proxy.port}")
        store = SQLStore.from_url(f"{url}&timeout=1{self.options}")
        await store.setup()
        return store


class TestPostgreSQLOnABadNetworkWithoutPreparedStatements(TestPostgreSQLOnABadNetwork):
    options = "&prepared=no"
