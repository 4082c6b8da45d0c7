"""Connections: asked whether they live after a rest, taken by nobody twice, and never used after a fork."""

import asyncio
import os

import pytest

from sagafsm.core.errors import StoreError, StoreUnavailable
from sagafsm.store import Committed
from sagafsm.testing.appends import create
from sagafsm_sql import SQLStore
from sagafsm_sql.postgresql import pool


def pids(store):
    """The server's processes that serve the idle connections of the store."""
    opened = store._opened
    return {connection.get_server_pid() for one in (opened.lanes, opened.pool) for connection, _ in one._idle}


async def test_a_connection_that_lay_idle_is_asked_whether_it_lives(store, monkeypatch):
    """The driver cannot send an empty statement: every call after a rest of 30 seconds broke."""
    monkeypatch.setattr(pool, "IDLE", -1.0)
    assert await store.commit([create("a")]) == [Committed(2)]
    before = pids(store)
    for n in range(3):
        assert await store.commit([create(f"b{n}")]) == [Committed(2)]
        assert len(await store.load(["a"])) == 1
    assert before <= pids(store)  # and perhaps one that tells others


async def test_an_idle_connection_that_died_is_replaced_before_it_is_used(store, schemas, monkeypatch):
    """A firewall, a restart: no write is in doubt for it."""
    monkeypatch.setattr(pool, "IDLE", -1.0)
    await store.commit([create("a")])
    await store.load(["a"])
    dead = pids(store)
    async with schemas.connection() as connection:
        for pid in dead:
            await connection.fetchval("SELECT pg_terminate_backend($1, 5000)", pid)
    assert await store.commit([create("b")]) == [Committed(2)]
    assert sorted(await store.load(["a", "b"])) == ["a", "b"]
    assert not dead & pids(store)


async def test_no_more_connections_are_opened_than_the_url_allows(url, schemas):
    store = SQLStore.from_url(url, pool_size=4, application_name="counted")
    await store.setup()
    await asyncio.gather(
        *(store.commit([create(f"s{n}")]) for n in range(40)), *(store.counts() for _ in range(40)), store.now()
    )
    async with schemas.connection() as connection:
        found = await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'counted'")
    assert found == 4
    await store.close()
    async with schemas.connection() as connection, asyncio.timeout(10):
        while await connection.fetchval(  # noqa: ASYNC110 - the server tells nobody when a process of its has ended
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'counted'"
        ):
            await asyncio.sleep(0.01)


async def test_a_store_is_not_used_after_a_fork(store, monkeypatch):
    mine = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: mine + 1)
    for call in (store.commit([create("s")]), store.load(["s"])):
        with pytest.raises(StoreError, match="before the process forked"):
            await call
    monkeypatch.undo()
    assert await store.load(["s"]) == {}


async def test_a_closed_store_says_so(url):
    store = SQLStore.from_url(url)
    await store.setup()
    await store.close()
    with pytest.raises(StoreUnavailable, match=r"call setup\(\) first; nothing was written"):
        await store.load(["s"])
    await store.setup()
    assert await store.load(["s"]) == {}
    await store.close()


async def test_whoever_waits_for_a_connection_while_the_store_is_closed_gets_none(url, monkeypatch):
    """It got a new one, after the store had said that it was closed."""
    store = SQLStore.from_url(url, pool_size=2)
    await store.setup()
    taken = store._opened.pool
    async with taken.connection():
        waiting = asyncio.ensure_future(store.load(["s"]))
        while not taken._room._waiters:  # noqa: ASYNC110 - it waits for nothing else
            await asyncio.sleep(0)
        await store.close()
    monkeypatch.setattr(pool, "connect", None)
    with pytest.raises(StoreUnavailable, match="the store is closed"):
        await waiting


@pytest.mark.parametrize("turns", range(1, 7))
async def test_a_close_that_is_cut_short_leaves_no_connection_behind(url, turns):
    store = SQLStore.from_url(url)
    await store.setup()
    await store.wait_for_change(0.0)
    await asyncio.gather(store.commit([create("s")]), *(store.load(["s"]) for _ in range(4)))
    opened = store._opened
    connections = {connection for one in (opened.lanes, opened.pool) for connection, _ in one._idle}
    connections |= opened.lanes._used | opened.pool._used | {opened.wakeups._connection}
    assert len(connections) >= 6
    closing = asyncio.ensure_future(store.close())
    for _ in range(turns):
        await asyncio.sleep(0)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    assert [connection for connection in connections if not connection.is_closed()] == []
