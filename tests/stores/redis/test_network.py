"""The Redis store on a network that fails."""

import asyncio
import contextlib
import random
from urllib.parse import urlsplit

import attrs
import pytest

from sagafsm.core.errors import OutcomeUnknown, StoreUnavailable
from sagafsm.store import Duplicate
from sagafsm.testing.appends import create, follow
from sagafsm.testing.conformance.network import NetworkConformance
from sagafsm.testing.proxy import Proxy, Trouble
from sagafsm_redis import RedisStore
from sagafsm_redis.errors import NotSent
from sagafsm_redis.keys import Partitions
from sagafsm_redis.node import Node
from sagafsm_redis.options import Address, Options
from sagafsm_redis.packing import pack
from sagafsm_redis.router import Router, command
from sagafsm_redis.scripts import LOOK
from sagafsm_redis.topology import Topology
from tests.stores.redis.stores import fresh

LONG = 3600.0


@contextlib.asynccontextmanager
async def behind(store, url):
    """A proxy in front of the server, and a second store on the same database that goes through it."""
    parts = urlsplit(url)
    async with Proxy(parts.hostname, parts.port) as proxy:
        second = RedisStore.from_url(f"redis://{proxy.host}:{proxy.port}/0", prefix=store.options.prefix, timeout=0.5)
        await second.setup()
        try:
            yield proxy, second
        finally:
            proxy.heal()
            await second.close()


class TestRedisOnABadNetwork(NetworkConformance):
    @pytest.fixture
    async def store(self, url):
        self.url = url
        self.seen = fresh(url)
        await self.seen.setup()
        yield self.seen
        await self.seen.close()

    def server(self):
        parts = urlsplit(self.url)
        return parts.hostname, parts.port

    async def store_behind(self, proxy):
        url = f"redis://{proxy.host}:{proxy.port}/0"
        store = RedisStore.from_url(url, prefix=self.seen.options.prefix, timeout=0.5)
        await store.setup()
        return store


@attrs.frozen(kw_only=True)
class Detour(Options):
    """Options of a store on a cluster that reaches one of the servers through a proxy."""

    server: Address
    proxy: Address

    def connection_to(self, address):
        return super().connection_to(self.proxy if address == self.server else address)


@pytest.mark.timeout(180)
class TestRedisClusterOnABadNetwork(NetworkConformance):
    """All sagas are on one master, and the network to that one fails; the others tell who has which slot."""

    @pytest.fixture
    async def store(self, cluster_url):
        self.seen = fresh(cluster_url, partitions=1)
        await self.seen.setup()
        opened = self.seen._store
        self.host, _, port = (await opened.topology.node_of(opened.partitions.first)).name.partition(":")
        self.port = int(port)
        yield self.seen
        await self.seen.close()

    def server(self):
        return self.host, self.port

    async def store_behind(self, proxy):
        values = attrs.asdict(self.seen.options, recurse=False) | {"timeout": 0.5}
        detour = Detour(**values, server=self.server(), proxy=(proxy.host, proxy.port))
        store = RedisStore(detour)
        await store.setup()
        return store


@pytest.fixture
async def counter(url):
    """What sends commands over a network that fails, and what the server has counted."""
    parts = urlsplit(url)
    async with Proxy(parts.hostname, parts.port) as proxy:
        options = Options.from_url(
            f"redis://{proxy.host}:{proxy.port}/0", prefix=fresh(url).options.prefix, timeout=0.5
        )
        topology = Topology(options)
        key = f"{options.prefix}counter"
        direct = Topology(Options.from_url(url))
        first = Partitions("", 1, tagged=False).first

        async def count():
            return int(await Router(options, direct).one(command(first, "GET", key), write=False) or 0)

        yield proxy, Router(options, topology), command(first, "INCR", key), count
        await topology.close()
        await direct.close()


@pytest.mark.parametrize("trouble", [Trouble.LOSE_REPLY, Trouble.CUT_REPLY, Trouble.STALL])
async def test_no_command_is_sent_twice_by_the_client_itself(counter, trouble):
    """A client that tries again by itself would count twice, and call that once."""
    proxy, router, incr, count = counter
    await router.one(incr, write=True)
    for n in range(1, 6):
        strike = proxy.plan(trouble)
        with pytest.raises(OutcomeUnknown):
            await router.one(incr, write=True)
        await strike.over()
        proxy.heal()
        assert (strike.struck, await count()) == (1, 2 * n)
        assert await router.one(incr, write=True) == 2 * n + 1


async def test_a_connection_that_ended_unused_is_made_anew_and_nothing_is_in_doubt(counter):
    proxy, router, incr, count = counter
    node = await router._topology.node_of(incr.partition)
    for n in range(5):
        assert await router.one(incr, write=True) == n + 1
        channel = node._channels[""]
        proxy.cut()
        while not channel.closed:  # noqa: ASYNC110 - it notices by itself
            await asyncio.sleep(0)
    assert await count() == 5


@pytest.mark.timeout(120)
async def test_in_a_storm_of_cancellations_every_answer_belongs_to_its_question(store, url):
    chance = random.Random(5)
    names = [f"s{n}" for n in range(20)]
    await store.commit([create(name, correlation_id=f"of {name}") for name in names])

    async def ask(name):
        if chance.random() < 0.5:
            (saga,) = (await store.load([name])).values()
            assert (saga.record.saga_id, saga.record.correlation_id) == (name, f"of {name}")
        else:
            assert (await store.heartbeat(name, LONG)).worker_id == name
            assert (await store.commit([create(name, digest=name)]))[0].same is False

    for _ in range(100):
        tasks = [asyncio.ensure_future(ask(name)) for name in names]
        for task in tasks:
            if chance.random() < 0.3:
                await asyncio.sleep(0)
            if chance.random() < 0.5:
                task.cancel()
        for answer in await asyncio.gather(*tasks, return_exceptions=True):
            assert answer is None or isinstance(answer, asyncio.CancelledError), repr(answer)
    assert sorted(worker.worker_id for worker in await store.workers()) == sorted(names)


async def test_what_was_taken_is_handed_out_although_the_look_afterwards_fails(store, url):
    """A claim is answered with what it took: nobody else would take that up while the worker lives."""
    async with behind(store, url) as (proxy, second):
        await store.commit([create("s", due_at=1.0)])
        await store.heartbeat("w", LONG)
        await store.claim("w", ["Nothing@1"], limit=1)  # so that the server knows the script
        strike = proxy.plan(Trouble.CUT_BEFORE, containing=LOOK.digest, request=2)
        claim = await second.claim("w", ["Order@1"], limit=5)
        assert strike.struck
        assert ([saga.record.saga_id for saga in claim.sagas], claim.next_due) == (["s"], 0.0)


async def test_all_who_need_a_connection_wait_for_the_same_one_and_no_longer():
    """Each tried for itself, one after the other: the last of ten waited ten times as long as it was to."""
    met: list[asyncio.StreamWriter] = []

    async def say_nothing(reader, writer):
        met.append(writer)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    node = Node("silent", Options.from_url("redis://127.0.0.1").connection_to(address), 0.1)
    ping = pack("PING")
    outcomes = await asyncio.gather(*(node.call([ping], 1) for _ in range(10)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [NotSent] * 10
    assert {type(outcome.__cause__) for outcome in outcomes} == {TimeoutError}
    assert len(met) == 1
    with pytest.raises(NotSent):
        await node.call([ping], 1)
    assert len(met) == 2  # the next one tries again
    await node.close()
    server.close()


async def test_an_append_whose_reply_was_lost_is_found_in_the_log(store, url):
    async with behind(store, url) as (proxy, second):
        await store.commit([create("s")])
        append = follow((await store.load(["s"]))["s"].record)
        await second.commit([create("other")])
        proxy.plan(Trouble.LOSE_REPLY)
        with pytest.raises(OutcomeUnknown, match="may have been applied"):
            await second.commit([append])
        proxy.heal()
        assert await second.commit([append]) == [Duplicate(3)]


async def test_whoever_waits_for_changes_is_told_that_it_may_have_missed_some(store, url):
    async with behind(store, url) as (proxy, second):
        assert not await second.wait_for_change(0.01)
        proxy.cut()
        assert await second.wait_for_change(5.0)
        assert not await second.wait_for_change(0.01)
        proxy.refuse()
        with pytest.raises(StoreUnavailable, match="cannot tell of changes"):
            await second.wait_for_change(5.0)
        proxy.heal()
        assert await second.wait_for_change(5.0)
