"""How durable a server is, as it is set; and appends that wait for replicas."""

import re
from pathlib import Path

import pytest
import redis

from sagafsm.core.errors import OutcomeUnknown
from sagafsm.store import Committed, Duplicate
from sagafsm.testing.appends import create, events, follow
from sagafsm_redis import RedisStore
from tests.servers.redis import Redis
from tests.stores.redis.stores import fresh


async def check(url, **options):
    store = RedisStore.from_url(url, **options)
    await store.setup()
    try:
        return await store.check()
    finally:
        await store.close()


async def test_a_server_that_syncs_always_is_durable(own_server):
    found = await check(own_server.url)
    assert (found.synced, found.warnings) == (True, ())
    assert found.description.startswith("Redis 7")
    assert found.description.endswith("appendonly=yes, appendfsync=always")


@pytest.mark.parametrize(
    ("setting", "value", "warning", "shown"),
    [
        ("appendfsync", "everysec", "set 'appendfsync always'", "appendfsync=everysec"),
        ("appendonly", "no", "set 'appendonly yes'", "appendonly=no"),
        ("no-appendfsync-on-rewrite", "yes", "set it to 'no'", "no-appendfsync-on-rewrite=yes"),
    ],
)
async def test_what_loses_appends_is_named(own_server, raw, setting, value, warning, shown):
    raw.config_set(setting, value)
    found = await check(own_server.url)
    assert (found.synced, len(found.warnings)) == (False, 1)
    assert warning in found.warnings[0]
    assert found.description.endswith(shown)


async def test_what_is_meant_is_not_to_be_mended(own_server, raw):
    raw.config_set("appendfsync", "everysec")
    found = await check(own_server.url, durability="relaxed")
    assert not found.synced
    (warning,) = found.warnings
    assert warning.startswith("durability=relaxed")


async def test_eviction_deletes_sagas(own_server, raw):
    raw.config_set("maxmemory-policy", "allkeys-lru")
    found = await check(own_server.url)
    assert not found.synced
    assert "may delete sagas" in found.warnings[0]
    assert found.description.endswith("evicts keys")
    raw.config_set("maxmemory-policy", "volatile-ttl")
    found = await check(own_server.url)
    assert found.synced  # only what expires anyway
    assert "set 'noeviction'" in found.warnings[0]


async def test_what_may_be_lost_is_said_once_when_the_store_is_opened_unless_it_is_meant(own_server, raw, caplog):
    for fsync, options, times in (("always", {}, 0), ("everysec", {}, 1), ("everysec", {"durability": "relaxed"}, 0)):
        raw.config_set("appendfsync", fsync)
        caplog.clear()
        store = RedisStore.from_url(own_server.url, **options)
        await store.setup()
        await store.setup()
        twin = store.twin()
        await twin.setup()
        await twin.close()
        await store.close()
        assert caplog.text.count("may lose sagas that it has acknowledged: appendfsync is everysec") == times
        assert len(caplog.records) == times
    raw.execute_command("ACL", "SETUSER", "default", "-config")
    await check(own_server.url)
    assert len(caplog.records) == 0  # nobody knows


async def test_a_server_that_does_not_show_its_settings_is_not_called_durable(own_server, raw):
    raw.execute_command("ACL", "SETUSER", "default", "-config")
    found = await check(own_server.url)
    assert not found.synced
    assert "CONFIG GET is refused" in found.warnings[0]
    assert found.description.endswith("settings not shown")


async def test_the_worst_server_of_a_cluster_counts(servers, cluster_url):
    found = await check(cluster_url, prefix="check:")
    assert found.synced
    assert found.description.endswith("3 masters")
    assert any("min-replicas-to-write" in warning for warning in found.warnings)


async def test_the_rights_that_the_page_names_are_enough(own_server, raw):
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "redis.md").read_text()
    (command,) = re.findall(r"^(ACL SETUSER [^`]*)", page, re.MULTILINE)
    raw.execute_command(*command.replace("PASSWORD", "pw").split())
    store = RedisStore.from_url(own_server.url.replace("//", "//sagafsm:pw@"), prefix="shop:")
    await store.setup()
    await store.heartbeat("w", 60)
    assert await store.commit([create("s", due_at=1.0, state="completed", finished_at=1.0)]) == [Committed(2)]
    assert len((await store.claim("w", ["Order@1"], limit=1)).sagas) == 1
    assert await store.purge(2.0, keep_ids=10) == 1
    assert (await store.check()).synced
    assert not await store.wait_for_change(0.01)
    await store.close()


@pytest.fixture
def replica(servers, own_server):
    """A second server that copies the first."""
    with servers.another(Redis) as server:
        server.ask("REPLICAOF", "127.0.0.1", str(own_server.port))
        with redis.Redis(port=server.port) as client:
            while client.info("replication")["master_link_status"] != "up":
                pass
        yield server


async def test_an_append_counts_once_the_replica_has_it(own_server, replica):
    store = fresh(own_server.url, prefix="", wait=1, wait_timeout=5)
    await store.setup()
    await store.commit([create("s")])
    record = (await store.load(["s"]))["s"].record
    for _ in range(10):
        (result,) = await store.commit([follow(record, events=events(2))])
        with redis.Redis(port=replica.port) as client:
            assert int(client.hget("saga:s", "version")) == result.version
        record = (await store.load(["s"]))["s"].record
    found = await store.check()
    assert found.description.endswith("each append on 1 replicas")
    assert [warning for warning in found.warnings if "asynchronous" in warning] == []
    await store.close()


async def test_replication_that_nobody_waits_for_is_named(own_server, replica):
    found = await check(own_server.url)
    assert "'?wait=1'" in found.warnings[-1]
    assert "min-replicas-to-write is 0" in found.warnings[0]


async def test_a_claim_counts_once_the_replica_has_it(own_server, replica):
    """A replica that takes over would give out the same fence once more."""
    store = fresh(own_server.url, prefix="", wait=1, wait_timeout=1)
    await store.setup()
    await store.commit([create("s", due_at=1.0), create("t", due_at=1.0)])
    await store.heartbeat("w", 60)
    assert len((await store.claim("w", ["Order@1"], limit=1)).sagas) == 1
    with redis.Redis(port=replica.port) as client:
        assert (client.hget("saga:s", "fence"), client.hget("saga:s", "owner")) == (b"2", b"w")
        replica.pause()
        for call in (
            store.claim("w", ["Order@1"], limit=1),
            store.release("s", worker_id="w", fence=2),
        ):
            with pytest.raises(OutcomeUnknown, match="0 of 1 replicas"):
                await call
        replica.resume()
        await store.commit([create("u")])
        assert (client.hget("saga:t", "fence"), client.hget("saga:s", "owner")) == (b"2", None)
    await store.close()


async def test_an_append_that_no_replica_has_is_in_doubt_until_one_has_it(own_server, replica):
    store = fresh(own_server.url, prefix="", wait=1, wait_timeout=0.5)
    await store.setup()
    await store.commit([create("s")])
    append = follow((await store.load(["s"]))["s"].record)
    replica.pause()
    for _ in range(3):  # also as a duplicate, of which nothing is written any more
        with pytest.raises(OutcomeUnknown, match="0 of 1 replicas"):
            await store.commit([append])
    assert (await store.load(["s"]))["s"].record.version == 3
    replica.resume()
    for _ in range(100):
        try:
            assert await store.commit([append]) == [Duplicate(3)]
            break
        except OutcomeUnknown:
            continue
    with redis.Redis(port=replica.port) as client:
        assert client.hget("saga:s", "version") == b"3"
    await store.close()
