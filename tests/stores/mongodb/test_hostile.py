"""Whatever is handed in is a value: never the name of a field, never an operator, never a pattern."""

import pytest

from sagafsm.store import Committed, Filter, Refused
from sagafsm.supports import Permit
from sagafsm.testing.appends import create, events, follow
from sagafsm.testing.conformance.base import LONG, commit, read, whole

KEYS = ["$where", "$set", "a.b", ".", "", "$", "_id", "k", "__proto__", "tags.k", "x" * 300, "\n", "ö", "\0"]
OPERATORS = [{"$gt": ""}, {"$ne": None}, {"$regex": ".*"}, {"$in": ["s"]}, {"$where": "true"}, ["s"], None, 7]


async def test_tags_may_have_any_name(store, raw):
    tags = {key: f"value of {key}" for key in KEYS}
    record = await commit(store, create("s", tags=tags))
    await commit(store, create("t", tags={"other": "value of $where"}))
    assert record.tags == tags
    for key, value in tags.items():
        assert [found.saga_id for found in (await store.find(Filter(tags={key: value}))).records] == ["s"]
        assert list((await store.find(Filter(tags={key: "another"}))).records) == []
    assert all(set(tag) == {"k", "v"} for tag in raw["sagas"].find_one({"_id": "s"})["tags"])


async def test_texts_of_events_and_problems_are_kept_as_they_are(store):
    nasty = '{"$where": "sleep(9)", "a.b": {"$set": {"x": 1}}, "": "\\u0000"}'
    record = await commit(store, create("s", events=events(2, data=nasty.encode()), problem=nasty, outcome="$x"))
    assert (record.problem, record.outcome) == (nasty, "$x")
    assert [event.data for event in await store.events("s")] == [nasty.encode()] * 2


@pytest.mark.parametrize("value", OPERATORS, ids=str)
async def test_an_operator_in_place_of_an_id_finds_nothing_and_changes_nothing(store, value):
    await store.heartbeat("w", LONG)
    record = await commit(store, create("s", owner="w", due_at=1.0, tags={"x": "y"}))
    before = await read(store, "s")
    batch = [follow(record, saga_id=value), create(value), follow(record, fence=value), create("good")]
    results = await store.commit(batch)
    assert [type(result) for result in results[:2]] == [Refused, Refused]
    assert not isinstance(results[2], Committed)
    assert results[3] == Committed(2)
    assert not await store.release(value, worker_id="w", fence=record.fence)
    assert not await store.release("s", worker_id=value, fence=record.fence)
    assert not await store.release("s", worker_id="w", fence=value)
    assert await store.load([value]) == {}
    assert list(await store.events(value)) == []
    await store.retire("w")
    await store.heartbeat("x", LONG)
    assert not (await store.claim("x", ["Order@1"], limit=9, saga_ids=[value])).sagas
    assert not (await store.claim("x", [value], limit=9)).sagas
    assert await store.purge(1e12, saga_ids=[value]) == 0
    assert await read(store, "s") == before
    await whole(store, "s")


@pytest.mark.parametrize("value", [{"$gt": ""}, {"$ne": None}, {"$regex": ".*"}, ["started"]], ids=str)
async def test_an_operator_in_a_filter_finds_nothing(store, value):
    await commit(store, create("s", parent_id="p", tags={"x": "y"}))
    for where in (
        Filter(state=value),
        Filter(saga_type=value),
        Filter(correlation_id=value),
        Filter(parent_id=value),
        Filter(stuck=value),
        Filter(tags={"x": value}),
    ):
        assert list((await store.find(where)).records) == []


async def test_workers_limits_and_definitions_may_have_any_name(store):
    for name in ("$where", "a.b", "w", "$"):
        worker = await store.heartbeat(name, LONG)
        assert worker in list(await store.workers())
        await store.save_definition(name, b"{}")
        asked = Permit(name=name, token=f"{name}.$", worker_id=name, concurrency=1)
        other = Permit(name=name, token="other", worker_id=name, concurrency=1)
        assert [wait == 0 for wait in await store.acquire([asked, other])] == [True, False]
        await store.give_back(name, [f"{name}.$"])
        assert await store.acquire([other]) == [0.0]
    assert sorted(await store.definitions()) == ["$", "$where", "a.b", "w"]
    await store.retire("$where")
    assert len(await store.workers()) == 3
    await store.give_back({"$ne": None}, ["other"])
    await store.give_back("w", [{"$ne": None}])
    assert (await store.acquire([Permit(name="w", token="third", worker_id="w", concurrency=1)]))[0] > 0


async def test_what_is_too_large_is_refused_and_its_neighbours_are_not(store):
    record = await commit(store, create("a"))
    huge = b'"' + b"x" * (17 << 20) + b'"'
    batch = [follow(record), create("huge", events=events(1, data=huge)), create("b")]
    results = await store.commit(batch)
    assert [type(result) for result in results] == [Committed, Refused, Committed]
    assert "bytes" in results[1].reason
    results = await store.commit([follow((await read(store, "a")).record, events=events(1, data=huge)), create("c")])
    assert [type(result) for result in results] == [Refused, Committed]
    assert sorted(await store.load(["a", "b", "c", "huge"])) == ["a", "b", "c"]
    assert (await whole(store, "a")).version == 3


async def test_a_batch_larger_than_a_message_is_written_in_pieces(store):
    big = events(1, data=b'"' + b"x" * (3 << 20) + b'"')
    names = [f"s{n}" for n in range(8)]
    assert await store.commit([create(name, events=big) for name in names]) == [Committed(1)] * 8
    records = [(await read(store, name)).record for name in names]
    batch = [follow(record, events=big) for record in records]
    batch[5] = follow(records[5], expected_version=9)
    results = await store.commit(batch)
    assert [isinstance(result, Committed) for result in results] == [True] * 5 + [False] + [True] * 2
    for name in ("s0", "s4", "s7"):
        assert (await whole(store, name)).version == 2


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1])
async def test_a_number_that_does_not_fit_is_refused(store, value):
    batch = [create("s", fence=value), create("t"), create("u", problem="half a character \ud800")]
    assert [type(result) for result in await store.commit(batch)] == [Refused, Committed, Refused]


async def test_bytes_that_are_no_text_are_refused(store):
    batch = [create("s", events=events(1, data=b"\xff")), create("t")]
    assert [type(result) for result in await store.commit(batch)] == [Refused, Committed]
