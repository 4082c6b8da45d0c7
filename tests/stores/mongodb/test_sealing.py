"""The tail of a log leaves the saga's document, and nobody notices."""

import asyncio

import bson
import pytest

from sagafsm.core.errors import StoreUnavailable
from sagafsm.store import Append, Committed, Conflict, Duplicate, Filter, NewEvent, Snapshot
from sagafsm.testing.appends import create, events, finish, follow
from sagafsm.testing.conformance import AppendConformance, BatchConformance, KeepConformance, RaceConformance
from sagafsm.testing.conformance.base import commit, read, whole
from sagafsm_mongo import MongoStore, sealing
from tests.stores.mongodb.stumbling import Died, dying, meanwhile

WRITES = 7  # no sealing of one saga takes as many


async def sealed(store):
    """Wait until what is noted is sealed."""
    await store._parts.sealer.caught_up()


async def grown(store, saga_id="s", count=10, **changes):
    """A saga with so many events, in appends of two, and all of its appends."""
    appends = [create(saga_id, **changes)]
    record = await commit(store, appends[0])
    while record.version < count:
        appends.append(follow(record, events=events(2, data=b'{"at": %d}' % record.version)))
        record = await commit(store, appends[-1])
    return appends


@pytest.fixture
def often(monkeypatch):
    """Tails are sealed after every second event or so."""
    monkeypatch.setattr(sealing, "EVERY", 2)


class TestSealingAllTheTime(AppendConformance, BatchConformance, KeepConformance, RaceConformance):
    """What the kit asks of single sagas holds as well when hardly anything is left in their documents."""

    @pytest.fixture
    async def store(self, url, often):
        self.url = url
        store = MongoStore.from_url(url)
        await store.setup()
        yield store
        await store.close()

    async def open_again(self, store):
        second = MongoStore.from_url(self.url)
        await second.setup()
        return second


async def test_a_long_log_does_not_stay_in_the_document(store, raw):
    await grown(store, count=300)
    await sealed(store)
    document = raw["sagas"].find_one({"_id": "s"})
    assert sum(len(entry["events"]) for entry in document["tail"]) < sealing.EVERY
    assert document["sealed"] >= 300 - sealing.EVERY
    assert raw["saga_events"].count_documents({}) + len(document["tail"]) == 150
    assert (await whole(store, "s")).version == 300
    assert (await read(store, "s")).events == await store.events("s")
    assert [event.seq for event in await store.events("s", 123)] == list(range(124, 301))


async def test_a_large_append_is_sealed_at_once(store, raw):
    record = await commit(store, create("s"))
    large = NewEvent("Large", 1.0, b'"' + b"x" * sealing.LARGE + b'"')
    await commit(store, follow(record, events=[large]))
    await sealed(store)
    assert raw["sagas"].find_one({"_id": "s"})["tail"] == []
    assert (await store.events("s"))[-1].data == large.data


async def test_a_tail_never_grows_twice_as_long_before_it_is_sealed(store, raw, monkeypatch):
    monkeypatch.setattr(sealing, "EVERY", 8)
    longest = 0
    record = await commit(store, create("s"))
    for _ in range(40):
        record = await commit(store, follow(record, events=events(3)))
        document = raw["sagas"].find_one({"_id": "s"})
        longest = max(longest, sum(len(entry["events"]) for entry in document["tail"]))
    assert longest <= 2 * 8 + 3


async def test_a_snapshot_leaves_the_document_and_the_one_before_it_goes(store, raw):
    record = await commit(store, create("s"))
    for _ in range(3):
        snapshot = Snapshot(version=record.version + 1, data=b'{"at": %d}' % record.version)
        record = await commit(store, follow(record, snapshot=snapshot))
        assert (await read(store, "s")).snapshot == snapshot
        await sealed(store)
        assert "data" not in raw["sagas"].find_one({"_id": "s"})["snapshot"]
        assert raw["saga_snapshots"].count_documents({}) == 1
        assert ((await read(store, "s")).snapshot, (await read(store, "s")).events) == (snapshot, ())
    record = await commit(store, follow(record))
    assert [event.seq for event in (await read(store, "s")).events] == [record.version]


async def test_of_two_snapshots_of_one_version_the_later_counts(store, raw):
    """Both were put under one id, so the earlier one came back once the later was sealed."""
    record = await commit(store, create("s"))
    for data in (b'{"by": 1}', b'{"by": 2}', b'{"by": 3}'):
        snapshot = Snapshot(version=record.version, data=data)
        record = await commit(store, follow(record, events=(), snapshot=snapshot))
        assert (await read(store, "s")).snapshot == snapshot
        await sealed(store)
        assert "data" not in raw["sagas"].find_one({"_id": "s"})["snapshot"]
        assert (await read(store, "s")).snapshot == snapshot
    await commit(store, follow(record, snapshot=Snapshot(version=3, data=b"{}")))
    await sealed(store)
    assert raw["saga_snapshots"].count_documents({}) == 1


@pytest.mark.parametrize("at", [2, 3])
async def test_a_snapshot_that_comes_while_one_of_its_version_is_sealed_is_not_lost(store, at):
    record = await commit(store, create("s"))
    first, later = (Snapshot(version=2, data=b'{"by": %d}' % n) for n in (1, 2))
    batch = [follow(record, events=(), snapshot=later)]
    await store._parts.writer.commit([follow(record, events=(), snapshot=first)])

    async def write():
        await store._parts.writer.commit(batch)

    with meanwhile(store, at, write):
        await store._parts.sealer.seal(["s"])
    assert (await read(store, "s")).snapshot == later
    await store._parts.sealer.seal(["s"])
    assert (await read(store, "s")).snapshot == later


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("at", range(1, WRITES))
async def test_dying_while_sealing_loses_nothing(store, raw, at, done):
    snapshot = Snapshot(version=1, data=b"{}")
    appends = await grown(store, snapshot=snapshot)
    await sealed(store)
    before, log = await read(store, "s"), await store.events("s")
    raw["sagas"].update_one({"_id": "s"}, {"$set": {"snapshot": {"version": 2, "data": "{}"}}})
    with dying(store, at, done=done) as died:
        try:
            await store._parts.sealer.seal(["s"])
        except Died:
            assert died()
    assert await store.events("s") == log
    assert (await read(store, "s")).events == before.events[1:]
    assert await store.commit([appends[-1], appends[0]]) == [Duplicate(10), Duplicate(10)]
    await store._parts.sealer.seal(["s"])
    assert await store.events("s") == log
    assert raw["sagas"].find_one({"_id": "s"})["tail"] == []
    assert raw["saga_events"].count_documents({}) == len(appends)
    await commit(store, follow((await read(store, "s")).record, snapshot=Snapshot(version=3, data=b"{}")))
    await sealed(store)
    assert raw["saga_snapshots"].count_documents({}) == 1


@pytest.mark.parametrize("keep", [0.0, 3600.0])
@pytest.mark.parametrize("at", range(1, WRITES))
async def test_what_a_dying_process_has_put_aside_goes_with_the_saga(store, raw, at, keep):
    """It was put into the other collections before the document said so: a purge left it there for ever."""
    appends = await grown(store, snapshot=Snapshot(version=1, data=b"{}"))
    await sealed(store)
    raw["sagas"].update_one({"_id": "s"}, {"$set": {"snapshot": {"version": 2, "data": "{}"}}})
    await grown(store, "t")
    with dying(store, at, done=True) as died:
        try:
            await store._parts.sealer.seal(["s", "t"])
        except Died:
            assert died()
    for saga_id in "st":
        await commit(store, finish((await read(store, saga_id)).record, at=1.0))
    assert raw["saga_events"].count_documents({}) <= 2 * len(appends)
    assert await store.purge(2.0, keep_ids=keep) == 2
    left = {name: raw[name].count_documents({}) for name in ("sagas", "saga_events", "saga_snapshots")}
    assert left == {"sagas": 2 if keep else 0, "saga_events": 0, "saga_snapshots": 0}


async def test_a_log_may_be_larger_than_a_document(store, raw):
    """MongoDB takes documents of 16 MB."""
    record = await commit(store, create("s"))
    large = NewEvent("Large", 1.0, b'"' + b"x" * (1 << 20) + b'"')
    for _ in range(18):
        record = await commit(store, follow(record, events=[large]))
    await sealed(store)
    assert len(bson.encode(raw["sagas"].find_one({"_id": "s"}))) < 3 << 20
    stored = await read(store, "s")
    assert [event.seq for event in stored.events] == list(range(1, 21))
    assert stored.events[-1].data == large.data


async def test_a_damaged_document_keeps_no_other_from_being_sealed(store, raw, often, caplog):
    for saga_id in "ab":
        await commit(store, create(saga_id))
    raw["sagas"].update_one({"_id": "a"}, {"$set": {"tail": [{"events": 7}]}, "$unset": {"log": ""}})
    records = [(await store.find(Filter())).records[n] for n in range(2)]
    assert await store.commit([follow(record, events=events(2)) for record in records]) == [Committed(4)] * 2
    await sealed(store)
    assert "damaged" in caplog.text
    records = [(await store.find(Filter())).records[n] for n in range(2)]
    assert await store.commit([follow(record, events=events(2)) for record in records]) == [Committed(6)] * 2
    await store._parts.sealer.seal(["b"])
    assert raw["sagas"].find_one({"_id": "b"})["tail"] == []
    assert (await whole(store, "b")).version == 6


async def test_sealing_twice_at_once_changes_nothing_more(store, raw):
    await grown(store)
    log = await store.events("s")
    await asyncio.gather(*(store._parts.sealer.seal(["s"]) for _ in range(4)))
    assert await store.events("s") == log
    assert raw["saga_events"].count_documents({}) == 5


@pytest.mark.parametrize("at", [1, 2])
async def test_an_append_in_the_middle_of_sealing_stays_in_the_tail(store, raw, at):
    appends = await grown(store)
    record = (await read(store, "s")).record

    async def write():
        assert await store._parts.writer.commit([follow(record, events=events(3))]) == [Committed(13)]

    with meanwhile(store, at, write):
        await store._parts.sealer.seal(["s"])
    assert (await whole(store, "s")).version == 13
    assert raw["saga_events"].count_documents({}) == len(appends)
    assert len(raw["sagas"].find_one({"_id": "s"})["tail"]) == 1


async def test_readers_see_the_whole_log_while_it_is_sealed(store, often):
    record = await commit(store, create("s"))
    done = asyncio.Event()

    async def look():
        while not done.is_set():
            stored = await read(store, "s")
            assert [event.seq for event in stored.events] == list(range(1, stored.record.version + 1))
            log = await store.events("s", 1)
            assert [event.seq for event in log] == list(range(2, log[-1].seq + 1))

    readers = [asyncio.ensure_future(look()) for _ in range(3)]
    for _ in range(40):
        record = await commit(store, follow(record, events=events(3)))
    done.set()
    await asyncio.gather(*readers)


async def test_what_became_of_an_append_is_known_also_when_it_is_sealed(store):
    appends = await grown(store)
    await store._parts.sealer.seal(["s"])
    again: list[Append] = [appends[2], create("other")]
    assert await store.commit(again) == [Duplicate(10), Committed(2)]
    stranger = follow((await read(store, "s")).record, expected_version=4)
    assert await store.commit([stranger, create("third")]) == [Conflict(10), Committed(2)]


async def test_a_failing_seal_is_said_and_the_sagas_go_on(store, raw, often, caplog):
    async def fail(saga_ids):
        raise StoreUnavailable("the disk is made of cheese")

    store._parts.sealer.seal = fail
    await grown(store)
    await sealed(store)
    assert "made of cheese" in caplog.text
    del store._parts.sealer.seal
    assert raw["saga_events"].count_documents({}) == 0
    await commit(store, follow((await read(store, "s")).record, events=events(2)))
    await sealed(store)
    assert raw["sagas"].find_one({"_id": "s"})["tail"] == []
    assert (await whole(store, "s")).version == 12
