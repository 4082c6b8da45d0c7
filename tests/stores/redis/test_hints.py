"""Hints: what others are told of, how often, and what a hint never does to a write."""

import asyncio
import time

import pytest
import redis

from sagafsm.core.errors import StoreUnavailable
from sagafsm.store import Committed
from sagafsm.testing.appends import create, events, follow, steady
from sagafsm_redis.hints import PAUSE
from tests.stores.redis.stores import beside


def published(url):
    with redis.Redis.from_url(url) as client:
        return int(client.info("commandstats").get("cmdstat_publish", {"calls": 0})["calls"])


async def test_many_writes_are_few_hints(own, own_server):
    second = beside(own)
    await second.setup()
    began = time.monotonic()
    for n in range(300):
        await own.commit([create(f"s{n}")])
    assert await second.wait_for_change(5.0)
    assert 1 <= published(own_server.url) <= (time.monotonic() - began) / PAUSE + 2
    await second.close()


async def test_what_concerns_only_its_owner_is_told_to_nobody(own, own_server):
    await own.commit([create("s")])
    second = beside(own)
    record = (await own.load(["s"]))["s"].record
    await own._store.hints._telling
    await second.setup()
    before = published(own_server.url)
    for _ in range(5):
        assert await own.commit([steady(record, events=events(1))]) == [Committed(record.version + 1)]
        record = (await own.load(["s"]))["s"].record
    assert not await second.wait_for_change(0.05)
    assert published(own_server.url) == before
    await second.close()


async def test_a_store_that_is_closed_at_once_has_told_before(own):
    for n in range(5):
        second = beside(own)
        await second.setup()
        await second.commit([create(f"s{n}")])
        await second.close()
        assert await own.wait_for_change(5.0)


async def test_what_is_let_go_is_told(own):
    second = beside(own)
    await second.setup()
    await own.commit([create("s", owner="w", due_at=1.0)])
    assert await second.wait_for_change(5.0)
    assert await own.release("s", worker_id="w", fence=1)
    assert await second.wait_for_change(5.0)
    await own.retire("w")
    assert await second.wait_for_change(5.0)
    await second.close()


async def test_a_hint_that_cannot_be_sent_harms_no_write(own, raw):
    raw.execute_command("ACL", "SETUSER", "default", "-publish")
    for n in range(3):
        assert await own.commit([create(f"s{n}")]) == [Committed(2)]
        await asyncio.sleep(0)
    record = (await own.load(["s0"]))["s0"].record
    assert await own.commit([follow(record)]) == [Committed(3)]


async def test_whoever_waits_while_the_store_is_closed_leaves_no_connection_behind(own, raw):
    """It took the end of its connection for a loss, and made another."""
    second = beside(own)
    await second.setup()
    before = len(raw.client_list(_type="pubsub"))
    waiting = asyncio.ensure_future(second.wait_for_change(30.0))
    await asyncio.sleep(0)
    await second.close()
    with pytest.raises(StoreUnavailable, match="the store is closed"):
        await waiting
    async with asyncio.timeout(10):
        while len(raw.client_list(_type="pubsub")) != before - 1:  # noqa: ASYNC110 - it notices when it does
            await asyncio.sleep(0.01)
