"""What becomes of appends when the server crashes, forgets, fills up, freezes, or is another one."""

import asyncio

import pytest

from sagafsm.core.errors import OutcomeUnknown, StoreCorrupt, StoreTooNew, StoreUnavailable
from sagafsm.store import Committed, Duplicate, Exists, Filter, Refused
from sagafsm.testing.appends import create, events, follow, steady
from sagafsm_redis import RedisStore
from tests.stores.redis.stores import beside, fresh


async def record_of(store, saga_id):
    return (await store.load([saga_id]))[saga_id].record


async def test_an_operator_sees_a_saga_by_its_id(own, raw):
    await own.commit([create("order-123", due_at=12.5, tags={"customer": "c-7"}, stuck=True)])
    assert raw.hgetall("saga:order-123") == {
        "version": "2", "fence": "1", "state": "started", "type": "Order", "kind": "Order@1", "stuck": "1",
        "correlation_id": "order-123", "digest": "digest", "created_at": "1700000000.5", "due_at": "12.5",
        "updated_at": "1700000050.125", "tags": '{"customer":"c-7"}',
    }  # fmt: skip
    first, _ = raw.lrange("saga-events:order-123", 0, -1)
    assert first.endswith('"Happened",1700000000.25]\n{"n":1}')


@pytest.mark.timeout(120)
async def test_what_was_acknowledged_survives_a_kill(own, own_server):
    """The server is killed while several write, again and again."""
    standing: dict[str, int] = {}

    async def write(saga_id):
        await own.commit([create(saga_id)])
        standing[saga_id] = 2
        record = await record_of(own, saga_id)
        while True:
            append = follow(record, events=events(2))
            try:
                (result,) = await own.commit([append])
            except (StoreUnavailable, OutcomeUnknown):
                return
            assert isinstance(result, Committed)
            standing[saga_id] = result.version
            record = await record_of(own, saga_id)

    for round_ in range(3):
        names = [f"s{round_}-{n}" for n in range(20)]
        writers = [asyncio.ensure_future(write(name)) for name in names]
        while not all(standing.get(name, 0) > 6 for name in names):  # noqa: ASYNC110 - they go on by themselves
            await asyncio.sleep(0.01)
        own_server.kill()
        await asyncio.gather(*writers, return_exceptions=True)
        own_server.start()
        for name, version in standing.items():
            record = await record_of(own, name)
            assert record.version in (version, version + 2)
            assert len(await own.events(name)) == record.version
        standing.clear()


async def test_a_flush_of_the_scripts_in_the_middle_is_not_noticed(own, raw):
    await own.commit([create("s")])
    record = await record_of(own, "s")
    for turn in range(20):
        if turn % 3 == 0:
            raw.script_flush()
        await own.heartbeat("w", 60)
        batch = [follow(record, events=events(2)), create(f"s{turn}", due_at=1.0)]
        answers = await asyncio.gather(own.commit(batch), own.claim("w", ["Order@1"], limit=10), own.counts())
        assert [type(result) for result in answers[0]] == [Committed, Committed]
        record = await record_of(own, "s")
        assert record.version == 4 + 2 * turn


async def test_a_full_server_takes_no_appends_and_none_by_halves(own, raw):
    await own.commit([create("a"), create("b")])
    before = await own.load(["a", "b"])
    raw.config_set("maxmemory", "1")
    batch = [follow(before["a"].record), create("c"), follow(before["b"].record, stuck=True)]
    with pytest.raises(StoreUnavailable, match="maxmemory"):
        await own.commit(batch)
    assert await own.load(["a", "b", "c"]) == before
    raw.config_set("maxmemory", "0")
    assert await own.commit(batch) == [Committed(3), Committed(2), Committed(3)]


async def test_a_full_server_can_be_opened_read_and_purged(own, raw):
    """Else the advice to purge could not be followed."""
    ended = [create(f"s{n}", state="completed", finished_at=1.0, tags={"n": str(n)}) for n in range(50)]
    await own.commit([*ended, create("live")])
    raw.config_set("maxmemory", "1")
    second = beside(own)
    await second.setup()
    assert len((await second.find(Filter(), limit=100)).records) == 51
    assert len(await second.load(["s0", "live"])) == 2
    assert sum(count.count for count in await second.counts()) == 51
    assert await second.purge(2.0, keep_ids=3600) == 50
    assert raw.zcard("saga-finished") == 0
    assert len(raw.keys("saga-gone:*")) == 50
    assert (raw.keys("saga:*"), raw.keys("saga-events:*"), raw.exists("saga-lookup")) == (
        ["saga:live"], ["saga-events:live"], 0,
    )  # fmt: skip
    raw.config_set("maxmemory", "0")
    (again,) = await second.commit([create("s0")])
    assert again == Exists(same=True, purged=True)
    await second.close()


async def test_a_server_that_has_become_a_replica_is_left(own, raw, own_server, servers):
    await own.commit([create("s")])
    append = follow(await record_of(own, "s"))
    raw.replicaof("127.0.0.1", "1")
    with pytest.raises(StoreUnavailable, match="is a replica"):
        await own.commit([append])
    with pytest.raises(StoreUnavailable, match="is a replica"):
        await own.heartbeat("w", 60)
    reader = beside(own)
    await reader.setup()
    assert len((await reader.find(Filter())).records) == 1
    await reader.close()
    raw.replicaof("NO", "ONE")
    assert await own.commit([append]) == [Committed(3)]


async def test_too_few_replicas_are_no_doubt(own, raw):
    raw.config_set("min-replicas-to-write", "1")
    with pytest.raises(StoreUnavailable, match="min-replicas-to-write"):
        await own.commit([create("s")])
    raw.config_set("min-replicas-to-write", "0")
    assert await own.commit([create("s")]) == [Committed(2)]


async def test_a_frozen_server_leaves_the_outcome_unknown(own, own_server):
    await own.commit([create("s")])
    append = follow(await record_of(own, "s"))
    own_server.pause()
    with pytest.raises(OutcomeUnknown):
        await own.commit([append])
    with pytest.raises(StoreUnavailable):
        await own.load(["s"])
    own_server.resume()
    (result,) = await own.commit([append])
    assert isinstance(result, (Committed, Duplicate))
    assert (await record_of(own, "s")).version == 3


async def test_a_server_that_is_away_is_certain(own, own_server):
    await own.commit([create("s")])
    own_server.kill()
    with pytest.raises((StoreUnavailable, OutcomeUnknown)):  # whoever notices first
        await own.commit([create("t")])
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        await own.commit([create("t")])
    own_server.start()
    assert await own.commit([create("t")]) == [Committed(2)]
    assert len((await own.find(Filter())).records) == 2


async def test_an_emptied_server_is_not_written_to(own, raw):
    await own.commit([create("s")])
    record = await record_of(own, "s")
    raw.flushall()
    for append in (follow(record), create("t")):
        with pytest.raises(StoreUnavailable, match="no longer the one that was opened"):
            await own.commit([append])
    assert raw.dbsize() == 0
    second = beside(own)
    await second.setup()
    assert await second.commit([create("t")]) == [Committed(2)]
    with pytest.raises(StoreUnavailable, match="no longer the one that was opened"):
        await own.commit([create("u")])
    await second.close()


async def test_a_key_that_holds_something_else_harms_only_its_own_saga(own, raw):
    await own.commit([create("a")])
    raw.set("saga:foreign", "x")
    raw.set("saga-events:b", "x")
    batch = [create("foreign"), create("b"), follow(await record_of(own, "a")), create("c")]
    results = await own.commit(batch)
    assert [type(result) for result in results] == [Refused, Refused, Committed, Committed]
    assert "WRONGTYPE" in results[0].reason
    assert not raw.exists("saga:b")
    with pytest.raises(StoreCorrupt):
        await own.load(["foreign"])


async def test_a_log_that_lost_events_is_not_written_to(own, raw):
    await own.commit([create("s", events=events(4))])
    record = await record_of(own, "s")
    raw.rpop("saga-events:s")
    for append in (follow(record), steady(record)):
        (result,) = await own.commit([append])
        assert isinstance(result, Refused)
    assert (raw.llen("saga-events:s"), raw.hget("saga:s", "version")) == (3, "4")


async def test_events_that_somebody_edited_are_handed_on_as_they_are(own, raw):
    await own.commit([create("s"), create("t")])
    raw.lset("saga-events:s", 1, "garbage")
    raw.hset("saga:t", mapping={"version": "x", "tags": "[", "created_at": "?"})
    found = await own.load(["s", "t"])
    assert [(event.seq, event.type) for event in found["s"].events] == [(1, "Happened"), (2, "")]
    assert (found["t"].record.version, found["t"].record.tags) == (0, {})


async def test_a_layout_that_is_newer_is_left_alone(own, raw):
    raw.hset("saga-layout", "version", "99")
    with pytest.raises(StoreTooNew, match="upgrade sagafsm"):
        await beside(own).setup()


async def test_a_layout_that_cannot_be_read_is_left_alone(own, raw):
    raw.hset("saga-layout", "partitions", "many")
    with pytest.raises(StoreCorrupt, match="saga-layout"):
        await beside(own).setup()
    raw.delete("saga-layout")
    raw.set("saga-layout", "x")
    with pytest.raises(StoreCorrupt, match="did not put there"):
        await beside(own).setup()


async def test_an_empty_database_is_not_made_where_that_was_not_asked_for(own_server, raw):
    with pytest.raises(StoreUnavailable, match="migrate=True"):
        await RedisStore.from_url(own_server.url).setup(migrate=False)
    assert raw.dbsize() == 0


async def test_databases_and_prefixes_are_apart(own, own_server):
    others = [RedisStore.from_url(own_server.url.replace("/0", "/3")), fresh(own_server.url)]
    await own.commit([create("s")])
    for other in others:
        await other.setup()
        assert await other.load(["s"]) == {}
        assert await other.commit([create("s", digest="other")]) == [Committed(2)]
        assert not await own.wait_for_change(0.0)
        await other.close()


async def test_a_password_is_needed_and_not_shown(own, own_server, raw):
    raw.config_set("requirepass", "sesame-1")
    with pytest.raises(StoreUnavailable) as found:
        await RedisStore.from_url(own_server.url.replace("//", "//:sesame-2@")).setup()
    assert "sesame" not in str(found.value)
    good = RedisStore.from_url(own_server.url.replace("//", "//:sesame-1@"))
    await good.setup()
    assert "sesame" not in repr(good.options)
    assert await good.commit([create("s")]) == [Committed(2)]
    await good.close()


async def test_the_work_of_an_append_does_not_grow(own, raw):
    """Neither with the length of the log nor with the number of sagas: so many commands, and the same ones."""

    async def calls(record):
        raw.config_resetstat()
        assert await own.commit([steady(record, events=events(2))]) == [Committed(record.version + 2)]
        stats = raw.info("commandstats")
        others = ("cmdstat_config|resetstat", "cmdstat_publish")  # a hint of what was written before may go out now
        return {name: int(stat["calls"]) for name, stat in stats.items() if name not in others}

    await own.commit([create("s")])
    short = await calls(await record_of(own, "s"))
    for _ in range(20):
        await own.commit([follow(await record_of(own, "s"), events=events(500))])
    await own.commit([create(f"other{n}", state="completed", finished_at=1.0) for n in range(500)])
    assert await calls(await record_of(own, "s")) == short
    assert short == {
        "cmdstat_evalsha": 1, "cmdstat_hget": 1, "cmdstat_hmget": 1, "cmdstat_rpush": 1, "cmdstat_hset": 1,
    }  # fmt: skip


@pytest.mark.parametrize("turns", range(1, 6))
async def test_a_close_that_is_cut_short_leaves_no_connection_behind(url, turns):
    store = fresh(url)
    await store.setup()
    await store.commit([create("s")])
    writing = asyncio.ensure_future(store.commit([create("t")]))
    opened = store._store
    node = opened.topology.node_at(store.options.addresses[0])
    connections = [opened.hints._connection, *(channel._connection for channel in node._channels.values())]
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(store.close())
    for _ in range(turns):
        await asyncio.sleep(0)
    closing.cancel()
    await asyncio.gather(closing, writing, return_exceptions=True)
    assert [connection for connection in connections if connection.is_connected] == []
