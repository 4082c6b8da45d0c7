"""history=monthly: a purge moves what has ended into partitions by month, and nothing else changes."""

import asyncio
from datetime import UTC, datetime

import pytest

from sagafsm import Orchestrator, Saga, SagaPurged, step
from sagafsm.core.errors import StoreUnavailable
from sagafsm.store import Exists, NewEvent, Snapshot
from sagafsm.testing.appends import create, events, finish, follow
from sagafsm.testing.conformance import KeepConformance
from sagafsm_sql import SQLStore


def at(*day):
    return datetime(*day, tzinfo=UTC).timestamp()


LATER = at(2030, 1, 1)


class TestPostgreSQLWithHistory(KeepConformance):
    """To the runtime it is a purge like any other."""

    @pytest.fixture
    async def store(self, url):
        self.url = f"{url}&history=monthly"
        store = SQLStore.from_url(self.url)
        await store.setup()
        yield store
        await store.close()

    async def open_again(self, store):
        second = SQLStore.from_url(self.url)
        await second.setup()
        return second


@pytest.fixture
def name(schemas):
    return schemas.new()


@pytest.fixture
async def keeping(schemas, name):
    """A store that keeps a history, on a schema of its own."""
    store = SQLStore.from_url(schemas.url(name), history="monthly")
    await store.setup()
    yield store
    await store.close()


async def months(connection, name):
    rows = await connection.fetch(
        "SELECT c.relname FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid "
        "WHERE inhparent = to_regclass($1) ORDER BY 1", f"{name}.saga_history"
    )  # fmt: skip
    return [row[0].removeprefix("saga_history_") for row in rows]


async def ended(store, saga_id, when, **changes):
    """A saga with four events that ended then."""
    await store.commit([create(saga_id, **changes)])
    record = (await store.load([saga_id]))[saga_id].record
    await store.commit([follow(record)])
    record = (await store.load([saga_id]))[saga_id].record
    await store.commit([finish(record, at=when)])


async def test_what_is_purged_stands_in_the_partition_of_its_month(schemas, keeping, name):
    await ended(keeping, "october", at(2026, 10, 31, 23, 59, 59), tags={"shop": "7", "über": "alles"})
    await ended(keeping, "november", at(2026, 11, 1))
    await ended(keeping, "december", at(2026, 12, 31, 23, 59, 59))
    await keeping.commit([create("live")])
    before = {saga_id: await keeping.events(saga_id) for saga_id in ("october", "november", "december")}
    assert await keeping.purge(LATER) == 3
    async with schemas.connection() as connection:
        assert await months(connection, name) == ["2026_10", "2026_11", "2026_12"]
        for saga_id, month in (("october", 10), ("november", 11), ("december", 12)):
            row = await connection.fetchrow(f"SELECT * FROM {name}.saga_history_2026_{month}")
            assert (row["id"], row["state"], row["version"], row["kind"]) == (saga_id, "completed", 4, "Order@1")
            log = await connection.fetch(
                f"SELECT seq, type, at, data FROM {name}.saga_history_events WHERE saga_id = $1 ORDER BY seq", saga_id
            )
            assert [tuple(found) for found in log] == [
                (event.seq, event.type, event.at, event.data.decode()) for event in before[saga_id]
            ]
        tags = f'SELECT id FROM {name}.saga_history WHERE tags @> \'{{"shop": "7", "über": "alles"}}\''
        assert await connection.fetchval(tags) == "october"
    assert list(await keeping.load(["october", "november", "december", "live"])) == ["live"]
    assert [count.count for count in await keeping.counts()] == [1]


async def test_without_the_option_a_purge_deletes(schemas, url, store):
    await ended(store, "s", at(2026, 11, 1))
    assert await store.purge(LATER) == 1
    async with schemas.connection() as connection:
        assert await connection.fetchval(f"SELECT count(*) FROM {schemas.common}.saga_history") == 0


async def test_events_are_kept_byte_for_byte_and_past_a_snapshot(schemas, keeping, name):
    """Also what is no JSON: it was parked for a person to look at, and that is still possible."""
    odd = [NewEvent("Odd", 1.5, data) for data in (b'{ "a" :1.0e0,"a":2}', b"", b"{no json", '"🦊\\u0000"'.encode())]
    await keeping.commit(
        [create("s", events=odd, state="failed", finished_at=at(2026, 5, 5), snapshot=Snapshot(version=3, data=b"1"))]
    )
    assert await keeping.purge(LATER) == 1
    async with schemas.connection() as connection:
        rows = await connection.fetch(f"SELECT data FROM {name}.saga_history_events ORDER BY seq")
    assert [row[0].encode() for row in rows] == [event.data for event in odd]


async def test_a_month_is_dropped_at_once_and_made_again_when_needed(schemas, keeping, name):
    await ended(keeping, "a", at(2026, 3, 1))
    assert await keeping.purge(LATER) == 1
    async with schemas.connection() as connection:
        await connection.execute(f"DROP TABLE {name}.saga_history_2026_03")
        assert await months(connection, name) == []
        await ended(keeping, "b", at(2026, 3, 2))
        assert await keeping.purge(LATER) == 1
        assert await connection.fetchval(f"SELECT id FROM {name}.saga_history") == "b"


async def test_an_id_that_was_used_twice_is_there_twice(schemas, keeping, name):
    for day in (1, 2):
        await ended(keeping, "s", at(2026, 3, day))
        assert await keeping.purge(LATER) == 1
    async with schemas.connection() as connection:
        assert await connection.fetchval(f"SELECT count(*) FROM {name}.saga_history WHERE id = 's'") == 2


async def test_several_purges_at_once_move_each_saga_once(schemas, keeping, name):
    for n in range(120):
        await keeping.commit(
            [create(f"s{n}", state="completed", finished_at=at(2026, n % 12 + 1, 3), events=events(3))]
        )
    others = [SQLStore.from_url(schemas.url(name), history="monthly") for _ in range(4)]
    for other in others:
        await other.setup()
    moved = await asyncio.gather(*(other.purge(LATER, limit=200) for other in others))
    assert sum(moved) == 120
    async with schemas.connection() as connection:
        found = await connection.fetchrow(f"SELECT count(*), count(DISTINCT id) FROM {name}.saga_history")
        assert tuple(found) == (120, 120)
        assert len(await months(connection, name)) == 12
    for other in others:
        await other.close()


async def test_of_two_that_need_a_new_month_at_once_one_makes_it(schemas, keeping, name):
    """The second one looked when the first had made it, and saw what it had seen before."""
    for saga_id in ("a", "b"):
        await ended(keeping, saga_id, at(2026, 3, 1))
    async with schemas.connection() as holder, schemas.connection() as connection:
        month = f'"{name}".saga_history_2026_03'
        await holder.execute(f"BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('{month}', 0))")
        purges = [asyncio.ensure_future(keeping.purge(LATER, saga_ids=[saga_id])) for saga_id in ("a", "b")]
        wait = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        async with asyncio.timeout(5):
            while await connection.fetchval(wait) < 2:  # noqa: ASYNC110 - the server tells nobody who waits
                await asyncio.sleep(0.01)
        await holder.execute("COMMIT")
        assert await asyncio.gather(*purges) == [1, 1]
        assert await months(connection, name) == ["2026_03"]
        assert await connection.fetchval(f"SELECT count(*) FROM {name}.saga_history") == 2


async def test_a_purge_that_fails_moves_nothing(schemas, keeping, name):
    """Both sides in one transaction."""
    await ended(keeping, "s", at(2026, 3, 1))
    async with schemas.connection() as connection:
        await connection.execute(f"ALTER TABLE {name}.saga_tags RENAME TO elsewhere")
        with pytest.raises(StoreUnavailable, match="saga_tags"):
            await keeping.purge(LATER)
        await connection.execute(f"ALTER TABLE {name}.elsewhere RENAME TO saga_tags")
        assert await connection.fetchval(f"SELECT count(*) FROM {name}.saga_history") == 0
    assert list(await keeping.load(["s"])) == ["s"]
    assert await keeping.purge(LATER) == 1


async def test_reading_the_history_and_a_new_month_do_not_wait_for_each_other(schemas, keeping, name):
    await ended(keeping, "a", at(2026, 3, 1))
    await keeping.purge(LATER)
    async with schemas.connection() as report:
        await report.execute(f"BEGIN; SELECT count(*) FROM {name}.saga_history")
        await ended(keeping, "b", at(2026, 4, 1))
        async with asyncio.timeout(5):
            assert await keeping.purge(LATER) == 1
        await report.execute("COMMIT")


class Order(Saga[dict]):
    """One step."""

    @step(compensatable=False)
    async def ship(self, order: dict) -> str:
        return "parcel 1"


async def test_the_engine_purges_into_it_and_ids_stay_taken(schemas, keeping, name):
    url = schemas.url(name, history="monthly")
    async with Orchestrator(url, sagas=[Order]) as works:
        await works.run(Order, {}, saga_id="order-1", timeout=20)
        assert await works.purge(finished_before=0) == 1
        with pytest.raises(SagaPurged):
            await works.start(Order, {}, saga_id="order-1")
        (refused,) = await keeping.commit([create("order-1")])
        assert refused == Exists(same=False, purged=True)
    async with schemas.connection() as connection:
        rows = await connection.fetch(f"SELECT type FROM {name}.saga_history_events ORDER BY seq")
    assert [row[0] for row in rows] == ["SagaStarted", "AttemptStarted", "StepSucceeded", "SagaCompleted"]
