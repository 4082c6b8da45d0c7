"""A batch is one statement and one transaction; two of them are under way at once, and collect what comes meanwhile."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from sagafsm import Orchestrator, Saga, step
from sagafsm.core.errors import OutcomeUnknown, StoreUnavailable
from sagafsm.store import Committed, Snapshot
from sagafsm.testing.appends import create, events, finish, follow, steady
from sagafsm_sql.postgresql.store import PostgreSQLStore, from_url
from sagafsm_sql.postgresql.writer import Writer


class Four(Saga[dict]):
    """Four steps that do nothing."""

    @step(compensatable=False)
    async def one(self, data: dict) -> int:
        return 1

    @step(compensatable=False)
    async def two(self, data: dict) -> int:
        return 2

    @step(compensatable=False)
    async def three(self, data: dict) -> int:
        return 3

    @step(compensatable=False)
    async def four(self, data: dict) -> int:
        return 4


@asynccontextmanager
async def statements_of_commits(store):
    """What is sent over the connections that commit."""
    async with store._opened.lanes.connection(), store._opened.lanes.connection():
        pass  # now both are open
    sent = []
    connections = [connection for connection, _ in store._opened.lanes._idle]
    for connection in connections:
        connection.add_query_logger(lambda query: sent.append(query.query))
    yield sent
    await asyncio.sleep(0)


async def transactions(schemas):
    """How many different transactions wrote the rows that are there."""
    tables = ("sagas", "saga_log", "saga_tags", "saga_snapshots")
    async with schemas.connection() as connection:
        rows = " UNION ALL ".join(f"SELECT xmin::text FROM {schemas.common}.{table}" for table in tables)
        return await connection.fetchval(f"SELECT count(DISTINCT xmin) FROM ({rows}) r")


async def test_a_batch_is_one_statement_and_one_transaction(store, schemas):
    """Births, further steps, ends, long appends, tags and snapshots together."""
    await store.commit([create(f"old{n:03}") for n in range(100)])
    records = [saga.record for saga in (await store.load([f"old{n:03}" for n in range(100)])).values()]
    batch = [create(f"new{n}", tags={"shop": "7"}, events=events(n % 5 + 1)) for n in range(100)]
    batch += [steady(record, events=events(2)) for record in records[:40]]
    batch += [follow(record, snapshot=Snapshot(version=2, data=b"{}")) for record in records[40:70]]
    batch += [finish(record) for record in records[70:]]
    async with statements_of_commits(store) as sent:
        results = await store.commit(batch)
        await asyncio.sleep(0)
    assert [type(result) for result in results] == [Committed] * 200
    assert [query.splitlines()[-1] for query in sent] == [
        f'SELECT "{schemas.common}".saga_commit($1, $2, $3, $4, $5, $6)'
    ]
    assert await transactions(schemas) == 2  # the hundred before, and the batch


async def test_a_batch_of_which_some_is_refused_takes_one_more_statement(store):
    await store.commit([create("a"), create("b")])
    record = (await store.load(["a"]))["a"].record
    async with statements_of_commits(store) as sent:
        results = await store.commit([follow(record), create("b", digest="other"), create("c")])
        await asyncio.sleep(0)
    assert [type(result).__name__ for result in results] == ["Committed", "Exists", "Committed"]
    assert len(sent) == 2


async def test_two_batches_are_written_at_once_and_a_third_waits_for_a_lane(store, schemas):
    await store.commit([create("held")])
    record = (await store.load(["held"]))["held"].record
    async with schemas.connection() as holder:
        await holder.execute(f"BEGIN; SELECT FROM {schemas.common}.sagas WHERE id = 'held' FOR UPDATE")
        first = asyncio.ensure_future(store.commit([follow(record)]))
        assert await store.commit([create("a"), create("b")]) == [Committed(2)] * 2  # the other lane is free
        second = asyncio.ensure_future(store.commit([follow(record)]))
        third = asyncio.ensure_future(store.commit([create("c")]))
        done, _ = await asyncio.wait([first, second, third], timeout=0.3)
        assert not done
        assert list(await store.load(["a", "b", "c"])) == ["a", "b"]  # reading has connections of its own
        await holder.execute("ROLLBACK")
        found = [type(result).__name__ for (result,) in await asyncio.gather(first, second, third)]
    assert sorted(found) == ["Committed", "Committed", "Conflict"]


async def test_who_waits_for_a_lane_for_too_long_is_told_that_nothing_was_written(url):
    """The lane is held by the test: whoever waits for it cannot be faster than whoever has it."""
    store = from_url(url, pool_size=2, timeout=0.5)
    await store.setup()
    try:
        async with store._opened.lanes.connection():
            with pytest.raises(StoreUnavailable, match=r"no connection.*nothing was written; raise pool_size"):
                await store.commit([create("a")])
        assert await store.load(["a"]) == {}
        assert await store.commit([create("a")]) == [Committed(2)]
    finally:
        await store.close()


async def test_who_has_a_lane_and_hears_nothing_does_not_know_what_was_written(url, schemas):
    store = from_url(url, pool_size=2, timeout=0.5)
    await store.setup()
    try:
        await store.commit([create("held")])
        record = (await store.load(["held"]))["held"].record
        async with schemas.connection() as holder:
            await holder.execute(f"BEGIN; SELECT FROM {schemas.common}.sagas WHERE id = 'held' FOR UPDATE")
            with pytest.raises(OutcomeUnknown, match="does not answer in time"):
                await store.commit([follow(record)])
            await holder.execute("ROLLBACK")
    finally:
        await store.close()


class Counting(PostgreSQLStore):
    """Notes the size of each batch, and how many are under way at once."""

    def __init__(self, options):
        super().__init__(options)
        self.sizes = []
        self.under_way = self.most = 0

    async def commit(self, batch):
        self.sizes.append(len(batch))
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            return await super().commit(batch)
        finally:
            self.under_way -= 1


async def test_sagas_in_flight_share_their_commits(store):
    counting = Counting(store.options)
    async with Orchestrator(counting, sagas=[Four]) as works:
        await asyncio.gather(*(works.run(Four, {"n": n}, saga_id=f"s{n}", timeout=50) for n in range(200)))
    assert counting.most == 2
    assert sum(counting.sizes) == 1000
    assert len(counting.sizes) < 250, "at least four appends to a batch"
    assert max(counting.sizes) >= 40


async def test_what_was_written_is_not_denied_where_the_rest_cannot_be_asked_about(store, monkeypatch):
    """The server goes away after a batch of which it refused a part, or in the middle of a batch in pieces."""
    await store.commit([create("taken")])

    async def away(self, appends):
        raise StoreUnavailable("the server went away; nothing was written")

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "_reasons", away)
        with pytest.raises(OutcomeUnknown, match="a part of the batch may have been written"):
            await store.commit([create("a"), create("taken", digest="other")])
        patch.setattr("sagafsm_sql.postgresql.writer.pieces", lambda appends: [[append] for append in appends])
        with pytest.raises(OutcomeUnknown, match="a part of the batch may have been written"):
            await store.commit([create("b"), create("taken", digest="other")])
        with pytest.raises(StoreUnavailable, match="the server went away; nothing was written"):
            await store.commit([create("taken", digest="other"), create("c")])
    assert list(await store.load(["a", "b", "c"])) == ["a", "b"]
