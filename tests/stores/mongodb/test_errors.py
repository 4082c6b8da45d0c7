"""Which of our errors becomes of each of the driver's, and of replies that this test's server does not give."""

import asyncio
import gc

import pytest
from bson.errors import InvalidBSON
from pymongo import errors as driver

from sagafsm.core.errors import OutcomeUnknown, StoreCorrupt, StoreUnavailable
from sagafsm.store import Committed, Duplicate, Refused
from sagafsm.testing.appends import create, follow
from sagafsm.testing.conformance.base import commit, read
from sagafsm_mongo import MongoStore
from sagafsm_mongo.errors import translate


def caused(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "reading", "writing"),
    [
        (driver.AutoReconnect("connection closed"), StoreUnavailable, OutcomeUnknown),
        (driver.NetworkTimeout("timed out"), StoreUnavailable, OutcomeUnknown),
        (driver.ConnectionFailure("lost"), StoreUnavailable, OutcomeUnknown),
        (driver.NotPrimaryError("stepped down"), StoreUnavailable, OutcomeUnknown),
        (driver.WTimeoutError("waiting for replication timed out", 64), StoreUnavailable, OutcomeUnknown),
        (driver.WriteConcernError("no majority", 100), StoreUnavailable, OutcomeUnknown),
        (driver.ExecutionTimeout("operation exceeded time limit", 50), StoreUnavailable, OutcomeUnknown),
        (driver.OperationFailure("interrupted", 11601), StoreUnavailable, OutcomeUnknown),
        (driver.OperationFailure("nobody has heard of this", 987654), StoreUnavailable, OutcomeUnknown),
        (driver.CursorNotFound("cursor id 7 not found", 43), StoreUnavailable, OutcomeUnknown),
        (driver.ProtocolError("what?"), StoreUnavailable, OutcomeUnknown),
        (OSError("broken pipe"), StoreUnavailable, OutcomeUnknown),
        (driver.ServerSelectionTimeoutError("no primary"), StoreUnavailable, StoreUnavailable),
        (driver.WaitQueueTimeoutError("no connection free"), StoreUnavailable, StoreUnavailable),
        (caused(driver.AutoReconnect("refused"), ConnectionRefusedError()), StoreUnavailable, StoreUnavailable),
        (driver.OperationFailure("not authorized", 13), StoreUnavailable, StoreUnavailable),
        (driver.OperationFailure("authentication failed", 18), StoreUnavailable, StoreUnavailable),
        (driver.OperationFailure("bad auth", 8000), StoreUnavailable, StoreUnavailable),
        (driver.ConfigurationError("wire version 6"), StoreUnavailable, StoreUnavailable),
        (driver.OperationFailure("no such command", 59), StoreUnavailable, StoreUnavailable),
        (driver.InvalidOperation("cannot use a client after close"), StoreUnavailable, StoreUnavailable),
        (InvalidBSON("bad"), StoreCorrupt, StoreCorrupt),
    ],
)
def test_each_error_of_the_driver_is_one_of_ours(error, reading, writing):
    assert type(translate(error, "MongoDB database 'x'", writing=False)) is reading
    assert type(translate(error, "MongoDB database 'x'", writing=True)) is writing
    assert "MongoDB database 'x'" in str(translate(error, "MongoDB database 'x'", writing=True))


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (driver.OperationFailure("Authentication failed.", 18), "authSource=admin"),
        (driver.OperationFailure("not authorized on x to execute command { insert: secret", 13), "role readWrite"),
        (
            driver.ServerSelectionTimeoutError("refused, Timeout: 5s, Topology Description: secret"),
            "is there a primary",
        ),
        (driver.ConfigurationError("requires at least 9 (MongoDB 4.4)"), "MongoDB 4.4"),
        (driver.OperationFailure("odd", 7, {"secret": 1}), "odd"),
    ],
)
def test_an_error_says_what_to_do_and_nothing_of_what_is_stored(error, hint):
    for writing in (True, False):
        said = str(translate(error, "MongoDB database 'x'", writing=writing))
        assert hint in said
        assert "secret" not in said


class Replying:
    """A database of the driver that does what it is asked, and answers something else to the first ``command``."""

    def __init__(self, database, change, *, done=True):
        self._database, self._change, self._done = database, change, done
        self.client, self.name = database.client, database.name

    async def command(self, command, **options):
        if next(iter(command)) not in ("insert", "update") or self._change is None:
            return await self._database.command(command, **options)
        change, self._change = self._change, None
        reply = await self._database.command(command, **options) if self._done else {"ok": 1, "n": 0}
        return change(reply)


def replies(store, change, *, done=True):
    """The store's next write is answered so; ``done``: after it was done."""
    database = store._parts.database
    database._database = Replying(database._database, change, done=done)


TOO_LATE = {"code": 64, "errmsg": "waiting for replication timed out", "errInfo": {"wtimeout": True}}


async def test_a_write_that_no_majority_confirms_in_time_is_unknown_and_can_be_handed_in_again(store):
    record = await commit(store, create("s"))
    batch = [follow(record)]
    replies(store, lambda reply: {**reply, "writeConcernError": TOO_LATE})
    with pytest.raises(OutcomeUnknown, match="not confirmed by a majority"):
        await store.commit(batch)
    assert await store.commit(batch) == [Duplicate(3)]


async def test_a_part_that_is_not_confirmed_makes_the_batch_unknown(store):
    record = await commit(store, create("s"))
    batch = [follow(record), create("t")]
    replies(store, lambda reply: {**reply, "writeConcernError": TOO_LATE})
    with pytest.raises(OutcomeUnknown):
        await store.commit(batch)
    assert sorted(map(type, await store.commit(batch)), key=str) == [Duplicate, Duplicate]


@pytest.mark.parametrize("code", [10334, 17419, 121])
async def test_an_operation_that_the_server_refuses_is_refused_alone(store, code):
    a, b = [await commit(store, create(name)) for name in "ab"]
    refused = {"index": 0, "code": code, "errmsg": "too large"}
    replies(store, lambda reply: {"ok": 1, "n": 1, "writeErrors": [refused]}, done=False)
    results = await store.commit([follow(a, problem="refused"), follow(b)])
    assert type(results[0]) is Refused
    assert "too large" in results[0].reason


@pytest.mark.parametrize("code", [11600, 91, 189, 112, 987654])
async def test_an_operation_that_fails_in_any_other_way_makes_the_batch_unknown(store, code):
    a, b = [await commit(store, create(name)) for name in "ab"]
    failed = {"index": 1, "code": code, "errmsg": "interrupted at shutdown"}
    batch = [follow(a), follow(b)]
    replies(store, lambda reply: {"ok": 1, "n": 1, "writeErrors": [failed]})
    with pytest.raises(OutcomeUnknown, match="interrupted"):
        await store.commit(batch)
    assert await store.commit(batch) == [Duplicate(3), Duplicate(3)]


async def test_who_was_accepted_is_known_although_the_server_only_counts(store):
    """One of them is refused by the server's count alone: each of the others has its own answer."""
    records = [await commit(store, create(name)) for name in "abcd"]
    batch = [follow(record, events=() if n == 2 else follow(record).events) for n, record in enumerate(records)]
    await store.commit([batch[1]])
    assert await store.commit(batch) == [Committed(3), Duplicate(3), Committed(2), Committed(3)]


async def test_what_no_majority_has_yet_is_neither_a_duplicate_nor_a_conflict(store):
    """The primary has applied an append, and what a majority has is still the saga before it."""
    batch = [follow(await commit(store, create("s")))]
    database = store._parts.database
    find = database.find
    (before,) = await find("sagas", {"_id": "s"})
    assert await store.commit(batch) == [Committed(3)]

    async def find_what_a_majority_has(collection, where, **options):
        return [before] if collection == "sagas" else await find(collection, where, **options)

    database.find = find_what_a_majority_has
    with pytest.raises(OutcomeUnknown):
        await store.commit(batch)
    del database.find
    assert await store.commit(batch) == [Duplicate(3)]


async def test_a_call_that_fails_after_its_caller_has_gone_is_no_error_that_nobody_took(store, caplog):
    begun, over = asyncio.Event(), asyncio.Event()

    async def fail(*_):
        begun.set()
        await over.wait()
        raise StoreUnavailable("the server is away")

    store._parts.leases.workers = fail
    call = asyncio.ensure_future(store.workers())
    await begun.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    over.set()
    await store.close()
    gc.collect()
    assert "never retrieved" not in caplog.text


async def test_a_damaged_document_does_not_hide_the_others(store, raw):
    await store.commit([create(name) for name in "abc"])
    raw["sagas"].update_one({"_id": "b"}, {"$unset": {"kind": "", "fence": "", "stuck": "", "log": ""}})
    assert sorted(await store.load(["a", "b", "c"])) == ["a", "b", "c"]
    raw["sagas"].update_one({"_id": "b"}, {"$set": {"version": 9}})
    found = await store.load(["a", "b", "c"])
    assert (found["b"].record.version, len(found["b"].events)) == (9, 2)
    assert found["a"] == await read(store, "a")


async def test_a_close_that_is_cut_short_closes_the_client_all_the_same(url):
    store = MongoStore.from_url(url)
    await store.setup()
    client = store._client
    reading = asyncio.ensure_future(store.load(["s"]))
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(store.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await asyncio.gather(reading, return_exceptions=True)
    with pytest.raises(driver.InvalidOperation, match="after close"):
        await client.admin.command("ping")
