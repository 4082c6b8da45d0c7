"""Redis servers, and stores on them."""

import pytest
import redis

from tests.servers.redis import Redis
from tests.servers.redis_cluster import RedisCluster
from tests.stores.redis.stores import fresh


@pytest.fixture
def url(servers):
    return servers.url(Redis)


@pytest.fixture(scope="session")
def cluster_url(servers):
    return RedisCluster.given() or servers.shared(RedisCluster).url


@pytest.fixture
async def store(url):
    store = fresh(url)
    await store.setup()
    yield store
    await store.close()


@pytest.fixture
async def cluster_store(cluster_url):
    store = fresh(cluster_url, partitions=8)
    await store.setup()
    yield store
    await store.close()


@pytest.fixture
def own_server(servers):
    """A server of the test's own: it may be killed."""
    with servers.another(Redis) as server:
        yield server


@pytest.fixture
async def own(own_server):
    """A store on it, without a prefix; it gives up after a second."""
    store = fresh(own_server.url, prefix="", timeout=1)
    await store.setup()
    yield store
    await store.close()


@pytest.fixture
def raw(own_server):
    """What an operator sees there."""
    with redis.Redis.from_url(own_server.url, decode_responses=True) as client:
        yield client
