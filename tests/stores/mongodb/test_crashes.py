"""The server is killed and started again on its files: what was acknowledged is there, and the same store goes on."""

import asyncio

from sagafsm.core.errors import OutcomeUnknown, StoreUnavailable
from sagafsm.store import Committed, Duplicate
from sagafsm.testing.appends import create, events, follow
from sagafsm.testing.conformance.base import whole
from sagafsm_mongo import MongoStore, sealing
from tests.servers.mongodb import MongoDB

KILLS = 2
SAGAS = 6


async def test_acknowledged_appends_survive_the_death_of_the_server(servers, monkeypatch):
    monkeypatch.setattr(sealing, "EVERY", 8)
    monkeypatch.setattr("pymongo.common.MIN_HEARTBEAT_INTERVAL", 0.02)
    with servers.another(MongoDB) as server:
        url = f"{server.url}{'&' if '?' in server.url else '?'}serverSelectionTimeoutMS=300&socketTimeoutMS=3000"
        store = MongoStore.from_url(url)
        await store.setup()
        acknowledged, over = dict.fromkeys((f"s{n}" for n in range(SAGAS)), 0), asyncio.Event()

        async def write(name):
            append = create(name)
            while True:
                try:
                    (result,) = await store.commit([append])
                except (StoreUnavailable, OutcomeUnknown):
                    await asyncio.sleep(0.02)
                    continue
                assert isinstance(result, (Committed, Duplicate)), result
                assert result.version == append.expected_version + len(append.events)
                acknowledged[name] = result.version
                if over.is_set():
                    return
                record = (await load(name)).record
                append = follow(record, events=events(2))

        async def load(name):
            while True:
                try:
                    return (await store.load([name]))[name]
                except StoreUnavailable:
                    await asyncio.sleep(0.02)

        writers = [asyncio.ensure_future(write(name)) for name in acknowledged]
        for _ in range(KILLS):
            before = dict(acknowledged)
            async with asyncio.timeout(30):
                while any(acknowledged[name] <= before[name] + 4 for name in acknowledged):  # noqa: ASYNC110 - they write
                    await asyncio.sleep(0.01)
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
        over.set()
        await asyncio.gather(*writers)
        for name, version in acknowledged.items():
            assert (await whole(store, name)).version == version
        await store.close()
