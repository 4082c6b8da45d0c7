"""PostgreSQL stores of tests: one server a session, one schema that each test finds empty."""

import asyncio

import pytest

from sagafsm_sql import SQLStore
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgresql import PostgreSQL
from tests.stores.postgresql.databases import Schemas


@pytest.fixture(scope="session")
def schemas(servers):
    """Schemas on the server that all tests share."""
    found = Schemas(servers.url(PostgreSQL))
    yield found
    asyncio.run(found.drop())


@pytest.fixture(scope="session")
def pooler(servers):
    """A pgbouncer in front of a server of ours, whatever server the other tests use."""
    server = servers.shared(PostgreSQL)

    def make() -> PgBouncer:
        return PgBouncer(server)

    return servers.shared(make)


@pytest.fixture(scope="session")
def pooled(pooler):
    """Schemas that are reached through pgbouncer."""
    found = Schemas(pooler.url)
    yield found
    direct = Schemas(pooler.server.url)
    direct.names = found.names
    asyncio.run(direct.drop())


@pytest.fixture
async def url(schemas):
    """The URL of an empty schema."""
    return schemas.url(await schemas.empty())


@pytest.fixture
async def store(url):
    """A store on an empty schema."""
    store = SQLStore.from_url(url)
    await store.setup()
    yield store
    await store.close()
