"""The Redis store on a cluster: where keys lie, who takes over, and what moves meanwhile."""

import asyncio
import re
import time
from collections import Counter

import pytest
import redis
from redis.crc import key_slot
from redis.exceptions import AskError, MovedError, TryAgainError

from sagafsm.core.errors import OutcomeUnknown, SettingsError, StoreCorrupt, StoreUnavailable
from sagafsm.store import Committed, Duplicate, Filter
from sagafsm.supports import Permit
from sagafsm.testing.appends import create, events, follow
from sagafsm_redis import RedisStore
from sagafsm_redis.errors import NotSent
from tests.servers.redis_cluster import RedisCluster
from tests.stores.redis.stores import beside, fresh

LONG = 3600.0


@pytest.fixture
def own_cluster(servers):
    """A cluster of the test's own: its servers may be killed."""
    with servers.another(RedisCluster) as cluster:
        yield cluster


def keys_of(cluster_url, prefix):
    """Every key of a store, with the masters that have them."""
    found = {}
    for place in cluster_url.partition("//")[2].split(","):
        host, _, port = place.partition(":")
        with redis.Redis(host=host, port=int(port), decode_responses=True) as client:
            if client.info("replication")["role"] == "master":
                found |= dict.fromkeys(client.scan_iter(f"{prefix}*", count=1000), port)
    return found


async def test_a_saga_and_its_indexes_lie_in_one_slot_whatever_its_id(cluster_store, cluster_url):
    """The commit would fail on a cluster if they did not: all of them are written in one step."""
    ids = ["plain", "{", "}", "{}", "{x}", "}{", "a{b}c", "{1}", "{2}{3}", "saga:{5}:x", "*", "[a]?", "ü{ß}", "x" * 200]
    appends = [
        create(name, due_at=1.0, tags={"{a}": "{b}", "*": "{7}"}, correlation_id="{c}", parent_id="{p}", owner="{w}")
        for name in ids
    ]
    assert await cluster_store.commit(appends) == [Committed(2)] * len(ids)
    assert sorted(await cluster_store.load(ids)) == sorted(ids)
    for name in ids:
        assert len(await cluster_store.events(name)) == 2
    for where in (Filter(tags={"{a}": "{b}"}), Filter(tags={"*": "{7}"}), Filter(correlation_id="{c}")):
        assert sorted(record.saga_id for record in (await cluster_store.find(where)).records) == sorted(ids)
    prefix = cluster_store.options.prefix
    slots = {key: key_slot(key.encode()) for key in keys_of(cluster_url, prefix)}
    for name in ids:
        own = re.compile(rf"{prefix}saga(-events)?:\{{\d\}}:{re.escape(name)}")
        found = [slot for key, slot in slots.items() if own.fullmatch(key)]
        assert len(found) == 2
        assert len(set(found)) == 1
    assert len(set(slots.values())) == 8
    await cluster_store.heartbeat("w", LONG)
    assert len((await cluster_store.claim("w", ["Order@1"], limit=100)).sagas) == len(ids)


async def test_sagas_are_spread_over_the_masters(cluster_store, cluster_url):
    await cluster_store.commit([create(f"s{n}") for n in range(300)])
    spread = Counter(port for key, port in keys_of(cluster_url, f"{cluster_store.options.prefix}saga:").items())
    assert len(spread) == 3
    assert min(spread.values()) > 30


async def test_the_stored_number_of_partitions_counts(cluster_store, cluster_url):
    await cluster_store.commit([create(f"s{n}") for n in range(50)])
    other = fresh(cluster_url, prefix=cluster_store.options.prefix, partitions=3)
    await other.setup()
    assert len(await other.load([f"s{n}" for n in range(50)])) == 50
    assert len(other._store.partitions.all) == 8
    await other.close()


async def test_a_partition_of_another_database_is_noticed(cluster_store):
    store = cluster_store._store
    node = await store.topology.node_of(store.partitions.all[5])
    host, _, port = node.name.partition(":")
    with redis.Redis(host=host, port=int(port)) as client:
        client.hset(store.partitions.all[5].layout, "id", "another")
    with pytest.raises(StoreCorrupt, match="partition 5 belongs to another database"):
        await beside(cluster_store).setup()
    names = [name for name in (f"s{n}" for n in range(100)) if store.partitions.of(name.encode()).number == 5]
    with pytest.raises(StoreUnavailable, match="no longer the one that was opened"):
        await cluster_store.commit([create(names[0])])


async def test_a_batch_of_which_one_part_fails_is_in_doubt_and_may_be_handed_in_again(cluster_store):
    store = cluster_store._store
    batch = [create(f"s{n}") for n in range(40)]
    last = store.partitions.all[5]
    host, _, port = (await store.topology.node_of(last)).name.partition(":")
    with redis.Redis(host=host, port=int(port)) as client:
        right = client.hget(last.layout, "id")
        client.hset(last.layout, "id", "another")
        with pytest.raises(OutcomeUnknown, match="one part of the write was applied"):
            await cluster_store.commit(batch)
        client.hset(last.layout, "id", right)
    results = await cluster_store.commit(batch)
    assert {Committed(2), Duplicate(2)} == set(results)


async def test_what_was_written_before_the_cluster_could_no_longer_be_asked_is_in_doubt(cluster_store):
    """One part is written; another is sent elsewhere, and where that is nobody answers any more."""
    router, topology = cluster_store._store.router, cluster_store._store.topology
    await cluster_store.commit([create(f"s{n}") for n in range(40)])
    records = [stored.record for stored in (await cluster_store.load([f"s{n}" for n in range(40)])).values()]
    again, ask = router._again, topology._ask

    async def sent_elsewhere(call, answer):
        topology.doubt()
        return call.partition.number == 5

    async def nobody_answers():
        raise NotSent from ConnectionError("gone")

    router._again, topology._ask = sent_elsewhere, nobody_answers
    with pytest.raises(OutcomeUnknown, match="one part of the write was applied"):
        await cluster_store.commit([follow(record) for record in records])
    router._again, topology._ask = again, ask
    versions = {stored.record.version for stored in (await cluster_store.load([f"s{n}" for n in range(40)])).values()}
    assert versions == {3}


async def test_a_server_that_is_away_is_not_asked_each_time_where_the_slots_are(cluster_store, monkeypatch):
    """The one with the first slot was asked first, and everybody waited until it had not answered."""
    topology, asked = cluster_store._store.topology, []
    first = (await topology.masters())[0]

    async def away(data, answers, **options):
        asked.append(data)
        raise NotSent from TimeoutError()

    monkeypatch.setattr(first, "call", away)
    topology._told_by = None
    for _ in range(5):
        topology.doubt()
        assert len(await topology.masters()) == 3
    assert len(asked) == 1


async def test_a_worker_without_a_lease_in_some_partition_claims_nothing(cluster_store):
    """Its lease may have been lost with a master that died: then others may take what it owns there."""
    store = cluster_store._store
    await cluster_store.commit([create(f"s{n}", due_at=1.0) for n in range(40)])
    await cluster_store.heartbeat("w", LONG)
    partition = store.partitions.all[3]
    host, _, port = (await store.topology.node_of(partition)).name.partition(":")
    with redis.Redis(host=host, port=int(port)) as client:
        client.hdel(partition.workers, "w")
    assert not (await cluster_store.claim("w", ["Order@1"], limit=100)).sagas
    await cluster_store.heartbeat("w", LONG)
    assert len((await cluster_store.claim("w", ["Order@1"], limit=100)).sagas) == 40


async def test_claims_come_in_order_from_all_partitions(cluster_store):
    await cluster_store.commit([create(f"s{n:02}", due_at=100.0 - n) for n in range(60)])
    await cluster_store.heartbeat("w", LONG)
    taken = [saga.record.saga_id for saga in (await cluster_store.claim("w", ["Order@1"], limit=25)).sagas]
    assert taken == [f"s{n:02}" for n in range(59, 34, -1)]


async def test_pages_go_over_all_partitions(cluster_store):
    await cluster_store.commit(
        [create(f"s{n:03}", created_at=float(n // 7), tags={"x": str(n % 3)}) for n in range(200)]
    )
    for where, expected in (
        (Filter(), range(200)),
        (Filter(tags={"x": "1"}), range(1, 200, 3)),
        (Filter(saga_type="Order", live=True, older_than=10.0), range(70)),
    ):
        found, cursor = [], None
        for _ in range(50):
            page = await cluster_store.find(where, cursor=cursor, limit=7)
            found += [record.saga_id for record in page.records]
            cursor = page.cursor
            if cursor is None:
                break
        assert found == [f"s{n:03}" for n in expected]


async def test_permits_of_an_unknown_token_are_looked_for_everywhere(cluster_store):
    await cluster_store.heartbeat("w", LONG)
    permits = [Permit(name=f"n{n}", token="t", worker_id="w", concurrency=1) for n in range(20)]
    assert list(await cluster_store.acquire(permits)) == [0.0] * 20
    second = beside(cluster_store)
    await second.setup()
    await second.give_back("w", ["t"])
    others = [Permit(name=f"n{n}", token="u", worker_id="w", concurrency=1) for n in range(20)]
    assert list(await second.acquire(others)) == [0.0] * 20
    await second.close()


async def test_each_scheme_says_what_the_other_is_for(cluster_url, url):
    one = cluster_url.partition("//")[2].split(",")[0]
    with pytest.raises(SettingsError, match=r"write 'redis\+cluster://'"):
        await RedisStore.from_url(f"redis://{one}").setup()
    with pytest.raises(StoreUnavailable, match=r"refused.*write 'redis://' instead of 'redis\+cluster://'"):
        await RedisStore.from_url(url.replace("redis://", "redis+cluster://").removesuffix("/0")).setup()


@pytest.mark.timeout(180)
async def test_a_replica_takes_over_and_what_replicas_had_is_there(own_cluster):
    """A master is killed while several write; with wait=1 what was acknowledged had reached its replica."""
    store = fresh(own_cluster.url, prefix="", timeout=2, wait=1, partitions=8)
    await store.setup()
    standing: dict[str, int] = {}
    over = asyncio.Event()

    async def write(saga_id):
        append = create(saga_id)
        while not over.is_set():
            try:
                (result,) = await store.commit([append])
            except (StoreUnavailable, OutcomeUnknown):
                await asyncio.sleep(0.05)
                continue
            assert isinstance(result, (Committed, Duplicate))
            standing[saga_id] = result.version
            record = (await recovered(store.load, [saga_id]))[saga_id].record
            append = follow(record, events=events(2), due_at=1.0)

    writers = [asyncio.ensure_future(write(f"s{n}")) for n in range(24)]
    await reached(standing, 6)
    victim = own_cluster.masters()[0]
    victim.kill()
    await asyncio.to_thread(own_cluster.wait_for_masters, 3)
    await asyncio.to_thread(victim.start)  # as a replica of the one that has taken over: wait=1 asks for one
    await reached(standing, max(standing.values()) + 6)
    assert victim not in own_cluster.masters()
    over.set()
    await asyncio.gather(*writers)
    for saga_id, version in standing.items():
        stored = (await recovered(store.load, [saga_id]))[saga_id]
        assert stored.record.version == version == len(stored.events)
    await recovered(store.heartbeat, "w", LONG)
    assert len((await store.claim("w", ["Order@1"], limit=100)).sagas) == 24
    await store.close()


async def reached(standing, version):
    async with asyncio.timeout(90):
        while len(standing) < 24 or min(standing.values()) < version:  # noqa: ASYNC110 - others do the work
            await asyncio.sleep(0.01)


async def recovered(call, *arguments):
    async with asyncio.timeout(60):
        while True:
            try:
                return await call(*arguments)
            except (StoreUnavailable, OutcomeUnknown):
                await asyncio.sleep(0.05)


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("partitions", "wait"), [(16, 0), (4, 1)])
async def test_slots_that_move_are_followed_and_nothing_is_lost(own_cluster, partitions, wait):
    """MOVED, ASK and TRYAGAIN, while several write, claim and read."""
    store = fresh(own_cluster.url, prefix="", partitions=partitions, wait=wait)
    await store.setup()
    await store.commit([create(f"s{n}", due_at=1.0) for n in range(40)])
    over = asyncio.Event()
    versions = dict.fromkeys((f"s{n}" for n in range(40)), 2)

    async def write(saga_id):
        while not over.is_set():
            record = (await recovered(store.load, [saga_id]))[saga_id].record
            assert record.version == versions[saga_id]
            (result,) = await recovered(store.commit, [follow(record, events=events(1))])
            assert isinstance(result, (Committed, Duplicate))
            versions[saga_id] = result.version

    met = note_answers(store._store.router)
    writers = [asyncio.ensure_future(write(saga_id)) for saga_id in versions]

    def halfway():
        deadline = time.monotonic() + 30
        while AskError not in met and TryAgainError not in met and time.monotonic() < deadline:
            time.sleep(0.01)

    for partition in store._store.partitions.all:
        await asyncio.to_thread(own_cluster.move_slot, key_slot(partition.layout), halfway)
    over.set()
    await asyncio.gather(*writers)
    assert MovedError in met
    assert met & {AskError, TryAgainError}
    for saga_id, stored in (await store.load(list(versions))).items():
        assert stored.record.version == versions[saga_id] == len(stored.events)
    await store.close()


def note_answers(router):
    """The kinds of answers after which a call was made again."""
    met, decide = set(), router._again

    async def again(call, answer):
        met.add(type(answer))
        return await decide(call, answer)

    router._again = again
    return met
