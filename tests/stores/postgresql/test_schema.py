"""The schema makes itself, once, however many begin at the same moment, and never goes back."""

import asyncio
import sys

import pytest

from sagafsm.core.errors import SettingsError, StoreCorrupt, StoreTooNew, StoreUnavailable
from sagafsm.store import Filter
from sagafsm.testing.appends import create, follow
from sagafsm_sql import SQLStore
from sagafsm_sql.postgresql.options import Options
from sagafsm_sql.postgresql.pool import connect, part
from sagafsm_sql.postgresql.schema import Schema
from sagafsm_sql.queries import Queries

NUMBERS = [number for number, _, _ in Queries("postgresql").migrations()]
INDEXES = """
CREATE INDEX CONCURRENTLY IF NOT EXISTS sagas_digest ON {schema}.sagas (digest);
CREATE INDEX CONCURRENTLY IF NOT EXISTS saga_log_append ON {schema}.saga_log (append_id);
"""


@pytest.fixture
def fresh(schemas):
    """A schema that is not there yet."""
    return schemas.new()


def schema_of(url, *more):
    """The migrations for a URL, and further ones."""
    options = Options.from_url(url)
    schema = Schema(Queries("postgresql", schema=options.schema), options)
    for text in more:
        number = schema.migrations[-1][0] + 1
        schema.migrations.append((number, f"{number:04}_more.sql", text))
        schema.target = number
    return schema


async def migrate(url, *more, target=None):
    schema = schema_of(url, *more)
    schema.target = target or schema.target
    connection = await connect(schema._options, prepared=False, patient=True)
    try:
        await schema.bring_up_to_date(connection)
    finally:
        await part(connection)


async def opened(url, **options):
    store = SQLStore.from_url(url)
    try:
        await store.setup(**options)
        return sorted(await store.load(["a"]))
    finally:
        await store.close()


def test_migrations_are_numbered_without_gaps():
    assert list(range(1, len(NUMBERS) + 1)) == NUMBERS


async def test_the_version_stands_in_the_database(schemas, fresh):
    await opened(schemas.url(fresh))
    async with schemas.connection() as connection:
        value = await connection.fetchval(f"SELECT value FROM {fresh}.saga_meta WHERE key = 'schema_version'")
    assert value == str(NUMBERS[-1])


@pytest.mark.parametrize("number", NUMBERS[:-1])
async def test_every_earlier_version_is_brought_up_to_date(schemas, fresh, number):
    await migrate(schemas.url(fresh), target=number)
    assert await opened(schemas.url(fresh)) == []


async def test_many_that_begin_at_once_in_one_process_make_it_once(schemas, fresh):
    found = await asyncio.gather(*(opened(schemas.url(fresh)) for _ in range(8)))
    assert found == [[]] * 8


@pytest.mark.timeout(180)
async def test_six_processes_that_begin_at_once_make_it_once(schemas, fresh, tmp_path):
    script = (
        "import asyncio, sys\nfrom sagafsm_sql import SQLStore\n"
        "async def main():\n"
        "    store = SQLStore.from_url(sys.argv[1])\n"
        "    await store.setup()\n"
        "    print('open', len(await store.counts()), flush=True)\n"
        "    await store.close()\n"
        "print('ready', flush=True)\nsys.stdin.readline()\nasyncio.run(main())\n"
    )
    (tmp_path / "open.py").write_text(script)
    url = schemas.url(fresh)
    running = [
        await asyncio.create_subprocess_exec(
            sys.executable, str(tmp_path / "open.py"), url,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )
        for _ in range(6)
    ]  # fmt: skip
    try:
        async with asyncio.timeout(150):
            for process in running:
                assert await process.stdout.readline() == b"ready\n"
            for process in running:
                process.stdin.write(b"go\n")
            ended = await asyncio.gather(*(process.communicate() for process in running))
    finally:
        for process in running:
            if process.returncode is None:
                process.kill()
    assert [output for output, _ in ended] == [b"open 0\n"] * 6, ended
    async with schemas.connection() as connection:
        found = await connection.fetch(f"SELECT value FROM {fresh}.saga_meta WHERE key = 'schema_version'")
    assert [row[0] for row in found] == [str(NUMBERS[-1])]


async def test_an_interrupted_migration_leaves_the_old_version_whole(schemas, fresh):
    url = schemas.url(fresh)
    store = SQLStore.from_url(url)
    await store.setup()
    await store.commit([create("a")])
    with pytest.raises(Exception, match="nowhere"):
        await migrate(url, "CREATE TABLE {schema}.saga_new (a int); INSERT INTO {schema}.nowhere VALUES (1);")
    async with schemas.connection() as connection:
        assert await connection.fetchval(f"SELECT to_regclass('{fresh}.saga_new')") is None
    await store.close()
    assert await opened(url) == ["a"]


async def test_a_database_of_a_newer_sagafsm_is_left_alone(schemas, fresh):
    await opened(schemas.url(fresh))
    async with schemas.connection() as connection:
        await connection.execute(f"UPDATE {fresh}.saga_meta SET value = '99' WHERE key = 'schema_version'")
    for options in ({}, {"migrate": False}):
        with pytest.raises(StoreTooNew, match="has version 99"):
            await opened(schemas.url(fresh), **options)


async def test_without_migration_nothing_is_made(schemas, fresh):
    with pytest.raises(StoreUnavailable, match="is at version 0"):
        await opened(schemas.url(fresh), migrate=False)
    async with schemas.connection() as connection:
        assert await connection.fetchval("SELECT to_regnamespace($1)", fresh) is None


async def test_a_lost_version_is_told(schemas, fresh):
    await opened(schemas.url(fresh))
    async with schemas.connection() as connection:
        await connection.execute(f"DELETE FROM {fresh}.saga_meta")
    with pytest.raises(StoreCorrupt, match="without a schema_version"):
        await opened(schemas.url(fresh))


async def test_tables_of_somebody_else_are_left_alone(schemas, fresh):
    async with schemas.connection() as connection:
        await connection.execute(f"CREATE SCHEMA {fresh}; CREATE TABLE {fresh}.sagas (title text)")
        with pytest.raises(SettingsError, match="a schema of its own"):
            await opened(schemas.url(fresh))
        assert await connection.fetchval(f"SELECT to_regclass('{fresh}.saga_meta')") is None


async def test_an_index_is_built_on_a_live_table_while_sagas_are_written(schemas, fresh):
    url = schemas.url(fresh)
    store = SQLStore.from_url(url)
    await store.setup()
    await store.commit([create(f"old{n}") for n in range(500)])
    done = asyncio.Event()

    async def write():
        record, written = (await store.load(["old0"]))["old0"].record, 0
        while not done.is_set():
            await store.commit([follow(record), create(f"new{written}")])
            record = (await store.load(["old0"]))["old0"].record
            written += 1
        return written

    writing = asyncio.ensure_future(write())
    try:
        await asyncio.gather(*(migrate(url, INDEXES) for _ in range(3)))
    finally:
        done.set()
    assert await writing > 0
    await store.close()
    async with schemas.connection() as connection:
        valid = await connection.fetch(
            "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
            "WHERE i.indisvalid AND c.relnamespace = to_regnamespace($1)", fresh
        )  # fmt: skip
    assert {"sagas_digest", "saga_log_append"} <= {row[0] for row in valid}


async def test_what_an_interrupted_build_left_is_built_again(schemas, fresh):
    url = schemas.url(fresh)
    store = SQLStore.from_url(url)
    await store.setup()
    await store.commit([create(name, digest="same") for name in "ab"])
    await store.close()
    async with schemas.connection() as connection:
        unique = f"CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS sagas_digest ON {fresh}.sagas (digest)"
        with pytest.raises(Exception, match="could not create unique index"):
            await connection.execute(unique)
        look = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)"
        assert await connection.fetchval(look, f"{fresh}.sagas_digest") is False
        await migrate(url, INDEXES)
        assert await connection.fetchval(look, f"{fresh}.sagas_digest") is True


async def test_a_user_without_the_right_to_create_can_work(schemas, fresh):
    url = schemas.url(fresh)
    await opened(url)
    async with schemas.connection() as connection:
        await connection.execute(
            f"CREATE ROLE {fresh} LOGIN; GRANT USAGE ON SCHEMA {fresh} TO {fresh};"
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {fresh} TO {fresh};"
            f"GRANT SELECT, USAGE ON ALL SEQUENCES IN SCHEMA {fresh} TO {fresh}"
        )
    try:
        store = SQLStore.from_url(url.replace("://sagafsm@", f"://{fresh}@"))
        await store.setup()
        assert [type(result).__name__ for result in await store.commit([create("a", due_at=1.0)])] == ["Committed"]
        await store.heartbeat("w", 100.0)
        assert len((await store.claim("w", ["Order@1"], limit=1)).sagas) == 1
        assert len((await store.find(Filter())).records) == 1
        await store.close()
    finally:
        async with schemas.connection() as connection:
            await connection.execute(f"DROP OWNED BY {fresh}; DROP ROLE {fresh}")


async def test_operators_can_read_the_tables(store, schemas):
    await store.commit([create("order-1", state="compensating", tags={"shop": "7"})])
    async with schemas.connection() as connection:
        await connection.execute(f"SET search_path = {schemas.common}")
        (found,) = await connection.fetch("SELECT id, state, version FROM sagas WHERE state = 'compensating'")
        assert tuple(found) == ("order-1", "compensating", 2)
        log = await connection.fetch("SELECT seq, type, data::json ->> 'n' FROM saga_events WHERE saga_id = 'order-1'")
    assert [tuple(row) for row in log] == [(1, "Happened", "1"), (2, "Happened", "1")]
