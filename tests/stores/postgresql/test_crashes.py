"""The server crashes, connections are ended, processes freeze: nothing acknowledged is lost, nothing is done twice."""

import asyncio
import random

import pytest

from sagafsm import Orchestrator, Rejected, Saga, SagaState, Settings, step
from sagafsm.core.errors import StoreError
from sagafsm.store import Committed, Duplicate
from sagafsm.testing.appends import create, events, follow
from sagafsm_sql import SQLStore
from tests.servers.postgresql import PostgreSQL

SAGAS = 60
CALLED: list[tuple[str, str]] = []


class Trip(Saga[dict]):
    """Three steps; of every third saga the last is refused, and the others are undone."""

    @step
    async def book(self, data: dict) -> None:
        await called("book", data)

    @book.compensation
    async def cancel(self, data: dict) -> None:
        await called("cancel", data)

    @step
    async def pay(self, data: dict) -> None:
        await called("pay", data)

    @pay.compensation
    async def refund(self, data: dict) -> None:
        await called("refund", data)

    @step(compensatable=False)
    async def go(self, data: dict) -> None:
        await called("go", data)
        if data["n"] % 3 == 0:
            raise Rejected("not today")


async def called(name, data):
    CALLED.append((name, data["n"]))
    await asyncio.sleep(0.02)


@pytest.fixture(autouse=True)
def nothing_called():
    CALLED.clear()


async def all_sagas(orchestrator):
    async def one(n):
        await asyncio.sleep(n * 0.03)
        return await orchestrator.run(Trip, {"n": n}, saga_id=f"trip-{n}", timeout=50)

    return await asyncio.gather(*(one(n) for n in range(SAGAS)))


async def audit(orchestrator, ended):
    """Every saga ended as it should, each call was made once, and every log is whole."""
    for n, saga in enumerate(ended):
        failed = n % 3 == 0
        assert saga.state is (SagaState.FAILED if failed else SagaState.COMPLETED)
        expected = ["book", "pay", "go", "refund", "cancel"] if failed else ["book", "pay", "go"]
        assert [name for name, of in CALLED if of == n] == expected, f"trip-{n}"
        await whole(orchestrator.store, f"trip-{n}")


async def whole(store, saga_id):
    """The record; in the same view there are as many events as its version says. Asked until somebody answers."""
    async with asyncio.timeout(20):
        while True:
            try:
                stored = (await store.load([saga_id]))[saga_id]
            except StoreError:
                await asyncio.sleep(0.02)
                continue
            assert [event.seq for event in stored.events] == list(range(1, stored.record.version + 1))
            return stored.record


@pytest.mark.timeout(180)
async def test_sagas_get_over_immediate_restarts_of_the_server(servers):
    with servers.another(PostgreSQL) as server:
        async with Orchestrator(f"{server.url}?timeout=2", sagas=[Trip], settings=Settings(store_patience=40)) as works:
            running = asyncio.ensure_future(all_sagas(works))
            in_time = 0
            for _ in range(3):
                await asyncio.sleep(0.5)
                in_time += not running.done()
                await asyncio.to_thread(server.crash)
                await asyncio.to_thread(server.start)  # which may take so long that they have ended by then
            assert in_time
            await audit(works, await running)


@pytest.mark.timeout(180)
async def test_sagas_get_over_connections_that_the_server_ends(url, schemas):
    chance = random.Random(5)
    settings = Settings(store_patience=40)
    async with Orchestrator(f"{url}&application_name=ended", sagas=[Trip], settings=settings) as works:
        running = asyncio.ensure_future(all_sagas(works))
        ended = 0
        async with schemas.connection() as connection:
            while not running.done():
                pids = await connection.fetch("SELECT pid FROM pg_stat_activity WHERE application_name = 'ended'")
                if pids:
                    ended += await connection.fetchval("SELECT pg_terminate_backend($1)", chance.choice(pids)[0])
                await asyncio.sleep(0.02)
        assert ended > 20
        await audit(works, await running)


@pytest.mark.timeout(180)
async def test_what_was_acknowledged_survives_a_crash_of_the_server(servers):
    with servers.another(PostgreSQL) as server:
        store = SQLStore.from_url(f"{server.url}?timeout=2")
        await store.setup()
        await store.commit([create(f"s{n}") for n in range(8)])
        acknowledged: dict[str, int] = {}
        over = asyncio.Event()

        async def write(name):
            while not over.is_set():
                try:
                    record = (await store.load([name]))[name].record
                    append = follow(record, events=events(3))
                    (result,) = await store.commit([append])
                except StoreError:
                    await asyncio.sleep(0.01)
                    continue
                assert isinstance(result, (Committed, Duplicate)), result
                acknowledged[name] = result.version

        writers = [asyncio.ensure_future(write(f"s{n}")) for n in range(8)]
        for end in (server.kill, server.crash, server.kill):
            await asyncio.sleep(0.3)
            await asyncio.to_thread(end)
            for name, version in acknowledged.items():
                assert version > 2, name
            before = dict(acknowledged)
            await asyncio.to_thread(server.start)
            for name, version in before.items():
                record = await whole(store, name)
                assert record.version >= version, name
                assert record.version % 3 == 2
        over.set()
        await asyncio.gather(*writers)
        await store.close()


async def test_a_server_that_freezes_is_given_up_and_found_again(servers):
    with servers.another(PostgreSQL) as server:
        store = SQLStore.from_url(f"{server.url}?timeout=0.5")
        await store.setup()
        await store.commit([create("s")])
        record = (await store.load(["s"]))["s"].record
        server.pause()
        append = follow(record)
        async with asyncio.timeout(20):
            with pytest.raises(StoreError):
                await store.commit([append])
            with pytest.raises(StoreError):
                await store.load(["s"])
        server.resume()
        (result,) = await store.commit([append])
        assert result in (Committed(3), Duplicate(3))
        await store.close()
