"""Obligations of claim and release: who gets which saga, and what becomes of those who had it."""

# ruff: noqa: S101

from __future__ import annotations

import pytest
from msgspec.structs import replace

from ...store import Fenced, Snapshot, Store
from ..appends import KIND, create, events, finish, follow
from .base import LONG, OVER, StoreTests, commit, comparable, owned, put, read


async def claimed(
    store: Store, worker: str, *kinds: str, limit: int = 100, saga_ids: list[str] | None = None
) -> list[str]:
    """The ids that a claim takes."""
    claim = await store.claim(worker, kinds or (KIND,), limit=limit, saga_ids=saga_ids)
    return [saga.record.saga_id for saga in claim.sagas]


class ClaimConformance(StoreTests):
    """Sagas that nobody alive owns, each with its fence raised by one."""

    async def test_a_claim_takes_what_is_due_and_raises_its_fence(self, store: Store) -> None:
        before = await put(store, "s", fence=7)
        await store.heartbeat("w", LONG)
        claim = await store.claim("w", [KIND], limit=10)
        assert [saga.record for saga in claim.sagas] == [replace(before, owner="w", fence=8)]
        assert comparable(claim.sagas[0]) == await read(store, "s")

    async def test_a_claim_gives_each_saga_with_its_snapshot_and_events(self, store: Store) -> None:
        record = await put(store, "s", events=events(3), snapshot=Snapshot(version=3, data=b"{}"))
        await commit(store, follow(record, events=events(2)))
        await store.heartbeat("w", LONG)
        (saga,) = (await store.claim("w", [KIND], limit=10)).sagas
        assert saga.snapshot == Snapshot(version=3, data=b"{}")
        assert [event.seq for event in saga.events] == [4, 5]

    async def test_what_is_not_due_is_left(self, store: Store) -> None:
        await put(store, "later", due_in=1000)
        await put(store, "never", due_in=None)
        await store.heartbeat("w", LONG)
        assert await claimed(store, "w") == []

    async def test_other_kinds_are_left(self, store: Store) -> None:
        await put(store, "a", kind="A@1")
        await put(store, "b", kind="B@1")
        await put(store, "c", kind="C@1")
        await store.heartbeat("w", LONG)
        assert await claimed(store, "w", "D@1") == []
        assert sorted(await claimed(store, "w", "A@1", "B@1", "A@1")) == ["a", "b"]

    async def test_a_worker_without_kinds_claims_nothing(self, store: Store) -> None:
        await put(store, "a")
        await store.heartbeat("w", LONG)
        claim = await store.claim("w", [], limit=10)
        assert (list(claim.sagas), claim.next_due) == ([], None)

    async def test_the_longest_due_come_first(self, store: Store) -> None:
        for name, due in {"c": -1.0, "a": -3.0, "d": -0.5, "b": -2.0}.items():
            await put(store, name, due_in=due, kind="A@1" if name in "ab" else "B@1")
        await store.heartbeat("w", LONG)
        assert await claimed(store, "w", "B@1", "A@1", limit=3) == ["a", "b", "c"]
        assert await claimed(store, "w", "B@1", "A@1", limit=3) == ["d"]

    async def test_a_claim_takes_no_more_than_its_limit(self, store: Store) -> None:
        for name in "abc":
            await put(store, name)
        await store.heartbeat("w", LONG)
        assert await claimed(store, "w", limit=0) == []
        assert len(await claimed(store, "w", limit=2)) == 2
        assert len(await claimed(store, "w", limit=2)) == 1

    async def test_what_somebody_alive_owns_is_left(self, store: Store) -> None:
        await owned(store, "s", "alive")
        await store.heartbeat("w", LONG)
        assert await claimed(store, "w") == []
        assert await claimed(store, "w", saga_ids=["s"]) == []

    @pytest.mark.parametrize("by_id", [False, True])
    async def test_what_a_worker_owned_whose_lease_ran_out_is_taken(self, store: Store, by_id: bool) -> None:
        before = await owned(store, "s", "dead", ttl=OVER)
        await store.heartbeat("w", LONG)
        assert await claimed(store, "w", saga_ids=["s"] if by_id else None) == ["s"]
        assert ((await read(store, "s")).record.owner, (await read(store, "s")).record.fence) == ("w", before.fence + 1)

    @pytest.mark.parametrize("by_id", [False, True])
    async def test_what_a_worker_without_a_record_owned_is_taken(self, store: Store, by_id: bool) -> None:
        await owned(store, "s", "gone")
        await store.retire("gone")
        await store.heartbeat("w", LONG)
        assert await claimed(store, "w", saga_ids=["s"] if by_id else None) == ["s"]

    async def test_a_worker_never_claims_what_it_owns(self, store: Store) -> None:
        before = await owned(store, "s", "w")
        assert await claimed(store, "w") == []
        assert await claimed(store, "w", saga_ids=["s"]) == []
        assert (await read(store, "s")).record == before

    @pytest.mark.parametrize("by_id", [False, True])
    async def test_a_worker_whose_own_lease_ran_out_claims_nothing(self, store: Store, by_id: bool) -> None:
        before = await put(store, "s")
        await store.heartbeat("w", OVER)
        for worker in ("w", "unknown"):
            assert await claimed(store, worker, saga_ids=["s"] if by_id else None) == []
        assert (await read(store, "s")).record == before

    async def test_named_sagas_are_taken_whether_due_or_not(self, store: Store) -> None:
        await put(store, "later", due_in=1000)
        await put(store, "never", due_in=None)
        await put(store, "other")
        await store.heartbeat("w", LONG)
        assert sorted(await claimed(store, "w", saga_ids=["never", "later", "unknown", "never"])) == ["later", "never"]
        assert (await read(store, "other")).record.owner is None

    async def test_named_sagas_that_ended_are_left(self, store: Store) -> None:
        await commit(store, finish(await put(store, "s")))
        await put(store, "t", due_in=None, state="failed", finished_at=1.0)
        await store.heartbeat("w", LONG)
        assert await claimed(store, "w", saga_ids=["s", "t"]) == []

    async def test_named_sagas_of_other_kinds_are_left(self, store: Store) -> None:
        await put(store, "s", kind="Other@1")
        await store.heartbeat("w", LONG)
        assert await claimed(store, "w", saga_ids=["s"]) == []

    async def test_no_more_named_sagas_are_taken_than_the_limit(self, store: Store) -> None:
        for name in "abc":
            await put(store, name)
        await store.heartbeat("w", LONG)
        assert len(await claimed(store, "w", limit=2, saga_ids=["a", "b", "c"])) == 2

    async def test_whoever_owned_a_saga_can_write_nothing_after_a_claim(self, store: Store) -> None:
        before = await owned(store, "s", "dead", ttl=OVER)
        await store.heartbeat("w", LONG)
        (saga,) = (await store.claim("w", [KIND], limit=1)).sagas
        assert list(await store.commit([follow(before)])) == [Fenced(before.fence + 1)]
        assert list(await store.commit([follow(before, events=())])) == [Fenced(before.fence + 1)]
        assert (await commit(store, follow(saga.record))).owner == "w"

    async def test_attention_names_the_sagas_of_the_worker_that_others_wrote_to(self, store: Store) -> None:
        first = await owned(store, "a", "w")
        await owned(store, "b", "w")
        other = await owned(store, "c", "other")
        for record in (first, other):
            await commit(store, follow(record, attention=True))
        for _ in range(2):
            claim = await store.claim("w", [KIND], limit=10)
            assert (list(claim.attention), list(claim.sagas)) == (["a"], [])
        await commit(store, follow((await read(store, "a")).record))
        assert list((await store.claim("w", [KIND], limit=10)).attention) == []

    async def test_attention_is_told_whatever_the_kinds_and_the_limit(self, store: Store) -> None:
        await commit(store, follow(await owned(store, "a", "w"), attention=True, due_at=None))
        assert list((await store.claim("w", [], limit=0)).attention) == ["a"]

    async def test_a_saga_that_is_taken_needs_no_attention(self, store: Store) -> None:
        await put(store, "a", attention=True)
        await store.heartbeat("w", LONG)
        claim = await store.claim("w", [KIND], limit=10)
        assert ([saga.record.attention for saga in claim.sagas], list(claim.attention)) == ([False], [])
        assert list((await store.claim("w", [KIND], limit=10)).attention) == []

    async def test_next_due_is_the_time_until_the_next_saga_falls_due(self, store: Store) -> None:
        await put(store, "a", due_in=1000)
        await put(store, "b", due_in=500)
        await put(store, "c", due_in=10, kind="Other@1")
        await put(store, "d", due_in=None)
        await store.heartbeat("w", LONG)
        claim = await store.claim("w", [KIND], limit=10)
        due_at = (await read(store, "b")).record.due_at
        assert due_at is not None
        assert claim.next_due == pytest.approx(due_at - claim.now, abs=0.01)

    async def test_next_due_is_nothing_where_none_is_in_sight(self, store: Store) -> None:
        await put(store, "a", due_in=None)
        await put(store, "b", due_in=5, kind="Other@1")
        await owned(store, "mine", "w")
        assert (await store.claim("w", [KIND], limit=10)).next_due is None

    async def test_next_due_is_0_where_the_limit_left_some(self, store: Store) -> None:
        for name in "abc":
            await put(store, name)
        await store.heartbeat("w", LONG)
        assert (await store.claim("w", [KIND], limit=2)).next_due == 0
        assert (await store.claim("w", [KIND], limit=2)).next_due is None

    async def test_next_due_of_what_somebody_alive_owns_is_when_the_lease_ends(self, store: Store) -> None:
        await owned(store, "a", "alive", ttl=700)
        await store.heartbeat("w", LONG)
        claim = await store.claim("w", [KIND], limit=10)
        assert claim.next_due == pytest.approx(700, abs=30)
        await put(store, "b", due_in=300)
        assert (await store.claim("w", [KIND], limit=10)).next_due == pytest.approx(300, abs=30)
        await store.retire("alive")
        assert (await store.claim("w", [KIND], limit=0)).next_due == 0

    async def test_a_claim_tells_the_time_of_the_store(self, store: Store) -> None:
        await store.heartbeat("w", LONG)
        earlier = await store.now()
        assert earlier <= (await store.claim("w", [KIND], limit=1)).now <= await store.now()
        assert earlier <= (await store.claim("unknown", [KIND], limit=1)).now <= await store.now()

    async def test_a_released_saga_is_as_it_was_and_can_be_claimed(self, store: Store) -> None:
        before = await owned(store, "s", "w")
        assert await store.release("s", worker_id="w", fence=before.fence)
        assert (await read(store, "s")).record == replace(before, owner=None)
        await store.heartbeat("x", LONG)
        assert await claimed(store, "x") == ["s"]
        assert (await read(store, "s")).record.fence == before.fence + 1

    async def test_a_release_needs_the_owner_and_the_fence(self, store: Store) -> None:
        before = await owned(store, "s", "w")
        assert not await store.release("s", worker_id="other", fence=before.fence)
        assert not await store.release("s", worker_id="w", fence=before.fence - 1)
        assert not await store.release("s", worker_id="w", fence=before.fence + 1)
        assert not await store.release("unknown", worker_id="w", fence=1)
        assert (await read(store, "s")).record == before

    async def test_whoever_lost_a_saga_cannot_release_it(self, store: Store) -> None:
        before = await owned(store, "s", "dead", ttl=OVER)
        await store.heartbeat("w", LONG)
        assert await claimed(store, "w") == ["s"]
        assert not await store.release("s", worker_id="dead", fence=before.fence)
        assert not await store.release("s", worker_id="w", fence=before.fence)
        assert (await read(store, "s")).record.owner == "w"

    async def test_an_owner_may_let_go_in_an_append(self, store: Store) -> None:
        before = await owned(store, "s", "w")
        await commit(store, follow(before, owner=None))
        await store.heartbeat("x", LONG)
        assert await claimed(store, "x") == ["s"]

    async def test_a_saga_may_be_born_owned(self, store: Store) -> None:
        await store.heartbeat("w", LONG)
        await store.heartbeat("x", LONG)
        await commit(store, create("s", owner="w", due_at=1.0))
        assert await claimed(store, "x") == []
