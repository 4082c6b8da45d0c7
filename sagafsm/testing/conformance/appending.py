"""Obligations of a single append: what it stores, and when it is refused."""

# ruff: noqa: S101

from __future__ import annotations

from msgspec.structs import asdict, replace

from ...store import Committed, Conflict, Duplicate, Exists, Fenced, Filter, NewEvent, Refused, Snapshot, Store
from ..appends import create, events, finish, follow, steady
from .base import LONG, StoreTests, commit, nothing_changed, owned, read, whole


class AppendConformance(StoreTests):
    """Events and record together; only where version and fence match; never twice."""

    async def test_an_append_stores_its_events_and_the_record_together(self, store: Store) -> None:
        record = await commit(store, create("s"))
        assert (record.version, record.state) == (2, "started")
        record = await commit(store, follow(record, events=events(3)))
        assert (record.version, record.state) == (5, "pending")
        await whole(store, "s")

    async def test_every_value_of_the_record_is_kept(self, store: Store) -> None:
        append = create(
            "s", kind="K@7", saga_type="K", digest="d", correlation_id="c", parent_id="p", tags={"a": "1", "ä": ""},
            fence=9, state="compensating", outcome="aborted", stuck=True, suspended=True, owner="w",
            due_at=12.1, attention=True, updated_at=1.3, finished_at=1e9 + 0.1, problem="why",
        )  # fmt: skip
        assert asdict(await commit(store, append)) == {
            "saga_id": "s", "saga_type": "K", "kind": "K@7", "state": "compensating", "outcome": "aborted",
            "stuck": True, "suspended": True, "version": 2, "fence": 9, "owner": "w", "due_at": 12.1,
            "attention": True, "correlation_id": "c", "digest": "d", "created_at": 1_700_000_000.5, "updated_at": 1.3,
            "finished_at": 1e9 + 0.1, "parent_id": "p", "tags": {"a": "1", "ä": ""}, "problem": "why",
        }  # fmt: skip

    async def test_every_value_of_the_record_can_be_taken_back(self, store: Store) -> None:
        first = await commit(
            store, create("s", outcome="aborted", stuck=True, suspended=True, owner="w", due_at=1.0, attention=True,
                          finished_at=2.0, problem="why"),
        )  # fmt: skip
        record = await commit(store, follow(first, owner=None, due_at=None))
        assert record == replace(
            first, state="pending", version=3, outcome=None, stuck=False, suspended=False, owner=None, due_at=None,
            attention=False, finished_at=None, problem=None,
        )  # fmt: skip

    async def test_what_was_written_at_birth_never_changes(self, store: Store) -> None:
        before = await commit(store, create("s", tags={"a": "b"}, parent_id="p"))
        other = create("s", kind="Other@1", digest="other", created_at=1.0, tags={"x": "y"}).birth
        after = await commit(store, follow(before, birth=other))
        fixed = ("saga_type", "kind", "digest", "correlation_id", "created_at", "parent_id", "tags")
        assert [getattr(after, name) for name in fixed] == [getattr(before, name) for name in fixed]

    async def test_events_are_kept_byte_for_byte_in_order(self, store: Store) -> None:
        texts = [
            '{ "a" : 1.0e1 }',
            '"\\u0000 \\ud83d\\ude00 \\/ ü 🎈"',
            "[1,\n 2]",
            '"' + "x" * 100_000 + '"',
            "null",
            '"\'"',
        ]
        append = create("s", events=[NewEvent(f"T{n}", n + 0.1, text.encode()) for n, text in enumerate(texts)])
        await commit(store, append)
        log = await store.events("s")
        assert [event.data for event in log] == [text.encode() for text in texts]
        assert [(event.seq, event.type, event.at) for event in log] == [
            (n + 1, f"T{n}", n + 0.1) for n in range(len(texts))
        ]
        assert list((await read(store, "s")).events) == list(log)

    async def test_times_are_kept_exactly(self, store: Store) -> None:
        times = [0.1, 1 / 3, 1_700_000_000.123456789, 4_102_444_800.999999, 5e-324, 0.0]
        record = await commit(store, create("s", events=[NewEvent("T", at, b"1") for at in times]))
        assert [event.at for event in await store.events("s")] == times
        for at in times:
            record = await commit(store, follow(record, updated_at=at, due_at=at, finished_at=at))
            assert (record.updated_at, record.due_at, record.finished_at) == (at, at, at)

    async def test_events_after_a_number(self, store: Store) -> None:
        await commit(store, create("s", events=events(4)))
        assert [event.seq for event in await store.events("s", 2)] == [3, 4]
        assert list(await store.events("s", 4)) == []
        assert list(await store.events("unknown")) == []

    async def test_another_version_than_the_expected_one_is_a_conflict(self, store: Store) -> None:
        record = await commit(store, create("s"))
        before = await read(store, "s")
        for version in (1, 3, 99):
            assert list(await store.commit([follow(replace(record, version=version))])) == [Conflict(2)]
        await nothing_changed(store, before)

    async def test_another_fence_is_refused_although_the_version_is_right(self, store: Store) -> None:
        record = await commit(store, create("s", fence=4))
        before = await read(store, "s")
        for fence in (3, 5):
            assert list(await store.commit([follow(replace(record, fence=fence))])) == [Fenced(4)]
        await nothing_changed(store, before)

    async def test_where_version_and_fence_both_differ_it_is_a_conflict(self, store: Store) -> None:
        record = await commit(store, create("s", fence=4))
        assert list(await store.commit([follow(replace(record, fence=3, version=1))])) == [Conflict(2)]

    async def test_only_expected_version_0_creates(self, store: Store) -> None:
        ghost = replace((await commit(store, create("other"))), saga_id="s")
        assert list(await store.commit([follow(ghost), follow(ghost, events=())])) == [Conflict(0), Conflict(0)]
        assert await store.load(["s"]) == {}
        assert list(await store.events("s")) == []

    async def test_a_taken_id_exists_with_the_same_digest_or_another(self, store: Store) -> None:
        await commit(store, create("s", digest="one"))
        before = await read(store, "s")
        assert list(await store.commit([create("s", digest="one")])) == [Exists(same=True)]
        assert list(await store.commit([create("s", digest="two")])) == [Exists(same=False)]
        await nothing_changed(store, before)

    async def test_the_same_creation_again_is_a_duplicate(self, store: Store) -> None:
        append = create("s", tags={"a": "b"})
        record = await commit(store, append)
        assert list(await store.commit([append])) == [Duplicate(2)]
        await commit(store, follow(record))
        before = await read(store, "s")
        assert list(await store.commit([append])) == [Duplicate(3)]
        await nothing_changed(store, before)

    async def test_the_same_append_again_is_a_duplicate(self, store: Store) -> None:
        record = await commit(store, create("s"))
        append = follow(record, events=events(2))
        record = await commit(store, append)
        assert list(await store.commit([append])) == [Duplicate(4)]
        await commit(store, follow(record))
        before = await read(store, "s")
        assert list(await store.commit([append])) == [Duplicate(5)]
        await nothing_changed(store, before)

    async def test_the_same_append_again_is_a_duplicate_also_after_a_claim(self, store: Store) -> None:
        append = follow(await owned(store, "s", "first"))
        await commit(store, append)
        await store.retire("first")
        await store.heartbeat("second", LONG)
        assert len((await store.claim("second", ["Order@1"], limit=1)).sagas) == 1
        assert list(await store.commit([append])) == [Duplicate(3)]

    async def test_another_append_at_the_same_place_is_no_duplicate(self, store: Store) -> None:
        record = await commit(store, create("s"))
        append = follow(record)
        await commit(store, append)
        assert list(await store.commit([replace(append, append_id="another")])) == [Conflict(3)]

    async def test_an_append_id_at_another_place_is_no_duplicate(self, store: Store) -> None:
        record = await commit(store, create("s"))
        append = follow(record)
        await commit(store, append)
        assert list(await store.commit([replace(append, expected_version=1)])) == [Conflict(3)]

    async def test_without_events_only_the_record_changes(self, store: Store) -> None:
        record = await commit(store, create("s", events=events(3)))
        (result,) = await store.commit([follow(record, events=(), state="compensating", due_at=5.0, stuck=True)])
        assert result == Committed(3)
        after = await whole(store, "s")
        assert after == replace(record, state="compensating", due_at=5.0, stuck=True, updated_at=after.updated_at)

    async def test_without_events_version_and_fence_must_match(self, store: Store) -> None:
        record = await commit(store, create("s", fence=2))
        before = await read(store, "s")
        stale = [replace(record, version=1), replace(record, fence=1)]
        for old, result in zip(stale, (Conflict(2), Fenced(2)), strict=True):
            assert list(await store.commit([follow(old, events=())])) == [result]
        await nothing_changed(store, before)

    async def test_a_creation_without_birth_or_events_is_refused(self, store: Store) -> None:
        results = list(await store.commit([create("s", birth=None), create("t", events=())]))
        assert [type(result) for result in results] == [Refused, Refused]
        assert await store.load(["s", "t"]) == {}

    async def test_a_snapshot_spares_the_events_before_it(self, store: Store) -> None:
        record = await commit(store, create("s", events=events(3)))
        assert (await read(store, "s")).snapshot is None
        snapshot = Snapshot(version=4, data=b'{"fold": "\xc3\xa4"}')
        record = await commit(store, follow(record, snapshot=snapshot))
        assert ((await read(store, "s")).snapshot, (await read(store, "s")).events) == (snapshot, ())
        record = await commit(store, follow(record))
        stored = await read(store, "s")
        assert stored.snapshot == snapshot
        assert [event.seq for event in stored.events] == [5]
        assert [event.seq for event in await store.events("s")] == [1, 2, 3, 4, 5]

    async def test_a_snapshot_replaces_the_one_before_it(self, store: Store) -> None:
        record = await commit(store, create("s", snapshot=Snapshot(version=2, data=b"1")))
        record = await commit(store, follow(record, snapshot=Snapshot(version=3, data=b"2")))
        await commit(store, follow(record))
        stored = await read(store, "s")
        assert stored.snapshot == Snapshot(version=3, data=b"2")
        assert [event.seq for event in stored.events] == [4]

    async def test_ids_may_hold_every_allowed_character(self, store: Store) -> None:
        for saga_id in ("a", "A-z_0.9:x", "x" * 200, "..", "%", "a%", "s", "S"):
            await commit(store, create(saga_id, correlation_id=saga_id))
        found = await store.load(["a", "A-z_0.9:x", "x" * 200, "..", "s", "S"])
        assert sorted(found) == sorted(["a", "A-z_0.9:x", "x" * 200, "..", "s", "S"])

    async def test_values_are_never_taken_for_commands(self, store: Store) -> None:
        nasty = "'; DROP TABLE sagas; -- {$where: 1} \" % _ * ? :1 $1 \\ \n"
        record = await commit(store, create("s", correlation_id=nasty, tags={nasty: nasty}, problem=nasty))
        assert (record.correlation_id, record.tags, record.problem) == (nasty, {nasty: nasty}, nasty)

    async def test_names_are_never_taken_for_commands(self, store: Store) -> None:
        names = ("a.b@1#0f", "..", "__proto__", "_id", "-1", "0", ":", "K", "k", "null", "x" * 200)
        for number, name in enumerate(names):
            await store.save_definition(name, b"[%d]" % number)
            await store.heartbeat(name, LONG)
            tags = {f"${name}": f"${name}", f"{name}%": "*"}
            await commit(store, create(f"s{number}", kind=name, saga_type=name, parent_id=name, tags=tags, due_at=1.0))
        assert await store.definitions() == {name: b"[%d]" % number for number, name in enumerate(names)}
        assert sorted(worker.worker_id for worker in await store.workers()) == sorted(names)
        assert sorted(count.kind for count in await store.counts()) == sorted(names)
        for number, name in enumerate(names):
            wanted = (Filter(saga_type=name), Filter(parent_id=name), Filter(tags={f"${name}": f"${name}"}))
            for where in wanted:
                assert [record.saga_id for record in (await store.find(where)).records] == [f"s{number}"]
            (saga,) = (await store.claim(name, [name], limit=10)).sagas
            assert (saga.record.saga_id, saga.record.kind, saga.record.owner) == (f"s{number}", name, name)

    async def test_a_steady_append_leaves_the_rest_of_the_record_as_it_is(self, store: Store) -> None:
        await commit(store, create("s", due_at=1.5, state="compensating", stuck=True, problem="why"))
        await store.heartbeat("w", LONG)
        (saga,) = (await store.claim("w", ["Order@1"], limit=1)).sagas
        record = await commit(store, steady(saga.record, events=events(2)))
        assert record == replace(saga.record, version=4, updated_at=record.updated_at)
        assert record.updated_at > saga.record.created_at
        await whole(store, "s")

    async def test_a_steady_append_needs_version_and_fence(self, store: Store) -> None:
        record = await commit(store, create("s", fence=2))
        before = await read(store, "s")
        assert list(await store.commit([steady(replace(record, version=1))])) == [Conflict(2)]
        assert list(await store.commit([steady(replace(record, fence=1))])) == [Fenced(2)]
        await nothing_changed(store, before)

    async def test_a_finished_saga_takes_appends_like_any_other(self, store: Store) -> None:
        record = await commit(store, finish(await commit(store, create("s"))))
        assert (await commit(store, follow(record))).state == "pending"
