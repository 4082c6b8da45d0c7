"""Obligations of a batch: each append has its own result."""

# ruff: noqa: S101

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from ...store import Append, Committed, Conflict, Duplicate, Exists, Fenced, NewEvent, Refused, Snapshot, Store
from ..appends import create, events, finish, follow
from .base import StoreTests, commit, read, whole

LARGE = 17 * 1024 * 1024  # more than some databases take in one piece


class BatchConformance(StoreTests):
    """Appends of one batch succeed or fail each on its own."""

    def poison(self) -> Append:
        """An append that the database refuses to take; a store gives one that its own database refuses."""
        return create("poison", birth=None)

    async def test_there_is_one_result_per_append_in_order(self, store: Store) -> None:
        a, b, c = [await commit(store, create(name, fence=3)) for name in "abc"]
        batch = [
            follow(a, events=events(2)),
            follow(replace(b, version=1)),
            create("new"),
            follow(replace(c, fence=2)),
            create("a", digest="other"),
            follow(b),
        ]
        expected = [Committed(4), Conflict(2), Committed(2), Fenced(3), Exists(same=False), Committed(3)]
        assert list(await store.commit(batch)) == expected
        assert [(await whole(store, name)).version for name in ("a", "b", "new", "c")] == [4, 3, 2, 2]

    async def test_an_empty_batch_has_no_results(self, store: Store) -> None:
        assert list(await store.commit([])) == []

    async def test_a_large_batch(self, store: Store) -> None:
        names = [f"s{n:03}" for n in range(333)]
        assert list(await store.commit([create(name, tags={"n": name}) for name in names])) == [Committed(2)] * 333
        found = await store.load(names)
        results = list(await store.commit([follow(saga.record, events=events(3)) for saga in found.values()]))
        assert results == [Committed(5)] * 333
        for name in (names[0], names[200], names[332]):
            assert (await whole(store, name)).tags == {"n": name}

    async def test_a_batch_of_every_kind_of_append(self, store: Store) -> None:
        a, b, c, d = [await commit(store, create(name)) for name in "abcd"]
        batch = [
            follow(a),
            finish(b),
            follow(c, events=()),
            follow(d, snapshot=Snapshot(version=3, data=b"{}"), stuck=True),
            create("e", snapshot=Snapshot(version=2, data=b"1"), tags={"x": "y"}),
        ]
        results = [Committed(3), Committed(3), Committed(2), Committed(3), Committed(2)]
        assert list(await store.commit(batch)) == results
        assert [(await whole(store, name)).state for name in "abcde"] == [
            "pending", "completed", "pending", "pending", "started",
        ]  # fmt: skip

    async def test_a_refused_append_does_not_harm_its_neighbours(self, store: Store) -> None:
        record = await commit(store, create("a"))
        poison = self.poison()
        results = list(await store.commit([follow(record), poison, create("b", tags={"x": "y"})]))
        assert [type(result) for result in results] == [Committed, Refused, Committed]
        assert poison.saga_id not in await store.load([poison.saga_id])
        assert (await whole(store, "a")).version == 3
        assert (await whole(store, "b")).tags == {"x": "y"}

    async def test_an_append_that_is_very_large_is_kept_whole_or_refused(self, store: Store) -> None:
        record = await commit(store, create("a"))
        text = b'"' + b"x" * LARGE + b'"'
        batch = [follow(record), create("large", events=[NewEvent("T", 1.0, text)]), create("b")]
        first, large, last = await store.commit(batch)
        assert (first, last) == (Committed(3), Committed(2))
        assert (await whole(store, "a")).version == 3
        assert (await whole(store, "b")).version == 2
        if isinstance(large, Refused):
            assert large.reason
            assert await store.load(["large"]) == {}
            assert list(await store.events("large")) == []
        else:
            assert large == Committed(1)
            (event,) = await store.events("large")
            assert event.data == text

    async def test_a_batch_may_be_handed_in_again_as_it_is(self, store: Store) -> None:
        a, b = [await commit(store, create(name)) for name in "ab"]
        batch = [follow(a), create("c"), follow(b, events=()), follow(replace(b, version=9))]
        assert list(await store.commit(batch)) == [Committed(3), Committed(2), Committed(2), Conflict(2)]
        before = await store.load(["a", "b", "c"])
        assert list(await store.commit(batch)) == [Duplicate(3), Duplicate(2), Committed(2), Conflict(2)]
        assert await store.load(["a", "b", "c"]) == before

    async def test_a_batch_of_which_half_was_accepted_before(self, store: Store) -> None:
        a, b = [await commit(store, create(name)) for name in "ab"]
        first = follow(a)
        await commit(store, first)
        assert list(await store.commit([follow(b), first, create("c")])) == [Committed(3), Duplicate(3), Committed(2)]

    async def test_a_cancelled_commit_leaves_all_of_an_append_or_nothing(self, store: Store) -> None:
        record = await commit(store, create("s"))
        for turns in range(4):
            task = asyncio.ensure_future(store.commit([follow(record, events=events(3)), create(f"new{turns}")]))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            # Whatever becomes of the cancelled one; where a thread makes it, it may come after this, too.
            await commit(store, create(f"after{turns}"))
            record = await whole(store, "s")
            assert record.version % 3 == 2
            assert record.state == ("started" if record.version == 2 else "pending")
            if await store.load([f"new{turns}"]):
                await whole(store, f"new{turns}")

    async def test_every_reader_sees_events_and_record_together(self, store: Store) -> None:
        record = await commit(store, create("s"))
        done = asyncio.Event()

        async def look() -> int:
            looks = 0
            while not done.is_set():
                stored = await read(store, "s")
                assert len(stored.events) == stored.record.version
                looks += 1
                await asyncio.sleep(0)
            return looks

        readers = [asyncio.ensure_future(look()) for _ in range(3)]
        for _ in range(30):
            record = await commit(store, follow(record, events=events(3)))
            await asyncio.sleep(0)
        done.set()
        assert min(await asyncio.gather(*readers)) > 0
