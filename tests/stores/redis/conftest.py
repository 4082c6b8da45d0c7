"""Redis servers, and stores on them."""

import pytest

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
