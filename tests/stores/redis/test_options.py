"""What a Redis URL may say, and what is said where it is wrong."""

import pytest
from redis.asyncio.connection import Connection, SSLConnection

from sagafsm.core.errors import SettingsError
from sagafsm.store import open_store
from sagafsm_redis import RedisStore
from sagafsm_redis.options import Options


def test_the_defaults():
    options = Options.from_url("redis://localhost")
    assert options == Options(scheme="redis", addresses=(("localhost", 6379),))
    assert (options.cluster, options.where) == (False, "Redis at localhost:6379")


def test_all_that_can_be_said():
    options = Options.from_url(
        "rediss://shop:p%40ss@db.example:7000/3?prefix=shop:&timeout=2.5&wait=1&wait_timeout=0.2&durability=relaxed"
        "&ssl_ca_certs=/etc/ca.pem&ssl_cert_reqs=optional&ssl_check_hostname=no"
    )
    assert options == Options(
        scheme="rediss", addresses=(("db.example", 7000),), database=3, username="shop", password="p@ss",
        prefix="shop:", timeout=2.5, wait=1, wait_timeout=0.2, durability="relaxed",
        tls={"ssl_ca_certs": "/etc/ca.pem", "ssl_cert_reqs": "optional", "ssl_check_hostname": False},
    )  # fmt: skip
    assert options.where == "Redis at db.example:7000, database 3"


def test_a_cluster():
    options = Options.from_url("redis+cluster://:pw@a:1,b,[::1]:3/0?partitions=16&tls=yes")
    assert options.addresses == (("a", 1), ("b", 6379), ("::1", 3))
    assert (options.cluster, options.partitions, options.password, options.tls) == (True, 16, "pw", {})


def test_options_may_be_given_beside_the_url_and_come_first():
    options = Options.from_url("redis+cluster://a?wait=1&timeout=3", wait=2, tls=True, timeout=1.5)
    assert (options.wait, options.timeout, options.tls) == (2, 1.5, {})


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://localhost?poolsize=3", "unknown option 'poolsize'"),
        ("redis://localhost/shop", "'shop' is no number"),
        ("redis://a,b", "for a cluster write 'redis\\+cluster://"),
        ("redis+cluster://a/1", "only database 0"),
        ("redis://a:b", "no Redis URL"),
        ("redis://a/0#b", "no Redis URL"),
        ("redis://[::1", "no Redis URL"),
        ("redis://a?timeout=0", "timeout='0'"),
        ("redis://a?timeout=soon", "timeout='soon'"),
        ("redis://a?wait=-1", "wait='-1'"),
        ("redis://a?wait=1.5", "wait='1.5'"),
        ("redis://a?partitions=0", "partitions='0'"),
        ("redis://a?durability=high", "durability='high'.*synced, relaxed"),
        ("redis://a?prefix={x}", "prefix='{x}'"),
        ("redis://a?prefix=a%20b", "prefix='a b'"),
        ("redis://a?ssl_ca_certs=x", "uses no TLS"),
        ("rediss://a?ssl_cert_reqs=maybe", "ssl_cert_reqs='maybe'"),
        ("redis+sentinel://a", "no Redis store for 'redis\\+sentinel://'"),
    ],
)
def test_what_is_wrong_is_named(url, says):
    with pytest.raises(SettingsError, match=says):
        Options.from_url(url)


def test_secrets_are_not_shown():
    options = Options.from_url("redis://someone:sesame@localhost")
    assert "sesame" not in repr(options)
    assert "someone" not in repr(options)
    assert "sesame" not in options.where
    for url in (
        "redis://someone:sesame@localhost:x",
        "redis://someone:sesame@localhost?wait=x",
        "redis://someone:sesame#street@localhost",
        "redis://someone:sesame/street@localhost",
        "redis://someone:sesame?street@localhost",
    ):
        with pytest.raises(SettingsError) as found:
            Options.from_url(url)
        assert "sesame" not in str(found.value)
        assert found.value.__cause__ is None


def test_connections_try_nothing_twice():
    connection = Options.from_url("redis://u:p@h:1/2?timeout=3").connection_to(("h", 1))()
    assert type(connection) is Connection
    assert connection.retry.get_retries() == 0
    assert not connection.retry_on_error
    assert (connection.host, connection.port, connection.db, connection.username, connection.password) == (
        "h", 1, 2, "u", "p",
    )  # fmt: skip


def test_tls_checks_the_server_unless_told_otherwise():
    connection = Options.from_url("rediss://h").connection_to(("h", 1))()
    assert isinstance(connection, SSLConnection)
    assert connection.check_hostname
    assert connection.cert_reqs.name == "CERT_REQUIRED"
    lax = Options.from_url("rediss://h?ssl_check_hostname=no&ssl_cert_reqs=none").connection_to(("h", 1))()
    assert (lax.check_hostname, lax.cert_reqs.name) == (False, "CERT_NONE")


@pytest.mark.parametrize("scheme", ["redis", "rediss", "redis+cluster"])
def test_each_scheme_is_registered(scheme):
    store = open_store(f"{scheme}://localhost", timeout=2)
    assert isinstance(store, RedisStore)
    assert (store.options.scheme, store.options.timeout) == (scheme, 2.0)
