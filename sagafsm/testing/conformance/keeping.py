"""Obligations of opening, closing and purging."""

# ruff: noqa: S101

from __future__ import annotations

import asyncio
from contextlib import suppress

from msgspec.structs import replace

from ...core.errors import StoreError
from ...store import Committed, Conflict, Duplicate, Exists, Filter, Snapshot, Store
from ..appends import KIND, create, finish, follow
from .base import JUMPS, LONG, StoreTests, commit, put, read, wrong_clock
from .calls import calls_of


class KeepConformance(StoreTests):
    """What is stored stays, whole, until it is purged, whole."""

    async def test_a_store_can_be_set_up_twice(self, store: Store) -> None:
        await commit(store, create("s"))
        await store.setup()
        await store.setup(migrate=False)
        assert list(await store.load(["s"])) == ["s"]

    async def test_a_store_can_be_closed_twice(self, store: Store) -> None:
        await store.close()
        await store.close()

    async def test_a_closed_store_goes_on_or_raises_a_store_error(self, store: Store) -> None:
        calls = [(call, await call.begin(store, f"c{number}")) for number, call in enumerate(calls_of(store))]
        await store.close()
        for call, about in calls:
            with suppress(StoreError):
                async with asyncio.timeout(self.patience):
                    await call.make(store, about)
        await store.close()

    async def test_what_is_stored_survives_closing(self, store: Store) -> None:
        record = await put(store, "s", tags={"x": "1"}, snapshot=Snapshot(version=1, data=b"{}"))
        await store.commit([create("gone", state="completed", finished_at=1.0)])
        assert await store.purge(2.0, keep_ids=LONG) == 1
        await store.save_definition("A@1", b"[1]")
        await store.heartbeat("w", LONG)
        (saga,) = (await store.claim("w", [KIND], limit=1)).sagas
        written = follow(saga.record)
        await commit(store, written)
        before, log = await read(store, "s"), list(await store.events("s"))
        counts, workers = list(await store.counts()), list(await store.workers())
        await store.close()
        again = await self.open_again(store)
        try:
            assert (await read(again, "s"), list(await again.events("s"))) == (before, log)
            assert before.record.fence == record.fence + 1
            assert (list(await again.counts()), list(await again.workers())) == (counts, workers)
            assert await again.definitions() == {"A@1": b"[1]"}
            assert list(await again.commit([written, create("gone")])) == [Duplicate(3), Exists(same=True, purged=True)]
        finally:
            await again.close()

    async def test_a_store_says_how_durable_it_is(self, store: Store) -> None:
        durability = await store.check()
        assert durability.description
        assert durability.synced or durability.warnings

    async def test_how_many_batches_may_be_under_way_is_1_or_2(self, store: Store) -> None:
        assert store.batches in (1, 2)

    async def test_purge_deletes_what_ended_before(self, store: Store) -> None:
        for name, at in {"old": 10.0, "edge": 20.0, "new": 30.0}.items():
            await commit(store, finish(await commit(store, create(name)), at=at))
        await commit(store, create("failed", state="failed", finished_at=11.0))
        assert await store.purge(20.0) == 2
        assert sorted(await store.load(["old", "edge", "new", "failed"])) == ["edge", "new"]
        assert await store.purge(20.0) == 0

    async def test_purge_leaves_what_has_not_ended(self, store: Store) -> None:
        for state in ("started", "pending", "compensating"):
            await commit(store, create(state, state=state, stuck=True, finished_at=1.0))
            await commit(store, create(f"{state}-2", state=state))
        await commit(store, create("undated", state="completed"))
        assert await store.purge(1e12) == 0
        assert len((await store.find(Filter())).records) == 7

    async def test_purge_deletes_no_more_than_its_limit(self, store: Store) -> None:
        await store.commit([create(f"s{n}", state="completed", finished_at=1.0) for n in range(7)])
        assert await store.purge(2.0, limit=3) == 3
        assert len((await store.find(Filter())).records) == 4
        assert await store.purge(2.0, limit=100) == 4
        assert await store.purge(2.0, limit=0) == 0

    async def test_purge_of_named_sagas_deletes_those_that_ended_before_and_no_others(self, store: Store) -> None:
        await store.commit([create(name, state="completed", finished_at=1.0) for name in ("a", "b", "c")])
        await store.commit([create("late", state="failed", finished_at=9.0), create("live", finished_at=1.0)])
        assert await store.purge(5.0, saga_ids=["a", "late", "live", "nobody", "c", "a"]) == 2
        assert sorted(await store.load(["a", "b", "c", "late", "live"])) == ["b", "late", "live"]
        assert await store.purge(5.0, saga_ids=[]) == 0
        assert len((await store.find(Filter())).records) == 3

    async def test_purge_of_named_sagas_deletes_no_more_than_its_limit(self, store: Store) -> None:
        names = [f"s{n}" for n in range(7)]
        await store.commit([create(name, state="completed", finished_at=1.0) for name in names])
        assert await store.purge(2.0, limit=3, saga_ids=["nobody", *names]) <= 3
        left = [record.saga_id for record in (await store.find(Filter())).records]
        assert 4 <= len(left) < 8
        assert await store.purge(2.0, limit=100, saga_ids=names) == len(left)

    async def test_purge_takes_events_tags_and_snapshot_with_the_saga(self, store: Store) -> None:
        old = create("s", tags={"x": "1"}, snapshot=Snapshot(version=1, data=b"{}"), correlation_id="c")
        await commit(store, finish(await commit(store, old)))
        assert await store.purge(1e12) == 1
        assert await store.load(["s"]) == {}
        assert list(await store.events("s")) == []
        for where in (Filter(), Filter(tags={"x": "1"}), Filter(correlation_id="c"), Filter(live=False)):
            assert list((await store.find(where)).records) == []
        again = await commit(store, create("s"))
        stored = await read(store, "s")
        assert (again.version, again.tags, stored.snapshot, len(stored.events)) == (2, {}, None, 2)

    async def test_a_late_append_never_brings_a_purged_saga_back(self, store: Store) -> None:
        record = await commit(store, create("s", owner="w"))
        await commit(store, finish(record))
        await store.purge(1e12)
        late = [follow(record), follow(replace(record, version=3)), follow(replace(record, version=3), events=())]
        for append in late:
            assert list(await store.commit([append])) == [Conflict(0)]
        assert not await store.release("s", worker_id="w", fence=record.fence)
        assert await store.load(["s"]) == {}
        assert list(await store.events("s")) == []

    async def test_a_purged_id_can_be_used_again(self, store: Store) -> None:
        append = create("s", digest="one")
        await commit(store, finish(await commit(store, append)))
        await store.purge(1e12)
        assert list(await store.commit([replace(append, append_id="new")])) == [Committed(2)]

    async def test_the_id_of_a_purged_saga_stays_taken_for_as_long_as_was_said(self, store: Store) -> None:
        append = create("s", digest="one", tags={"x": "1"})
        await commit(store, finish(await commit(store, append)))
        assert await store.purge(1e12, keep_ids=LONG) == 1
        for late in (append, replace(append, append_id="another")):
            assert list(await store.commit([late])) == [Exists(same=True, purged=True)]
        assert list(await store.commit([create("s", digest="two")])) == [Exists(same=False, purged=True)]
        assert await store.load(["s"]) == {}
        assert list(await store.events("s")) == []
        assert list((await store.find(Filter())).records) == []
        assert list(await store.counts()) == []
        assert await store.purge(1e12, keep_ids=LONG) == 0

    async def test_the_id_of_a_named_saga_that_was_purged_stays_taken(self, store: Store) -> None:
        ended = [create(name, state="completed", finished_at=1.0) for name in "ab"]
        await store.commit(ended)
        assert await store.purge(2.0, saga_ids=["a"], keep_ids=LONG) == 1
        again = list(await store.commit([replace(append, append_id=f"{append.saga_id} again") for append in ended]))
        assert again == [Exists(same=True, purged=True), Exists(same=True)]

    async def test_a_purged_id_is_free_after_its_time(self, store: Store) -> None:
        append = create("s", digest="one")
        await commit(store, finish(await commit(store, append)))
        assert await store.purge(1e12, keep_ids=0.001) == 1
        until = await store.now() + 0.01
        async with asyncio.timeout(10):
            while await store.now() <= until:  # noqa: ASYNC110 - the store's clock tells nobody that it goes on
                await asyncio.sleep(0)
        assert list(await store.commit([create("s", digest="two")])) == [Committed(2)]
        record = (await read(store, "s")).record
        assert (record.digest, record.version) == ("two", 2)
        await commit(store, finish(record))
        assert await store.purge(1e12, keep_ids=LONG) == 1
        assert list(await store.commit([append])) == [Exists(same=False, purged=True)]
        assert list(await store.commit([create("s", digest="two")])) == [Exists(same=True, purged=True)]

    async def test_how_long_an_id_stays_taken_is_counted_by_the_clock_of_the_store(self, store: Store) -> None:
        for number, jump in enumerate(JUMPS):
            ended = create(f"s{number}", state="completed", finished_at=1.0)
            await store.commit([ended])
            with wrong_clock(jump):
                free_at = await store.now() + LONG
                assert await store.purge(2.0, keep_ids=LONG) == 1
            taken = Exists(same=True, purged=True) if await store.now() < free_at else Committed(2)
            assert list(await store.commit([replace(ended, append_id="another")])) == [taken]

    async def test_a_purged_id_does_not_harm_its_neighbours(self, store: Store) -> None:
        await store.commit([create("gone", state="completed", finished_at=1.0)])
        kept = await commit(store, create("kept"))
        await store.purge(2.0, keep_ids=LONG)
        results = list(await store.commit([create("new"), create("gone"), follow(kept)]))
        assert results == [Committed(2), Exists(same=True, purged=True), Committed(3)]
        assert sorted(await store.load(["new", "gone", "kept"])) == ["kept", "new"]
        assert list(await store.events("gone")) == []

    async def test_a_late_append_finds_nothing_where_an_id_is_kept(self, store: Store) -> None:
        record = await commit(store, create("s", state="completed", finished_at=1.0))
        await store.purge(2.0, keep_ids=LONG)
        for late in (follow(record), follow(record, events=())):
            assert list(await store.commit([late])) == [Conflict(0)]
        assert await store.load(["s"]) == {}

    async def test_a_purged_id_stays_taken_for_a_second_store(self, store: Store) -> None:
        await store.commit([create("s", state="completed", finished_at=1.0)])
        await store.purge(2.0, keep_ids=LONG)
        second = await self.open_again(store)
        try:
            assert list(await second.commit([create("s")])) == [Exists(same=True, purged=True)]
        finally:
            await second.close()
