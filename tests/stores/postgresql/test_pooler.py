"""A pooler in between that gives each transaction another connection: it is noticed, and nothing depends on it."""

import asyncio
from contextlib import asynccontextmanager

import asyncpg

from sagafsm.testing.appends import KIND, create, follow
from sagafsm_sql import SQLStore

POOLERS = [
    "application_name",
    "client_encoding",
    "DateStyle",
    "TimeZone",
    "standard_conforming_strings",
    "IntervalStyle",
]
"""What pgbouncer itself sets for its clients."""


@asynccontextmanager
async def asyncpg_connection(url):
    connection = await asyncpg.connect(url, statement_cache_size=0)
    try:
        yield connection
    finally:
        await connection.close()


async def opened(url, **options):
    store = SQLStore.from_url(url, **options)
    await store.setup()
    return store


def prepares(store):
    return store._opened.pool._prepared


async def test_a_pooler_is_noticed(schemas, pooled):
    direct = await opened(schemas.url(await schemas.empty()))
    through = await opened(pooled.url(await pooled.empty()))
    assert (prepares(direct), prepares(through)) == (True, False)
    await direct.close()
    await through.close()


async def test_one_may_know_better(schemas, pooled):
    """Where the pooler keeps track of prepared statements, or pools sessions; or where something else is in between."""
    through = await opened(pooled.url(await pooled.empty()), prepared="yes")
    direct = await opened(schemas.url(await schemas.empty()), prepared="no")
    assert (prepares(direct), prepares(through)) == (False, True)
    assert len(await direct.commit([create("s")])) == 1
    await direct.close()
    await through.close()


async def test_no_statement_and_no_setting_is_left_on_the_servers_connections(pooled, pooler):
    async with asyncpg_connection(pooler.url) as connection:
        for _ in range(pooler.pool_size * 2):  # what others have left there
            await connection.execute("DISCARD ALL")
    store = await opened(pooled.url(await pooled.empty()))
    await store.commit([create(f"s{n}", due_at=1.0) for n in range(5)])
    await store.heartbeat("w", 100.0)
    records = [saga.record for saga in (await store.claim("w", [KIND], limit=5)).sagas]
    await asyncio.gather(*(store.commit([follow(record)]) for record in records))
    await asyncio.gather(*(store.counts() for _ in range(8)))
    left = (
        "SELECT (SELECT count(*) FROM pg_prepared_statements WHERE name <> ''), (SELECT string_agg(name, ' ') "
        "FROM pg_settings WHERE source = 'session' AND name <> ALL ($1::text[]))"
    )
    async with asyncpg_connection(pooler.url) as connection:
        for _ in range(pooler.pool_size * 2):  # in turns, so each of the server's connections is met
            assert tuple(await connection.fetchrow(left, POOLERS)) == (0, None)
    await store.close()


async def test_changes_are_heard_of_by_looking(pooled):
    """Nobody can listen through a pooler: it would be another's connection that hears."""
    url = pooled.url(await pooled.empty())
    first, second = await opened(url), await opened(url)
    waiting = asyncio.ensure_future(first.wait_for_change(20.0))
    await asyncio.sleep(0)
    await second.commit([create("s")])
    async with asyncio.timeout(10):
        assert await waiting
    assert first._opened.wakeups._connection is None
    await first.close()
    await second.close()
