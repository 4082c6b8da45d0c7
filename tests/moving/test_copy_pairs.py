"""Every store that comes with sagafsm, copied into every other one."""

import asyncio
import itertools
import uuid
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

import pymongo
import pytest
from msgspec.structs import replace

from sagafsm import InvalidInput, Orchestrator, SagaDefinition, Sleep, Step, copy_sagas
from sagafsm.moving import archive_sagas, ended, mark_of, read_archive
from sagafsm.moving.whole import log_hash, read_whole
from sagafsm.runtime.memory import MemoryStore
from sagafsm.store import Filter, NewEvent, Snapshot
from sagafsm.testing.appends import KIND, create, events
from sagafsm_mongo import MongoStore
from sagafsm_sql import SQLStore
from tests.servers.mongodb import MongoDB
from tests.servers.postgresql import PostgreSQL
from tests.servers.redis import Redis
from tests.stores.postgresql.databases import Schemas
from tests.stores.redis.stores import fresh

REAL_TIME = True
KINDS = ("sqlite", "postgresql", "redis", "mongodb")
ODD = (
    NewEvent("Happened", 1_700_000_000.123456, b'{"a": [1, 2.50, null], "b" : "\xc3\xa4\\n\\u0001"}'),
    NewEvent("Happened", 0.1 + 0.2, b'{"$set": {"a.b": "\\"; DROP TABLE sagas"}}'),
)


@asynccontextmanager
async def opened(kind, servers, tmp_path):
    """An empty store of this kind."""
    if kind == "memory":
        store, tidy = MemoryStore(), None
    elif kind == "sqlite":
        store, tidy = SQLStore.from_url(f"sqlite:///{tmp_path}/{uuid.uuid4().hex}.db"), None
    elif kind == "postgresql":
        schemas = Schemas(servers.url(PostgreSQL))
        store, tidy = SQLStore.from_url(schemas.url(await schemas.empty())), schemas.drop
    elif kind == "redis":
        store, tidy = fresh(servers.url(Redis)), None
    else:
        url, name = servers.url(MongoDB), f"test-{uuid.uuid4().hex[:16]}"
        store = MongoStore.from_url(urlunsplit(urlsplit(url)._replace(path=f"/{name}")))

        async def tidy():
            with pymongo.MongoClient(url) as client:
                client.drop_database(name)

    await store.setup()
    try:
        yield store
    finally:
        await store.close()
        if tidy is not None:
            await tidy()


async def fill(store):
    now = await store.now()
    await store.save_definition(KIND, b'{"steps": ["\xc3\xa4"] }')
    await store.commit(
        [
            create("odd", events=ODD, tags={"x": "ä'\" %", "y": "1"}, correlation_id="c", due_at=now - 5.25),
            create("asleep", events=events(1)),
            create("later", due_at=now + 1e6 + 1 / 3, state="pending", suspended=True, parent_id="gone"),
            create("stuck", stuck=True, state="compensating", problem="ü; as it was"),
            create("done", state="completed", finished_at=now - 10.5, tags={"x": "1"}),
            create("failed", state="failed", outcome="aborted", finished_at=now - 10, created_at=3.3),
            create("long", events=events(1200), snapshot=Snapshot(version=1100, data=b'{"n": 1}'), state="pending"),
            *(
                create(f"many-{n:03}", state="completed", finished_at=now - n, created_at=1e9 + n % 7)
                for n in range(150)
            ),
        ]
    )
    return now


async def everything(store):
    found, cursor = {}, None
    while True:
        page = await store.find(Filter(), cursor=cursor, limit=70)
        found |= await read_whole(store, [record.saga_id for record in page.records])
        cursor = page.cursor
        if cursor is None:
            return found


def comparable(sagas):
    return {
        name: (replace(saga.record, fence=0), log_hash(saga.record, saga.events), saga.snapshot)
        for name, saga in sagas.items()
    }


@pytest.mark.parametrize(("first", "second"), [("memory", "memory"), *itertools.permutations(KINDS, 2)])
async def test_whatever_is_in_one_store_is_the_same_in_the_other(first, second, servers, tmp_path):
    async with opened(first, servers, tmp_path) as source, opened(second, servers, tmp_path) as target:
        await fill(source)
        before = await everything(source)
        report = await copy_sagas(source, target, source_name="a", target_name="b")
        assert (report.ok, report.verified, report.moved) == (True, 157, 5)
        after = await everything(target)
        assert comparable(after) == comparable(before)
        assert await target.definitions() == await source.definitions()
        marked = await everything(source)
        assert {name for name, saga in marked.items() if mark_of(saga.record)} == {
            "odd", "asleep", "later", "stuck", "long",
        }  # fmt: skip
        assert all(after[name].record.fence > marked[name].record.fence for name in after)
        await source.heartbeat("w", 60)
        assert not (await source.claim("w", [KIND], limit=10)).sagas
        await target.heartbeat("w", 60)
        (taken,) = (await target.claim("w", [KIND], limit=10)).sagas
        assert taken.record.saga_id == "odd"
        assert await target.release("odd", worker_id="w", fence=taken.record.fence)
        # Back again, and what the way there and back left behind.
        report = await copy_sagas(target, source, source_name="b", target_name="a")
        assert (report.ok, report.moved, report.already) == (True, 5, 152)
        assert comparable(await everything(source)) == comparable(before)


def beside(kind, store):
    """A second store on the same database, not open."""
    if kind == "memory":
        second = MemoryStore()
        vars(second).update(vars(store))
        return second
    return store.twin()


@pytest.mark.parametrize("kind", ["memory", *KINDS])
async def test_one_database_under_two_names_is_not_copied_to_itself(kind, servers, tmp_path):
    async with opened(kind, servers, tmp_path) as store:
        await fill(store)
        before = await everything(store)
        second = beside(kind, store)
        await second.setup(migrate=False)
        try:
            with pytest.raises(InvalidInput, match="a and b are the same database"):
                await copy_sagas(store, second, source_name="a", target_name="b")
        finally:
            if kind != "memory":
                await second.close()
        assert await everything(store) == before
        assert not await store.workers()


@pytest.mark.parametrize("kind", ["memory", *KINDS])
async def test_a_saga_that_sleeps_in_one_store_wakes_up_in_the_other(kind, servers, tmp_path):
    done = []
    naps = SagaDefinition(
        name="naps",
        steps=[
            Step("first", lambda data: done.append(f"first {data}"), compensatable=False),
            Sleep("nap", 1.0),
            Step("last", lambda data: done.append(f"last {data}"), compensatable=False),
        ],
    )
    other = "sqlite" if kind != "sqlite" else "memory"
    async with opened(kind, servers, tmp_path) as source, opened(other, servers, tmp_path) as target:
        async with Orchestrator(source, sagas=[naps], poll_interval=0.1) as here:
            for n in range(3):
                await here.start(naps, n, saga_id=f"s{n}", tags={"n": str(n)})
            while len(done) < 3:  # noqa: ASYNC110 - what is waited for is a step of a saga
                await asyncio.sleep(0.01)
            report = await copy_sagas(source, target, source_name="a", target_name="b", wait=10)
            assert report.ok
        async with Orchestrator(target, sagas=[naps], poll_interval=0.1) as there:
            for n in range(3):
                saga = await there.wait(f"s{n}", timeout=20)
                assert (saga.state.value, saga.tags) == ("completed", {"n": str(n)})
        await source.setup()
        await target.setup()
    assert sorted(done) == sorted(f"{step} {n}" for step in ("first", "last") for n in range(3))


@pytest.mark.parametrize("kind", ["memory", *KINDS])
async def test_an_archive_of_any_store(kind, servers, tmp_path):
    async with opened(kind, servers, tmp_path) as store:
        before_that = await fill(store) - 20.5
        before = await everything(store)
        assert len([record async for page in ended(store, before_that) for record in page]) == 129
        await archive_sagas(store, tmp_path / "old", before_that, keep_ids=100.0)
        sagas = {saga.saga_id: saga for saga in read_archive(tmp_path / "old")}
        left = await everything(store)
        assert sagas.keys() | left.keys() == before.keys()
        assert not sagas.keys() & left.keys()
        for name, saga in sagas.items():
            assert (saga.record, list(saga.events)) == (before[name].record, list(before[name].events))
        (result,) = await store.commit([create(next(iter(sagas)))])
        assert result.purged
