"""``rediss://``: appends go over TLS, and whatever is wrong with it is said."""

import asyncio

import pytest

from sagafsm.core.errors import SettingsError, StoreUnavailable
from sagafsm.store import Committed
from sagafsm.testing.appends import create
from sagafsm_redis import RedisStore
from tests.servers.redis_tls import RedisTLS
from tests.stores.redis.stores import beside, fresh


@pytest.fixture(scope="module")
def server(servers):
    return servers.shared(RedisTLS)


async def said(url):
    with pytest.raises(StoreUnavailable) as found:
        await RedisStore.from_url(url, timeout=2).setup()
    for _ in range(10):  # asyncio itself closes what it broke off, at the loop's next turns
        await asyncio.sleep(0)
    return str(found.value)


async def test_a_store_over_tls(server):
    store = fresh(server.url)
    await store.setup()
    second = beside(store)
    await second.setup()
    await store.heartbeat("w", 60)
    assert await store.commit([create("s", due_at=1.0)]) == [Committed(2)]
    assert await second.wait_for_change(5.0)
    assert len((await second.claim("w", ["Order@1"], limit=1)).sagas) == 1
    await store.close()
    await second.close()


async def test_an_authority_that_nobody_knows_is_refused_and_what_helps_is_named(server):
    assert "ssl_ca_certs" in await said(server.url.partition("?")[0])


async def test_a_certificate_of_another_name_is_refused_unless_told_otherwise(server):
    elsewhere = server.url.replace("127.0.0.1", "localhost")
    assert "ssl_check_hostname" in await said(elsewhere)
    store = fresh(elsewhere, ssl_check_hostname=False)
    await store.setup()
    await store.close()


async def test_a_port_without_tls_is_said_to_be_one(server):
    assert "'redis://'" in await said(server.url.replace(str(server.tls_port), str(server.port)))


async def test_a_port_with_tls_is_said_to_be_one(server):
    assert "'rediss://'" in await said(f"redis://127.0.0.1:{server.tls_port}")


async def test_a_file_of_certificates_that_is_not_there_is_named(server):
    with pytest.raises(SettingsError, match=r"ssl_ca_certs='/.*/nowhere.pem': there is no such file"):
        await RedisStore.from_url(server.url.replace("authority.pem", "nowhere.pem")).setup()
