"""Obligations of opening, closing and purging."""

# ruff: noqa: S101

from __future__ import annotations

from msgspec.structs import replace

from ...store import Committed, Conflict, Filter, Snapshot, Store
from ..appends import create, finish, follow
from .base import StoreTests, commit, read


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
            assert await store.commit([append]) == [Conflict(0)]
        assert not await store.release("s", worker_id="w", fence=record.fence)
        assert await store.load(["s"]) == {}
        assert list(await store.events("s")) == []

    async def test_a_purged_id_can_be_used_again(self, store: Store) -> None:
        append = create("s", digest="one")
        await commit(store, finish(await commit(store, append)))
        await store.purge(1e12)
        assert await store.commit([replace(append, append_id="new")]) == [Committed(2)]
