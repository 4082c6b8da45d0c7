"""Hints: off the way of the writes, coalesced, heard again after the connection was lost, and never needed."""

import asyncio
import time

import pytest

from sagafsm.core.errors import StoreUnavailable
from sagafsm.testing.appends import create, follow, steady
from sagafsm_sql import SQLStore
from sagafsm_sql.postgresql.wakeups import SPACING


async def opened(url, **options):
    store = SQLStore.from_url(url, **options)
    await store.setup()
    return store


@pytest.fixture
async def other(url):
    store = await opened(url, application_name="other")
    yield store
    await store.close()


async def told(schemas):
    async with schemas.connection() as connection:
        value, called = await connection.fetchrow(f"SELECT last_value, is_called FROM {schemas.common}.saga_changes")
        return value if called else 0


@pytest.fixture
def looked(store, monkeypatch):
    """Set when the store has looked once more; whoever waits for a change has then no more to do than to wait."""
    wakeups, looked = store._opened.wakeups, asyncio.Event()
    others = wakeups._others

    async def look():
        told = await others()
        looked.set()
        return told

    monkeypatch.setattr(wakeups, "_others", look)
    return looked


async def test_many_changes_are_told_together(store, schemas):
    before, began = await told(schemas), time.monotonic()
    for n in range(30):
        await store.commit([create(f"s{n}")])
    await store.close()
    assert 1 <= await told(schemas) - before <= (time.monotonic() - began) / SPACING + 2


async def test_what_concerns_nobody_else_is_not_told(store, schemas):
    before = await told(schemas)
    await store.commit([create("s", owner="w", due_at=1.0)])
    record = (await store.load(["s"]))["s"].record
    await store.commit([steady(record)])
    await store.close()
    assert await told(schemas) == before


async def test_a_store_does_not_hear_itself(store):
    await store.wait_for_change(0.0)
    await store.commit([create("s")])
    assert not await store.wait_for_change(0.3)


async def test_changes_are_heard_of_again_after_the_connection_was_lost(store, other, schemas, looked):
    assert not await store.wait_for_change(0.0)
    for n in range(3):
        looked.clear()
        waiting = asyncio.ensure_future(store.wait_for_change(30.0))
        async with schemas.connection() as connection:
            await looked.wait()
            listening = store._opened.wakeups._connection
            assert await connection.fetchval("SELECT pg_terminate_backend($1)", listening.get_server_pid())
        await other.commit([create(f"s{n}")])
        async with asyncio.timeout(10):
            assert await waiting
        assert store._opened.wakeups._connection is not listening or listening.is_closed()


async def test_a_change_is_heard_of_at_once_not_by_looking(store, other, looked):
    assert not await store.wait_for_change(0.0)
    looked.clear()
    waiting = asyncio.ensure_future(store.wait_for_change(30.0))
    await looked.wait()
    assert not waiting.done()
    await other.commit([create("s")])
    async with asyncio.timeout(5):
        assert await waiting


async def test_telling_that_fails_harms_nothing(store, schemas):
    await store.commit([create("s")])
    record = (await store.load(["s"]))["s"].record
    async with schemas.connection() as connection:
        await connection.execute(f"ALTER SEQUENCE {schemas.common}.saga_changes RENAME TO gone")
        try:
            for _ in range(3):
                (result,) = await store.commit([follow(record)])
                record = (await store.load(["s"]))["s"].record
            assert record.version == 5, result
            await store.close()
        finally:
            await connection.execute(f"ALTER SEQUENCE {schemas.common}.gone RENAME TO saga_changes")


async def test_a_closed_store_has_told_what_it_wrote(store, other):
    assert not await other.wait_for_change(0.0)
    await store.commit([create("s")])
    await store.close()
    async with asyncio.timeout(5):
        assert await other.wait_for_change(5.0)


async def test_whoever_waits_while_the_store_is_closed_leaves_no_connection_behind(url, schemas):
    """It took the end of its connection for a loss, and made another."""
    store = await opened(url, application_name="waits")
    waiting = asyncio.ensure_future(store.wait_for_change(30.0))
    async with schemas.connection() as connection, asyncio.timeout(20):
        used = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'waits'"
        while store._opened.wakeups._connection is None:  # noqa: ASYNC110 - it listens when it does
            await asyncio.sleep(0.01)
        await store.close()
        with pytest.raises(StoreUnavailable, match="closed"):
            await waiting
        while await connection.fetchval(used):  # noqa: ASYNC110 - a server process ends when it does
            await asyncio.sleep(0.01)
