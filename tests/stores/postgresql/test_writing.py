"""What is particular to writing on PostgreSQL: locks, poison, counts, and that no plan depends on luck."""

import asyncio
import random

import asyncpg
import pytest
from msgspec.structs import replace

from sagafsm.core.errors import OutcomeUnknown, StoreUnavailable
from sagafsm.store import Committed, Conflict, Fenced, NewEvent, Refused, Snapshot
from sagafsm.testing.appends import KIND, create, events, finish, follow, steady
from sagafsm_sql import SQLStore, purging
from sagafsm_sql.postgresql import batch, writer
from tests.stores.postgresql.databases import TABLES

HOSTILE = (
    "enable_indexscan", "enable_indexonlyscan", "enable_bitmapscan", "enable_nestloop", "enable_hashjoin",
    "enable_material", "enable_hashagg", "enable_sort", "enable_seqscan",
)  # fmt: skip


async def another(url, **options):
    store = SQLStore.from_url(url, **options)
    await store.setup()
    return store


async def test_batches_that_meet_in_any_order_never_wait_for_each_other(url, schemas):
    """Appends of every kind, births, claims and purges of the same sagas, through the connections of three stores."""
    names = [f"s{n:02}" for n in range(12)]
    stores = [await another(url) for _ in range(3)]
    await stores[0].commit([create(name, due_at=1.0, owner="gone") for name in names])
    async with schemas.connection() as connection:
        look = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        before = await connection.fetchval(look)

        async def work(number):
            chance, mine = random.Random(number), stores[number % 3]
            await mine.heartbeat(f"w{number}", 3600.0)
            for turn in range(25):
                found = await mine.load(chance.sample(names, 8))
                records = [saga.record for saga in found.values()]
                chance.shuffle(records)
                made = [chance.choice([steady, follow])(record) for record in records]
                ended = [f"n{turn}-{n}" for n in range(6)]  # those that all others make too
                made += [create(name, state="failed", finished_at=1.0) for name in chance.sample(ended, 4)]
                for result in await mine.commit(made):
                    assert not isinstance(result, Refused)
                if chance.random() < 0.3:
                    claim = await mine.claim(f"w{number}", [KIND], limit=3)
                    for saga in claim.sagas:
                        await mine.release(saga.record.saga_id, worker_id=f"w{number}", fence=saga.record.fence)
                if chance.random() < 0.2:
                    await mine.claim(f"w{number}", [KIND], limit=9, saga_ids=chance.sample(names, 5))
                if chance.random() < 0.3:
                    await mine.purge(2.0, limit=5, keep_ids=chance.choice([0.0, 60.0]))

        try:
            await asyncio.gather(*(work(number) for number in range(9)))
        finally:
            for mine in stores:
                await mine.close()  # a server process says what it has seen at the latest when it ends
        await connection.execute("SELECT pg_stat_clear_snapshot()")
        assert await connection.fetchval(look) == before


@pytest.mark.parametrize("setting", HOSTILE)
async def test_no_plan_makes_a_claim_take_more_than_its_limit(url, schemas, setting):
    """UPDATE … WHERE id IN (SELECT … LIMIT 1 FOR UPDATE SKIP LOCKED) takes several under a nested loop."""
    async with schemas.connection() as connection:
        database = await connection.fetchval("SELECT current_database()")
        await connection.execute(f"ALTER ROLE CURRENT_USER IN DATABASE {database} SET {setting} = off")
        try:
            store = await another(url)
            await store.commit(
                [create(f"s{n}", due_at=1.0, owner=f"dead{n % 3}" if n % 2 else None) for n in range(40)]
            )
            await store.heartbeat("w", 3600.0)
            for limit in (1, 1, 5, 10):
                assert len((await store.claim("w", [KIND, "Other@1"], limit=limit)).sagas) == limit
            assert len((await store.claim("w", [KIND], limit=100)).sagas) == 23
            assert await store.purge(1e12, limit=3) == 0
            await store.commit([create(f"e{n}", state="failed", finished_at=1.0) for n in range(7)])
            assert await store.purge(1e12, limit=3) == 3
            await store.close()
        finally:
            await connection.execute(f"ALTER ROLE CURRENT_USER IN DATABASE {database} RESET {setting}")


async def test_commits_and_claims_find_their_rows_by_an_index_also_in_a_table_that_was_just_small(store, schemas):
    """Plans are made while the tables are empty, and kept while they grow."""
    await store.heartbeat("w", 3600.0)
    for first in range(0, 3000, 300):
        await store.commit([create(f"s{n:05}", due_at=1e12) for n in range(first, first + 300)])
    async with schemas.connection() as connection:
        look = "SELECT seq_scan FROM pg_stat_user_tables WHERE schemaname = $1 AND relname = $2"

        async def scans():
            await asyncio.sleep(0)
            await connection.execute("SELECT pg_stat_clear_snapshot()")
            return [await connection.fetchval(look, schemas.common, table) for table in ("sagas", "saga_log")]

        before = await scans()
        for n in range(20):
            record = (await store.load([f"s{n:05}"]))[f"s{n:05}"].record
            await store.commit([steady(record, events=events(2)), create(f"t{n}")])
            await store.claim("w", [KIND], limit=10)
        await store.close()
        assert await scans() == before


@pytest.mark.parametrize(
    "poison",
    [
        create("p", problem="nul \0"),
        create("p", tags={"half a character": "\ud800"}),
        create("p", correlation_id="x" * 9000, tags={"k" * 9000: "v"}),
        create("p", events=[NewEvent("T", 1.0, b"\xff")]),
        create("p", fence=2**70),
    ],
    ids=["nul", "surrogate", "too long for an index", "no utf-8", "too large a number"],
)
async def test_an_append_that_cannot_be_written_harms_no_other(store, poison):
    if poison.birth.correlation_id.startswith("x"):  # such a long text compresses too well otherwise
        noise = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=9000))
        poison = replace(poison, birth=replace(poison.birth, correlation_id=noise))
    await store.commit([create("a")])
    record = (await store.load(["a"]))["a"].record
    results = await store.commit([follow(record), poison, create("b", tags={"x": "1"})])
    assert [type(result) for result in results] == [Committed, Refused, Committed]
    assert "p" not in await store.load(["p"])
    assert sum(count.count for count in await store.counts()) == 2


async def test_a_batch_that_is_too_large_for_one_statement_is_written_in_several(store, monkeypatch):
    monkeypatch.setattr(batch, "MOST_BYTES", 2000)
    data = b'"' + b"x" * 600 + b'"'
    appends = [create(f"s{n}", events=events(2, data=data)) for n in range(9)]
    assert await store.commit(appends) == [Committed(2)] * 9
    monkeypatch.setattr(batch, "MOST_BYTES", 1000)
    monkeypatch.setattr(writer, "LARGEST", 1000)
    results = await store.commit([create("large", events=events(2, data=data)), create("small")])
    assert [type(result) for result in results] == [Refused, Committed]


async def test_one_saga_twice_in_a_batch_is_written_one_after_the_other(store):
    first = create("s")
    (committed,) = await store.commit([first])
    record = (await store.load(["s"]))["s"].record
    again, next_ = follow(record), follow(replace(record, version=3))
    assert committed == Committed(2)
    assert await store.commit([again, next_]) == [Committed(3), Committed(4)]


async def test_counts_are_folded_and_stay_the_same(store, schemas):
    for n in range(5):
        await store.commit([create(f"{n}-{m}", stuck=m == 0, owner="w") for m in range(4)])
    async with schemas.connection() as connection:
        changes = f"SELECT count(*) FROM {schemas.common}.saga_count_changes"
        assert await connection.fetchval(changes) == 10
        for saga in (await store.load([f"{n}-1" for n in range(5)])).values():
            await store.commit([finish(saga.record, at=1.0)])
        before = sorted(await store.counts(), key=str)
        await asyncio.gather(*(store._write("fold_counts") for _ in range(5)))
        assert await connection.fetchval(changes) == 0
    assert sorted(await store.counts(), key=str) == before
    assert await store.purge(2.0) == 5
    await store._write("fold_counts")
    assert [(c.state, c.stuck, c.count) for c in sorted(await store.counts(), key=str)] == [
        ("started", False, 10), ("started", True, 5),
    ]  # fmt: skip


async def test_one_flush_adds_few_rows_to_the_counts(store, schemas):
    await store.commit([create(f"s{n}", owner="w") for n in range(200)])
    found = await store.load([f"s{n}" for n in range(200)])
    await store.commit([steady(saga.record) for saga in found.values()])
    async with schemas.connection() as connection:
        assert await connection.fetchval(f"SELECT count(*) FROM {schemas.common}.saga_count_changes") == 1


async def test_what_is_stored_of_a_saga_is_gone_with_it(store, schemas):
    await store.commit(
        [create("s", state="failed", finished_at=1.0, tags={"a": "b"}, snapshot=Snapshot(version=1, data=b"1"))]
    )
    assert await store.purge(2.0) == 1
    await store._write("fold_counts")
    async with schemas.connection() as connection:
        rows = {table: await connection.fetchval(f"SELECT count(*) FROM {schemas.common}.{table}") for table in TABLES}
    assert {table for table, count in rows.items() if count} == set()


STOP = """
CREATE FUNCTION {0}.test_stop() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT count(*) FROM {0}.sagas) <= 4 THEN
        RAISE EXCEPTION 'raised by the test' USING ERRCODE = '53100';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER test_stop BEFORE DELETE ON {0}.sagas EXECUTE FUNCTION {0}.test_stop();
"""


@pytest.mark.parametrize("named", [False, True])
async def test_a_purge_of_which_a_later_step_fails_does_not_deny_the_earlier_ones(store, schemas, monkeypatch, named):
    names = [f"s{n}" for n in range(7)]
    await store.commit([create(name, state="failed", finished_at=1.0) for name in names])
    monkeypatch.setattr(purging, "AT_ONCE", 3)
    async with schemas.connection() as connection:
        await connection.execute(STOP.format(schemas.common))
        try:
            with pytest.raises(OutcomeUnknown, match="3 sagas were purged, then"):
                await store.purge(2.0, saga_ids=names if named else None)
            with pytest.raises(StoreUnavailable, match="nothing was written"):
                await store.purge(2.0, saga_ids=names[3:] if named else None)
        finally:
            await connection.execute(f"DROP FUNCTION {schemas.common}.test_stop CASCADE")
    assert len(await store.load(names)) == 4
    assert await store.purge(2.0, saga_ids=names if named else None) == 4


async def test_a_purge_and_a_creation_at_the_same_moment_never_bring_an_id_back(store, url):
    """The creation may wait for a purge that it could not see when it began."""
    other = await another(url)
    for n in range(30):
        name = f"s{n}"
        await store.commit([create(name, state="failed", finished_at=1.0)])
        purge = asyncio.ensure_future(store.purge(2.0, keep_ids=3600.0))
        if n % 2:
            await asyncio.sleep(0.001)
        (result,) = await other.commit([create(name)])
        assert await purge == 1
        assert type(result).__name__ == "Exists", result
        assert await store.load([name]) == {}
    await other.close()


# --- what is held while a call is cut short ---


async def open_transactions(connection, name):
    return await connection.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND state LIKE 'idle in transaction%'", name
    )


async def test_no_transaction_is_left_open_by_what_is_cut_short(url, schemas):
    name = "cut-short"
    store = await another(url, application_name=name, pool_size=4)
    await store.commit([create("s", due_at=1.0)])
    await store.heartbeat("w", 3600.0)
    chance = random.Random(3)
    for turn in range(60):
        record = (await store.load(["s"]))["s"].record
        calls = [
            store.commit([follow(record, owner=None, due_at=1.0)]),
            store.claim("w", [KIND], limit=5),
            store.purge(1.0),
            store.counts(),
        ]
        tasks = [asyncio.ensure_future(call) for call in calls]
        await asyncio.sleep(chance.random() * 0.004 if turn % 2 else 0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    async with schemas.connection() as connection:
        assert await open_transactions(connection, name) == 0
        used = await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE application_name = $1", name)
        assert used <= 4
    await store.close()


async def test_what_a_frozen_claim_locked_is_free_after_a_while(store, schemas):
    """A process that is stopped between a claim and its commit does not hold the sagas for ever."""
    await store.commit([create("s", due_at=1.0)])
    await store.heartbeat("w", 3600.0)
    async with schemas.connection() as connection:
        await connection.execute("BEGIN")
        await connection.fetchrow(f"SELECT {schemas.common}.saga_claim('w', '{{{KIND}}}', 1, NULL, true)")
        limit = await connection.fetchval("SELECT current_setting('idle_in_transaction_session_timeout')")
        assert limit == "10s"
        claim = await store.claim("w", [KIND], limit=1)
        assert (list(claim.sagas), claim.next_due) == ([], 0.0)
        await connection.execute("ROLLBACK")
        assert await connection.fetchval("SELECT current_setting('idle_in_transaction_session_timeout')") == "0"
    assert len((await store.claim("w", [KIND], limit=1)).sagas) == 1


async def test_no_function_is_compiled_however_dear_the_planner_takes_it_for(schemas):
    """Beside a million finished sagas a claim was compiled for 0.3 s, on each new connection."""
    name = schemas.new()
    store = await another(schemas.url(name))
    await store.close()
    async with schemas.connection() as connection:
        look = "SELECT proname, proconfig FROM pg_proc WHERE pronamespace = $1::regnamespace"
        functions = {row["proname"]: row["proconfig"] or [] for row in await connection.fetch(look, name)}
    planned = {function for function, settings in functions.items() if "enable_seqscan=off" in settings}
    assert planned >= {"saga_commit", "saga_claim", "saga_purge", "saga_shelve"}
    assert [function for function in planned if "jit=off" not in functions[function]] == []


# --- errors of a real server ---


async def test_a_deadlock_or_a_failure_to_serialize_is_tried_again(schemas, url):
    async with schemas.connection() as connection:
        database = await connection.fetchval("SELECT current_database()")
        isolation = f"ALTER DATABASE {database} %s default_transaction_isolation"
        await connection.execute(isolation % "SET" + " = 'serializable'")
        try:
            stores = [await another(url) for _ in range(3)]
            await stores[0].commit([create("s")])
            for _ in range(10):
                record = (await stores[0].load(["s"]))["s"].record
                results = [
                    result for (result,) in await asyncio.gather(*(mine.commit([follow(record)]) for mine in stores))
                ]
                assert sorted(type(result).__name__ for result in results) == ["Committed", "Conflict", "Conflict"]
            for mine in stores:
                await mine.close()
        finally:
            await connection.execute(isolation % "RESET")


async def test_a_table_that_was_dropped_and_a_right_that_was_taken_are_said_with_the_way_out(schemas):
    name = schemas.new()
    store = await another(schemas.url(name))
    async with schemas.connection() as connection:
        await connection.execute(f"DROP SCHEMA {name} CASCADE")
    for call in (store.load(["a"]), store.commit([create("a")]), store.heartbeat("w", 1.0)):
        with pytest.raises(StoreUnavailable) as caught:
            await call
        assert isinstance(caught.value.__cause__, asyncpg.PostgresError)
    await store.close()


async def test_a_standby_is_said_to_be_read_only(url, schemas):
    async with schemas.connection() as connection:
        database = await connection.fetchval("SELECT current_database()")
        store = await another(url)
        await store.close()
        await connection.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
        try:
            store = await another(url)
            with pytest.raises(StoreUnavailable, match="perhaps a standby"):
                await store.commit([create("a")])
            await store.close()
        finally:
            await connection.execute("SET default_transaction_read_only = off")
            await connection.execute(f"ALTER DATABASE {database} RESET default_transaction_read_only")


async def test_a_statement_that_was_cancelled_leaves_the_outcome_unknown(store, schemas):
    """It may have been waiting for a standby, with the commit done already."""
    await store.commit([create("s")])
    record = (await store.load(["s"]))["s"].record
    async with schemas.connection() as holder, schemas.connection() as connection:
        await holder.execute(f"BEGIN; SELECT * FROM {schemas.common}.sagas FOR UPDATE")
        writing = asyncio.ensure_future(store.commit([follow(record)]))
        async with asyncio.timeout(20):
            while not await connection.fetchval(  # noqa: ASYNC110 - the server tells nobody who waits
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'sagafsm' "
                "AND wait_event_type = 'Lock'"
            ):
                await asyncio.sleep(0.01)
        with pytest.raises(OutcomeUnknown, match="57014"):
            await writing
        await holder.execute("ROLLBACK")
    assert await store.commit([follow(record)]) == [Committed(3)]
    assert await store.commit([follow(record)]) == [Conflict(3)]
    assert await store.commit([follow(replace(record, version=3, fence=9))]) == [Fenced(1)]
