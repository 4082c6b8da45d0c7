"""Obligations of reading: load, find, counts, definitions."""

# ruff: noqa: S101

from __future__ import annotations

import pytest
from msgspec.structs import replace

from ...core.errors import InvalidInput
from ...store import Count, Filter, Store
from ..appends import create, finish, follow
from .base import StoreTests, commit, read


async def found(store: Store, **wanted: object) -> list[str]:
    """The ids that a filter finds."""
    return [record.saga_id for record in (await store.find(Filter(**wanted))).records]  # type: ignore[arg-type]


class FindConformance(StoreTests):
    """Records by what they are, oldest first, page by page."""

    async def test_load_leaves_out_ids_that_do_not_exist(self, store: Store) -> None:
        await commit(store, create("a"))
        assert list(await store.load(["a", "b"])) == ["a"]
        assert await store.load([]) == {}

    async def test_load_reads_many_sagas_whole(self, store: Store) -> None:
        names = [f"s{n}" for n in range(50)]
        await store.commit([create(name, tags={"n": name}) for name in names])
        sagas = await store.load(names)
        assert sorted(sagas) == sorted(names)
        assert all(saga.record.saga_id == name == saga.record.tags["n"] for name, saga in sagas.items())
        assert all([event.seq for event in saga.events] == [1, 2] for saga in sagas.values())

    async def test_each_filter_finds_what_matches_and_nothing_else(self, store: Store) -> None:
        await store.commit(
            [
                create("a", created_at=1.0, saga_type="T", kind="T@1", tags={"x": "1", "y": "1"}, correlation_id="c"),
                create("b", created_at=2.0, tags={"x": "1"}, parent_id="p", stuck=True, state="compensating"),
                create("c", created_at=3.0, tags={"x": "2"}, suspended=True, state="pending"),
                create("d", created_at=4.0, state="completed", finished_at=5.0),
                create("e", created_at=5.0, state="failed", finished_at=6.0, outcome="aborted"),
            ]
        )
        assert await found(store) == ["a", "b", "c", "d", "e"]
        for state, ids in {
            "started": "a",
            "compensating": "b",
            "pending": "c",
            "completed": "d",
            "failed": "e",
        }.items():
            assert await found(store, state=state) == [ids]
        assert await found(store, state="unheard-of") == []
        assert await found(store, saga_type="T") == ["a"]
        assert await found(store, saga_type="Order") == ["b", "c", "d", "e"]
        assert await found(store, stuck=True) == ["b"]
        assert await found(store, stuck=False) == ["a", "c", "d", "e"]
        assert await found(store, suspended=True) == ["c"]
        assert await found(store, suspended=False) == ["a", "b", "d", "e"]
        assert await found(store, live=True) == ["a", "b", "c"]
        assert await found(store, live=False) == ["d", "e"]
        assert await found(store, correlation_id="c") == ["a", "c"]
        assert await found(store, parent_id="p") == ["b"]
        assert await found(store, older_than=3.0) == ["a", "b"]
        assert await found(store, finished_before=6.0) == ["d"]
        assert await found(store, finished_before=7.0) == ["d", "e"]
        assert await found(store, tags={"x": "1"}) == ["a", "b"]
        assert await found(store, tags={"x": "3"}) == []

    async def test_every_condition_must_match(self, store: Store) -> None:
        await store.commit(
            [
                create("a", tags={"x": "1", "y": "1"}, created_at=1.0),
                create("b", tags={"x": "1", "y": "2"}, created_at=2.0),
                create("c", tags={"x": "1", "y": "1"}, created_at=3.0, state="failed", finished_at=4.0),
            ]
        )
        assert await found(store, tags={"x": "1", "y": "1"}) == ["a", "c"]
        assert await found(store, tags={"x": "1", "y": "1"}, live=True) == ["a"]
        assert await found(store, tags={"x": "1"}, state="failed", live=False) == ["c"]
        assert await found(store, state="failed", live=True) == []
        assert await found(store, tags={"x": "1"}, older_than=3.0, stuck=False) == ["a", "b"]
        assert await found(store, tags={"x": "1"}, finished_before=5.0) == ["c"]
        assert await found(store, finished_before=5.0, live=True) == []

    async def test_only_what_has_ended_finished_before_a_time(self, store: Store) -> None:
        await commit(store, create("reopened", state="compensating", finished_at=1.0))
        await commit(store, create("undated", state="completed"))
        await commit(store, create("edge", state="failed", finished_at=2.0))
        await commit(store, create("ended", state="failed", finished_at=1.5))
        assert await found(store, finished_before=2.0) == ["ended"]

    async def test_records_found_are_whole(self, store: Store) -> None:
        await commit(store, create("a", tags={"x": "1"}, due_at=0.1, owner="w"))
        assert list((await store.find(Filter())).records) == [(await read(store, "a")).record]

    async def test_a_record_is_found_as_it_is_now(self, store: Store) -> None:
        record = await commit(store, create("a"))
        await commit(store, finish(record))
        assert await found(store, state="started") == []
        assert await found(store, live=True) == []
        assert await found(store, state="completed") == ["a"]

    async def test_records_come_in_the_order_of_creation_then_id(self, store: Store) -> None:
        times = {"d": 1.0, "b": 2.0, "a": 2.0, "c": 1.5}
        await store.commit([create(name, created_at=at) for name, at in times.items()])
        assert await found(store) == ["d", "c", "a", "b"]

    async def test_pages_hold_every_record_once(self, store: Store) -> None:
        await store.commit([create(f"s{n:02}", created_at=float(n // 4), tags={"x": str(n % 2)}) for n in range(23)])
        for limit in (1, 5, 23, 100):
            ids: list[str] = []
            cursor = None
            for _ in range(30):
                page = await store.find(Filter(tags={"x": "1"}), cursor=cursor, limit=limit)
                assert len(page.records) <= limit
                ids += [record.saga_id for record in page.records]
                cursor = page.cursor
                if cursor is None:
                    break
            assert ids == [f"s{n:02}" for n in range(1, 23, 2)]

    async def test_pages_go_on_through_a_second_store(self, store: Store) -> None:
        await store.commit([create(name, created_at=1.0) for name in "abcd"])
        first = await store.find(Filter(), limit=3)
        second = await self.open_again(store)
        try:
            rest = await second.find(Filter(), cursor=first.cursor, limit=3)
            assert ([record.saga_id for record in rest.records], rest.cursor) == (["d"], None)
        finally:
            await second.close()

    async def test_the_last_page_has_no_cursor(self, store: Store) -> None:
        await store.commit([create(name) for name in "abcd"])
        first = await store.find(Filter(), limit=2)
        assert first.cursor is not None
        assert (await store.find(Filter(), cursor=first.cursor, limit=2)).cursor is None
        assert (await store.find(Filter(), limit=4)).cursor is None

    async def test_pages_stay_whole_while_records_come_and_go(self, store: Store) -> None:
        await store.commit([create(name, created_at=5.0, state="failed", finished_at=6.0) for name in "bcdf"])
        page = await store.find(Filter(), limit=2)
        assert [record.saga_id for record in page.records] == ["b", "c"]
        await store.purge(7.0, limit=10)
        await store.commit([create("a", created_at=4.0), create("e", created_at=5.0)])
        page = await store.find(Filter(), cursor=page.cursor, limit=2)
        assert [record.saga_id for record in page.records] == ["e"]

    async def test_a_text_that_is_no_cursor_is_refused(self, store: Store) -> None:
        for text in ("", "x", "'; --", "WyJ4Il0=", "ü", "WzEsMl0="):
            with pytest.raises(InvalidInput):
                await store.find(Filter(), cursor=text)

    async def test_sagas_are_counted_by_kind_state_and_flags(self, store: Store) -> None:
        assert list(await store.counts()) == []
        a, b, _, _ = [await commit(store, create(name)) for name in "abcd"]
        await commit(store, create("e", kind="Other@2", saga_type="Other"))
        await commit(store, finish(await commit(store, follow(a))))
        await commit(store, follow(b, state="compensating", stuck=True, suspended=True))
        order = Count(kind="Order@1", saga_type="Order", state="started", stuck=False, suspended=False, count=2)
        assert sorted(await store.counts(), key=str) == sorted(
            [
                order,
                replace(order, state="completed", count=1),
                replace(order, state="compensating", stuck=True, suspended=True, count=1),
                replace(order, kind="Other@2", saga_type="Other", count=1),
            ],
            key=str,
        )

    async def test_counts_follow_flags_duplicates_and_purges(self, store: Store) -> None:
        record = await commit(store, create("a"))
        record = await commit(store, follow(record, events=(), state="started", stuck=True))
        assert [(count.stuck, count.count) for count in await store.counts()] == [(True, 1)]
        await store.commit([create("a")])
        await commit(store, finish(record, at=1.0))
        assert [(count.state, count.count) for count in await store.counts()] == [("completed", 1)]
        await store.purge(2.0)
        assert list(await store.counts()) == []

    async def test_definitions_are_remembered_and_never_change(self, store: Store) -> None:
        assert await store.definitions() == {}
        await store.save_definition("A@1", b'{"steps": ["\xc3\xa4"] }')
        await store.save_definition("B@1", b"{}")
        await store.save_definition("A@1", b'{"steps": []}')
        assert await store.definitions() == {"A@1": b'{"steps": ["\xc3\xa4"] }', "B@1": b"{}"}
