"""Obligations under racers: of several who write at once exactly one wins."""

# ruff: noqa: S101

from __future__ import annotations

import asyncio

from ...store import Append, AppendResult, Committed, Conflict, Exists, Store
from ..appends import KIND, create, events, follow
from .base import LONG, StoreTests, commit, put, read, whole

RACERS = 8
ROUNDS = 25


async def race(stores: list[Store], appends: list[Append]) -> list[AppendResult]:
    """Commit each append by itself, all at once, spread over the stores."""
    calls = [stores[n % len(stores)].commit([append]) for n, append in enumerate(appends)]
    return [result for (result,) in await asyncio.gather(*calls)]


def winner(results: list[AppendResult]) -> int:
    """Which of the racers was accepted."""
    won = [n for n, result in enumerate(results) if isinstance(result, Committed)]
    assert len(won) == 1, f"{len(won)} of {len(results)} racers were accepted: {results}"
    return won[0]


class RaceConformance(StoreTests):
    """The same through one store, and through two that share a database."""

    async def test_of_racing_appends_exactly_one_wins(self, store: Store) -> None:
        await self._race_appends([store])

    async def test_of_racing_appends_through_two_stores_exactly_one_wins(self, store: Store) -> None:
        second = await self.open_again(store)
        try:
            await self._race_appends([store, second])
        finally:
            await second.close()

    async def _race_appends(self, stores: list[Store]) -> None:
        record = await commit(stores[0], create("s"))
        for round_ in range(ROUNDS):
            appends = [follow(record, events=events(1 + n % 2), problem=str(n)) for n in range(RACERS)]
            results = await race(stores, appends)
            won = winner(results)
            version = record.version + 1 + won % 2
            assert [result for result in results if not isinstance(result, Committed)] == [Conflict(version)] * 7
            record = await whole(stores[round_ % len(stores)], "s")
            assert (record.version, record.problem) == (version, str(won))

    async def test_of_racing_creations_exactly_one_wins(self, store: Store) -> None:
        await self._race_creations([store])

    async def test_of_racing_creations_through_two_stores_exactly_one_wins(self, store: Store) -> None:
        second = await self.open_again(store)
        try:
            await self._race_creations([store, second])
        finally:
            await second.close()

    async def _race_creations(self, stores: list[Store]) -> None:
        for round_ in range(ROUNDS):
            name = f"s{round_}"
            results = await race(stores, [create(name, digest=str(n), tags={"n": str(n)}) for n in range(RACERS)])
            won = winner(results)
            assert results.count(Exists(same=False)) == RACERS - 1
            record = await whole(stores[round_ % len(stores)], name)
            assert (record.digest, record.tags) == (str(won), {"n": str(won)})

    async def test_of_a_purge_and_an_append_one_comes_first(self, store: Store) -> None:
        await self._race_purges([store])

    async def test_of_a_purge_and_an_append_through_two_stores_one_comes_first(self, store: Store) -> None:
        second = await self.open_again(store)
        try:
            await self._race_purges([store, second])
        finally:
            await second.close()

    async def _race_purges(self, stores: list[Store]) -> None:
        for round_ in range(ROUNDS):
            name = f"s{round_}"
            record = await commit(stores[0], create(name, state="completed", finished_at=1.0))
            reopen = follow(record, state="compensating")
            purging = stores[-1].purge(2.0, saga_ids=[name] if round_ % 2 else None, keep_ids=LONG)
            if round_ % 3:  # each comes first at times
                (result,), gone = await asyncio.gather(stores[0].commit([reopen]), purging)
            else:
                gone, (result,) = await asyncio.gather(purging, stores[0].commit([reopen]))
            if gone:
                assert result == Conflict(0)
                assert await stores[0].load([name]) == {}
                assert list(await stores[0].events(name)) == []
            else:
                assert result == Committed(3)
                assert (await whole(stores[0], name)).version == 3

    async def test_each_saga_is_claimed_by_one_worker_only(self, store: Store) -> None:
        await self._race_claims([store])

    async def test_each_saga_is_claimed_through_two_stores_by_one_worker_only(self, store: Store) -> None:
        second = await self.open_again(store)
        try:
            await self._race_claims([store, second])
        finally:
            await second.close()

    async def _race_claims(self, stores: list[Store]) -> None:
        names = [f"s{n:02}" for n in range(60)]
        for n, name in enumerate(names):
            await put(stores[n % len(stores)], name)
        workers = [f"w{n}" for n in range(RACERS)]
        for worker in workers:
            await stores[0].heartbeat(worker, LONG)

        async def take(worker: str, store: Store) -> list[str]:
            taken: list[str] = []
            while sagas := (await store.claim(worker, [KIND], limit=3)).sagas:
                assert len(sagas) <= 3
                taken += [saga.record.saga_id for saga in sagas]
                assert all((saga.record.owner, saga.record.fence) == (worker, 2) for saga in sagas)
            return taken

        calls = [take(worker, stores[n % len(stores)]) for n, worker in enumerate(workers)]
        taken = await asyncio.gather(*calls)
        assert sorted(name for part in taken for name in part) == names
        for worker, part in zip(workers, taken, strict=True):
            for name in part:
                record = (await read(stores[0], name)).record
                assert (record.owner, record.fence) == (worker, 2)

    async def test_a_named_saga_is_claimed_by_one_worker_only(self, store: Store) -> None:
        await self._race_named_claims([store])

    async def test_a_named_saga_is_claimed_through_two_stores_by_one_worker_only(self, store: Store) -> None:
        second = await self.open_again(store)
        try:
            await self._race_named_claims([store, second])
        finally:
            await second.close()

    async def _race_named_claims(self, stores: list[Store]) -> None:
        workers = [f"w{n}" for n in range(RACERS)]
        for worker in workers:
            await stores[0].heartbeat(worker, LONG)
        for round_ in range(ROUNDS // 2):
            names = [f"s{round_}-{n}" for n in range(3)]
            for name in names:
                await put(stores[0], name, due_in=None)
            calls = [
                stores[n % len(stores)].claim(worker, [KIND], limit=5, saga_ids=names[:: 1 if n % 2 else -1])
                for n, worker in enumerate(workers)
            ]
            claims = await asyncio.gather(*calls)
            pairs = zip(workers, claims, strict=True)
            taken = [(saga.record.saga_id, worker) for worker, claim in pairs for saga in claim.sagas]
            assert sorted(name for name, _ in taken) == names
            for name, worker in taken:
                record = (await read(stores[0], name)).record
                assert (record.owner, record.fence) == (worker, 2)

    async def test_a_claim_and_an_append_of_the_old_owner_never_both_hold(self, store: Store) -> None:
        for round_ in range(ROUNDS):
            name = f"s{round_}"
            record = await put(store, name, owner="gone")
            await store.heartbeat("w", LONG)
            append = asyncio.ensure_future(store.commit([follow(record)]))
            if round_ % 2:
                await asyncio.sleep(0)
            (saga,) = (await store.claim("w", [KIND], limit=1, saga_ids=[name])).sagas
            (result,) = await append
            # The append came first and the claim shows it, or it came too late and was refused.
            assert saga.record.version == (3 if isinstance(result, Committed) else 2)
            assert (await whole(store, name)).version == saga.record.version
