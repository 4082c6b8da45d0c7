"""An index on a large table that sagas are written to: nobody waits, and a build that was killed is made good."""

import asyncio
import sys

import pytest

from sagafsm.store import Committed
from sagafsm.testing.appends import create, follow
from sagafsm_sql import SQLStore
from sagafsm_sql.postgresql.options import Options
from sagafsm_sql.postgresql.pool import connect, part
from sagafsm_sql.postgresql.schema import Schema
from sagafsm_sql.queries import Queries

INDEX = "CREATE INDEX CONCURRENTLY IF NOT EXISTS saga_log_append ON {schema}.saga_log (append_id);"
ROWS = 200_000
VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)"
SCRIPT = """
import asyncio, sys
from tests.stores.postgresql.test_indexes import migrate
print("begins", flush=True)
asyncio.run(migrate(sys.argv[1]))
print("done", flush=True)
"""


async def migrate(url):
    """Bring a schema to a version that has one index more."""
    options = Options.from_url(url)
    schema = Schema(Queries("postgresql", schema=options.quoted), options)
    schema.target = schema.migrations[-1][0] + 1
    schema.migrations.append((schema.target, "9999_more.sql", INDEX))
    connection = await connect(options, prepared=False, patient=True)
    try:
        await schema.bring_up_to_date(connection)
    finally:
        await part(connection)


@pytest.fixture
async def large(schemas):
    """The URL and the name of a schema with a log of so many rows."""
    name = schemas.new()
    store = SQLStore.from_url(schemas.url(name))
    await store.setup()
    await store.commit([create("live")])
    await store.close()
    async with schemas.connection() as connection:
        await connection.execute(
            f"INSERT INTO {name}.saga_log SELECT 'old-' || n / 5, n % 5 + 1, md5(n::text), 'T', 1.0, repeat('x', 100) "
            f"FROM generate_series(1, {ROWS}) n"
        )
        yield schemas.url(name), name
        await connection.execute(f"DROP SCHEMA {name} CASCADE")


async def until(connection, query, *values):
    async with asyncio.timeout(30):
        while not (found := await connection.fetchval(query, *values)):  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.01)
        return found


BUILDING = "SELECT pid FROM pg_stat_progress_create_index WHERE index_relid = to_regclass($1)"


async def test_appends_go_on_while_an_index_is_built_on_a_large_log(schemas, large):
    """Also while the build waits for a transaction that began before it."""
    url, name = large
    store = SQLStore.from_url(url)
    await store.setup()
    record = (await store.load(["live"]))["live"].record
    rounds = 0

    async def write():
        nonlocal record, rounds
        assert [type(result) for result in await store.commit([follow(record), create(f"new-{rounds}")])] == [
            Committed
        ] * 2
        record = (await store.load(["live"]))["live"].record
        rounds += 1

    async with schemas.connection() as old, schemas.connection() as connection:
        await old.execute(f"BEGIN; DELETE FROM {name}.saga_log WHERE saga_id = 'nobody'")
        building = asyncio.ensure_future(migrate(url))
        await until(connection, BUILDING, f"{name}.saga_log_append")
        while rounds < 30:
            await write()
        assert not building.done()
        await old.execute("ROLLBACK")
        while not building.done():
            await write()
        await building
        assert await connection.fetchval(VALID, f"{name}.saga_log_append")
    assert rounds > 30
    await store.close()


async def test_the_index_of_a_build_that_was_killed_is_built_by_the_next(schemas, large):
    """The process is killed, and its server process too."""
    url, name = large
    index = f"{name}.saga_log_append"
    async with schemas.connection() as old, schemas.connection() as connection:
        await old.execute(f"BEGIN; DELETE FROM {name}.saga_log WHERE saga_id = 'nobody'")  # the build waits for this
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SCRIPT, url, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            assert await process.stdout.readline() == b"begins\n"
            builder = await until(connection, BUILDING, index)
        finally:
            process.kill()
            await process.wait()
        await connection.fetchval("SELECT pg_terminate_backend($1)", builder)
        await until(connection, "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $1", builder)
        await old.execute("ROLLBACK")
        assert await connection.fetchval(VALID, index) is False
        await migrate(url)
        assert await connection.fetchval(VALID, index) is True


async def test_a_build_that_outlives_its_process_is_waited_for(schemas, large):
    """The server does not notice that whoever asked for the index is gone; to drop it meanwhile would be a deadlock."""
    url, name = large
    index = f"{name}.saga_log_append"
    async with schemas.connection() as old, schemas.connection() as connection:
        await old.execute(f"BEGIN; DELETE FROM {name}.saga_log WHERE saga_id = 'nobody'")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SCRIPT, url, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            assert await process.stdout.readline() == b"begins\n"
            await until(connection, BUILDING, index)
        finally:
            process.kill()
            await process.wait()
        oid = await connection.fetchval("SELECT to_regclass($1)::oid", index)
        next_one = asyncio.ensure_future(migrate(url))
        done, _ = await asyncio.wait([next_one], timeout=0.5)
        assert not done
        await old.execute("ROLLBACK")
        async with asyncio.timeout(30):
            await next_one
        assert await connection.fetchval(VALID, index) is True
        assert await connection.fetchval("SELECT to_regclass($1)::oid", index) == oid, "it was not built twice"
