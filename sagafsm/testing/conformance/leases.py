"""Obligations of worker records, fences and the clock."""

# ruff: noqa: S101

from __future__ import annotations

import pytest

from ...store import Store, Worker
from ..appends import KIND, create, finish
from .base import JUMPS, LONG, OVER, StoreTests, commit, owned, put, read, wrong_clock


class LeaseConformance(StoreTests):
    """Leases are judged by the store's clock; fences only grow."""

    async def test_a_lease_lasts_from_the_heartbeat_by_the_clock_of_the_store(self, store: Store) -> None:
        earlier = await store.now()
        worker = await store.heartbeat("w", 100.0)
        assert worker.worker_id == "w"
        assert earlier + 100 <= worker.until <= await store.now() + 100

    async def test_leases_and_due_times_follow_the_clock_of_the_store_and_no_other(self, store: Store) -> None:
        """The clock of this process jumps by a day: what counts is what ``now`` says."""
        for number, jump in enumerate(JUMPS):
            kind, alive, dead = f"K{number}@1", f"alive{number}", f"dead{number}"
            until = {f"held{number}": (await store.heartbeat(alive, LONG)).until}
            until[f"left{number}"] = (await store.heartbeat(dead, OVER)).until
            until[f"later{number}"] = due_at = await store.now() + LONG
            await store.commit(
                [
                    create(f"held{number}", kind=kind, owner=alive, due_at=due_at - LONG - 100),
                    create(f"left{number}", kind=kind, owner=dead, due_at=due_at - LONG - 100),
                    create(f"later{number}", kind=kind, due_at=due_at),
                ]
            )
            with wrong_clock(jump):
                worker = await store.heartbeat(f"w{number}", LONG)
                assert worker.until - await store.now() == pytest.approx(LONG, abs=60)
                claim = await store.claim(f"w{number}", [kind], limit=10)
            free = [saga_id for saga_id, at in until.items() if at <= claim.now]
            assert sorted(saga.record.saga_id for saga in claim.sagas) == sorted(free)

    async def test_each_heartbeat_renews_the_lease(self, store: Store) -> None:
        await store.heartbeat("w", OVER)
        await put(store, "s")
        assert not (await store.claim("w", [KIND], limit=1)).sagas
        await store.heartbeat("w", LONG)
        assert len((await store.claim("w", [KIND], limit=1)).sagas) == 1

    async def test_workers_lists_every_record_also_those_whose_lease_ran_out(self, store: Store) -> None:
        assert list(await store.workers()) == []
        expected: list[Worker] = [await store.heartbeat(name, ttl) for name, ttl in (("a", LONG), ("b", OVER))]
        assert sorted(await store.workers(), key=lambda worker: worker.worker_id) == expected

    async def test_a_retired_worker_is_forgotten(self, store: Store) -> None:
        await store.heartbeat("a", LONG)
        await store.heartbeat("b", LONG)
        await store.retire("a")
        await store.retire("unknown")
        assert [worker.worker_id for worker in await store.workers()] == ["b"]

    async def test_a_heartbeat_of_a_retired_worker_registers_it_anew(self, store: Store) -> None:
        before = await owned(store, "s", "w")
        await store.retire("w")
        await store.heartbeat("w", LONG)
        await store.heartbeat("x", LONG)
        assert not (await store.claim("x", [KIND], limit=1)).sagas
        assert (await read(store, "s")).record == before

    async def test_a_heartbeat_of_one_worker_says_nothing_of_another(self, store: Store) -> None:
        await owned(store, "s", "dead", ttl=OVER)
        await store.heartbeat("w", LONG)
        await store.heartbeat("x", LONG)
        assert len((await store.claim("w", [KIND], limit=1)).sagas) == 1

    async def test_fences_grow_by_one_with_each_claim_and_are_never_reset(self, store: Store) -> None:
        record = await put(store, "s", fence=5)
        for n in range(1, 5):
            worker = f"w{n}"
            await store.heartbeat(worker, LONG)
            (saga,) = (await store.claim(worker, [KIND], limit=1)).sagas
            assert saga.record.fence == record.fence + n
            if n % 2:
                await store.retire(worker)
            else:
                assert await store.release("s", worker_id=worker, fence=saga.record.fence)

    async def test_the_end_of_a_saga_keeps_its_fence(self, store: Store) -> None:
        await owned(store, "s", "dead", ttl=OVER)
        await store.heartbeat("w", LONG)
        (saga,) = (await store.claim("w", [KIND], limit=1)).sagas
        assert (await commit(store, finish(saga.record))).fence == saga.record.fence

    async def test_what_is_stored_is_seen_by_a_second_store(self, store: Store) -> None:
        second = await self.open_again(store)
        try:
            await owned(store, "s", "w")
            assert await second.load(["s"]) == await store.load(["s"])
            assert list(await second.workers()) == list(await store.workers())
            await second.retire("w")
            await second.heartbeat("x", LONG)
            assert len((await second.claim("x", [KIND], limit=1)).sagas) == 1
            record = (await read(store, "s")).record
            assert (record.owner, record.fence) == ("x", 4)
        finally:
            await second.close()
