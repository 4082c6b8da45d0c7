"""The schema makes itself, from every earlier version, once, and never goes back."""

import sqlite3

import pytest

from sagafsm.core.errors import SettingsError, StoreCorrupt, StoreTooNew, StoreUnavailable
from sagafsm.testing.appends import create
from sagafsm_sql import SQLStore
from sagafsm_sql.sqlite.connection import Connection, make_engine
from sagafsm_sql.sqlite.options import Options
from sagafsm_sql.sqlite.schema import Schema, split
from sagafsm_sql.sqlite.store import QUERIES

NUMBERS = [number for number, _, _ in QUERIES.migrations()]

ROW = (
    "INSERT INTO sagas (id, type, kind, state, stuck, suspended, version, fence, attention, correlation_id, digest,"
    " created_at, updated_at) VALUES (?, 'Order', 'Order@1', ?, 0, 0, 1, 1, 0, 'c', 'd', 1.0, 1.0)"
)


def migrate(path, target, schema=None):
    """Bring a file to a version, as the sagafsm of that time did."""
    options = Options.from_url(f"sqlite:///{path}")
    connection = Connection(make_engine(options), options, writes=True, lock=None)
    try:
        (schema or Schema(QUERIES, target=target)).bring_up_to_date(connection)
    finally:
        connection.close()


def execute(path, *statements):
    connection = sqlite3.connect(path)
    with connection:
        rows = [connection.execute(*statement).fetchall() for statement in statements]
    connection.close()
    return rows


def version(path):
    return execute(path, ("SELECT value FROM saga_meta WHERE key = 'schema_version'",)) == [[(str(NUMBERS[-1]),)]]


async def opened(path, **options):
    store = SQLStore.from_url(f"sqlite:///{path}")
    try:
        await store.setup(**options)
        return sorted(await store.load(["a", "b"])), sorted((c.state, c.count) for c in await store.counts())
    finally:
        await store.close()


def test_migrations_are_numbered_without_gaps():
    assert list(range(1, len(NUMBERS) + 1)) == NUMBERS


@pytest.mark.parametrize("number", NUMBERS)
async def test_a_database_of_every_earlier_version_is_brought_up_to_date_with_its_sagas(path, number):
    migrate(path, number)
    execute(path, (ROW, ("a", "pending")), (ROW, ("b", "failed")))
    assert await opened(path) == (["a", "b"], [("failed", 1), ("pending", 1)])
    assert version(path)


@pytest.mark.parametrize("number", NUMBERS[:-1])
async def test_every_way_leads_to_the_same_schema(path, tmp_path, number):
    migrate(path, number)
    await opened(path)
    fresh = tmp_path / "fresh.db"
    await opened(fresh)
    schema = ("SELECT type, name, sql FROM sqlite_master ORDER BY name",)
    assert execute(path, schema) == execute(fresh, schema)


async def test_an_interrupted_migration_leaves_the_old_version_whole(path):
    migrate(path, NUMBERS[-1])
    execute(path, (ROW, ("a", "pending")))
    before = execute(path, ("SELECT name, sql FROM sqlite_master",), ("SELECT * FROM saga_meta",))
    schema = Schema(QUERIES)
    schema._migrations.append((99, "0099_broken.sql", "CREATE TABLE saga_new (a);\nINSERT INTO nowhere VALUES (1);\n"))
    schema.target = 99
    with pytest.raises(StoreUnavailable, match="no such table: nowhere"):
        migrate(path, 99, schema)
    assert execute(path, ("SELECT name, sql FROM sqlite_master",), ("SELECT * FROM saga_meta",)) == before
    assert await opened(path) == (["a"], [("pending", 1)])


async def test_a_database_of_a_newer_sagafsm_is_left_alone(path):
    await opened(path)
    execute(path, ("UPDATE saga_meta SET value = '99'",))
    for options in ({}, {"migrate": False}):
        with pytest.raises(StoreTooNew, match="schema version 99"):
            await opened(path, **options)
    assert execute(path, ("SELECT value FROM saga_meta",)) == [[("99",)]]


async def test_without_migration_an_older_schema_is_refused(path):
    migrate(path, 1)
    with pytest.raises(StoreUnavailable, match="is at version 1"):
        await opened(path, migrate=False)
    await opened(path)
    await opened(path, migrate=False)


async def test_without_migration_a_missing_file_is_not_created(path):
    with pytest.raises(StoreUnavailable, match="does not exist"):
        await opened(path, migrate=False)
    assert not path.exists()


async def test_tables_of_somebody_else_are_left_alone(path):
    execute(path, ("CREATE TABLE sagas (title TEXT)",))
    with pytest.raises(SettingsError, match="a file of its own"):
        await opened(path)
    assert execute(path, ("SELECT name FROM sqlite_master",)) == [[("sagas",)]]


async def test_a_lost_version_is_told(path):
    await opened(path)
    execute(path, ("DELETE FROM saga_meta",))
    with pytest.raises(StoreCorrupt, match="without a schema_version"):
        await opened(path)


async def test_other_tables_may_stand_in_the_same_file(path):
    execute(path, ("CREATE TABLE orders (id)",))
    assert await opened(path) == ([], [])


def test_a_trigger_is_one_statement():
    text = "CREATE TABLE t (a);\n\nCREATE TRIGGER x AFTER INSERT ON t BEGIN\n  DELETE FROM t;\nEND;\nSELECT 1"
    assert [statement.strip() for statement in split(text)] == [
        "CREATE TABLE t (a);",
        "CREATE TRIGGER x AFTER INSERT ON t BEGIN\n  DELETE FROM t;\nEND;",
        "SELECT 1",
    ]


async def test_operators_can_read_the_tables(path):
    store = SQLStore.from_url(f"sqlite:///{path}")
    await store.setup()
    await store.commit([create("order-1", state="compensating", tags={"shop": "7"})])
    (found,) = execute(path, ("SELECT id, state, version FROM sagas WHERE state = 'compensating'",))
    assert found == [("order-1", "compensating", 2)]
    (log,) = execute(path, ("SELECT seq, type, data ->> 'n' FROM saga_events WHERE saga_id = 'order-1'",))
    assert log == [(1, "Happened", 1), (2, "Happened", 1)]
    await store.close()


async def test_a_file_of_somebody_else_is_left_as_it_is(tmp_path):
    path = tmp_path / "theirs.db"
    execute(path, ("CREATE TABLE theirs (a)",))

    with pytest.raises(StoreUnavailable):
        await opened(path, migrate=False)

    assert execute(path, ("PRAGMA journal_mode",)) == [[("delete",)]]
    assert [found.name for found in tmp_path.iterdir() if found.suffix != ".lock"] == ["theirs.db"]
