"""Obligations of a store that counts calls for all workers (:class:`sagafsm.supports.SupportsLimits`)."""

# ruff: noqa: S101

from __future__ import annotations

import asyncio
from typing import Any, cast

from ...store import Store
from ...supports import Permit, SupportsLimits
from .base import JUMPS, LONG, OVER, StoreTests, wrong_clock

RARELY = 1 / LONG  # grants per second
RACERS = 8
ROUNDS = 10


class LimitsConformance(StoreTests):
    """Permits: so many at once, so many a second, for all workers together."""

    async def test_the_store_can_count_calls(self, store: Store) -> None:
        assert isinstance(store, SupportsLimits)

    async def test_nothing_asked_for_is_nothing_granted(self, store: Store) -> None:
        assert list(await _ready(store).acquire([])) == []
        await _ready(store).give_back("w", [])

    # --- concurrency ---

    async def test_as_many_tokens_as_the_limit_says_hold_it_at_once(self, store: Store) -> None:
        await store.heartbeat("w", LONG)
        assert [await ask(store, token, concurrency=2) for token in "ab"] == [0.0, 0.0]
        assert await ask(store, "c", concurrency=2) > 0

    async def test_a_limit_holds_for_all_workers_together(self, store: Store) -> None:
        await store.heartbeat("w", LONG)
        await store.heartbeat("x", LONG)
        assert await ask(store, "a", worker="w", concurrency=1) == 0
        assert await ask(store, "b", worker="x", concurrency=1) > 0

    async def test_a_permit_given_back_makes_room(self, store: Store) -> None:
        await store.heartbeat("w", LONG)
        assert [await ask(store, token, concurrency=2) for token in "ab"] == [0.0, 0.0]
        await _ready(store).give_back("w", ["a"])
        assert await ask(store, "c", concurrency=2) == 0
        assert await ask(store, "d", concurrency=2) > 0

    async def test_only_its_own_worker_gives_a_permit_back(self, store: Store) -> None:
        await store.heartbeat("w", LONG)
        await ask(store, "a", concurrency=1)
        await _ready(store).give_back("x", ["a"])
        await _ready(store).give_back("w", ["unknown"])
        assert await ask(store, "b", concurrency=1) > 0

    async def test_a_token_that_holds_the_permit_is_granted_it_again(self, store: Store) -> None:
        await store.heartbeat("w", LONG)
        for _ in range(3):
            assert await ask(store, "a", concurrency=2, rate=RARELY, burst=2) == 0
        assert await ask(store, "b", concurrency=2, rate=RARELY, burst=2) == 0
        await _ready(store).give_back("w", ["a"])
        assert await ask(store, "b", concurrency=2) == 0
        assert await ask(store, "c", concurrency=2) == 0
        assert await ask(store, "d", concurrency=2) > 0

    async def test_a_refused_request_holds_no_place(self, store: Store) -> None:
        await store.heartbeat("w", LONG)
        await ask(store, "a", concurrency=1)
        assert await ask(store, "b", concurrency=1) > 0
        await _ready(store).give_back("w", ["a"])
        assert await ask(store, "c", concurrency=1) == 0

    async def test_permits_count_no_longer_than_the_lease_of_their_worker(self, store: Store) -> None:
        await store.heartbeat("dying", LONG)
        await store.heartbeat("w", LONG)
        assert await ask(store, "a", worker="dying", concurrency=1) == 0
        assert await ask(store, "b", concurrency=1) > 0
        await store.heartbeat("dying", OVER)
        assert await ask(store, "b", concurrency=1) == 0
        assert await ask(store, "c", concurrency=1) > 0

    async def test_permits_of_a_retired_worker_are_gone(self, store: Store) -> None:
        await store.heartbeat("gone", LONG)
        await store.heartbeat("w", LONG)
        assert await ask(store, "a", worker="gone", concurrency=1) == 0
        await store.retire("gone")
        assert await ask(store, "b", concurrency=1) == 0

    async def test_a_worker_without_a_lease_is_granted_nothing(self, store: Store) -> None:
        assert await ask(store, "a", worker="unknown", concurrency=1, rate=RARELY) > 0
        await store.heartbeat("expired", OVER)
        assert await ask(store, "a", worker="expired", concurrency=1) > 0
        assert await ask(store, "a", worker="expired", rate=RARELY) > 0
        await store.heartbeat("w", LONG)
        assert await ask(store, "b", concurrency=1, rate=RARELY) == 0

    async def test_the_limit_is_what_the_request_says(self, store: Store) -> None:
        await store.heartbeat("w", LONG)
        assert [await ask(store, token, concurrency=3) for token in "abc"] == [0.0] * 3
        await _ready(store).give_back("w", ["a"])
        assert await ask(store, "d", concurrency=2) > 0
        await _ready(store).give_back("w", ["b"])
        assert await ask(store, "d", concurrency=2) == 0

    async def test_names_do_not_affect_one_another(self, store: Store) -> None:
        await store.heartbeat("w", LONG)
        for name in ("bank", "bank:1", "bank:11", "Bank"):
            assert await ask(store, f"{name}-a", name=name, concurrency=1, rate=RARELY) == 0
            assert await ask(store, f"{name}-b", name=name, concurrency=1, rate=RARELY) > 0

    # --- rate ---

    async def test_a_burst_is_granted_at_once_and_the_next_has_to_wait(self, store: Store) -> None:
        await store.heartbeat("w", LONG)
        assert [await ask(store, token, rate=RARELY, burst=3) for token in "abc"] == [0.0] * 3
        wait = await ask(store, "d", rate=RARELY, burst=3)
        assert LONG - 60 < wait <= LONG

    async def test_without_a_burst_one_is_granted_at_a_time(self, store: Store) -> None:
        await store.heartbeat("w", LONG)
        assert await ask(store, "a", rate=RARELY) == 0
        assert LONG - 60 < await ask(store, "b", rate=RARELY) <= LONG

    async def test_time_makes_room_under_a_rate(self, store: Store) -> None:
        await store.heartbeat("w", LONG)
        fast = 200.0  # one every 5 ms: the calls themselves take long enough
        assert await ask(store, "a", rate=fast) == 0
        async with asyncio.timeout(20):
            for token in "bcd":
                await self._until_granted(store, token, name="limit", rate=fast)

    async def test_rates_follow_the_clock_of_the_store_and_no_other(self, store: Store) -> None:
        await store.heartbeat("w", 100 * LONG)
        for number, jump in enumerate(JUMPS):
            name = f"limit{number}"
            assert await ask(store, "a", name=name, rate=RARELY) == 0
            free_at = await store.now() + LONG
            with wrong_clock(jump):
                wait = await ask(store, "b", name=name, rate=RARELY)
                passed = await store.now() >= free_at
            assert (wait == 0) == passed

    async def _until_granted(self, store: Store, token: str, *, name: str, rate: float) -> None:
        while wait := await ask(store, token, name=name, rate=rate):
            assert wait <= 1 / rate
            await asyncio.sleep(0)

    async def test_what_was_not_used_for_long_is_no_more_than_a_burst(self, store: Store) -> None:
        await store.heartbeat("w", LONG)
        assert await ask(store, "a", rate=50.0, burst=2) == 0
        async with asyncio.timeout(20):
            for token in "bcdef":  # by then four more could have been granted
                await self._until_granted(store, token, name="clock", rate=50.0)
        waits = await _ready(store).acquire([_permit(token, rate=50.0, burst=2) for token in "ghi"])
        assert [wait == 0 for wait in waits] == [True, True, False]

    async def test_giving_back_gives_no_rate_back(self, store: Store) -> None:
        await store.heartbeat("w", LONG)
        assert await ask(store, "a", concurrency=1, rate=RARELY) == 0
        await _ready(store).give_back("w", ["a"])
        assert await ask(store, "b", concurrency=1, rate=RARELY) > LONG - 60

    async def test_a_refused_request_uses_up_no_rate(self, store: Store) -> None:
        await store.heartbeat("w", LONG)
        both: dict[str, Any] = {"concurrency": 1, "rate": RARELY, "burst": 2}
        assert await ask(store, "a", **both) == 0
        for token in "bcd":  # there is no place
            assert await ask(store, token, **both) > 0
        await _ready(store).give_back("w", ["a"])
        assert await ask(store, "e", **both) == 0

    async def test_a_request_refused_for_its_rate_holds_no_place(self, store: Store) -> None:
        await store.heartbeat("w", LONG)
        assert await ask(store, "a", concurrency=1, rate=RARELY) == 0
        await _ready(store).give_back("w", ["a"])
        assert await ask(store, "b", concurrency=1, rate=RARELY) > 0
        assert await ask(store, "c", concurrency=1) == 0

    # --- many at once ---

    async def test_each_request_is_judged_by_itself_and_in_order(self, store: Store) -> None:
        await store.heartbeat("w", LONG)
        wanted = [_permit("a", concurrency=2), _permit("b", name="other", concurrency=1), _permit("c", concurrency=2)]
        wanted += [_permit("d", concurrency=2), _permit("e", name="third", rate=RARELY), _permit("a", concurrency=2)]
        waits = await _ready(store).acquire(wanted)
        assert [wait == 0 for wait in waits] == [True, True, True, False, True, True]
        assert waits[3] > 0

    async def test_many_are_granted_in_one_request_and_given_back_in_one(self, store: Store) -> None:
        await store.heartbeat("w", LONG)
        tokens = [f"t{n}" for n in range(300)]
        for _ in range(2):
            waits = await _ready(store).acquire([_permit(token, concurrency=299) for token in tokens])
            assert [wait == 0 for wait in waits] == [True] * 299 + [False]
            await _ready(store).give_back("w", tokens)

    async def test_of_racers_as_many_are_granted_as_the_limit_says(self, store: Store) -> None:
        await self._race([store])

    async def test_a_limit_holds_through_two_stores(self, store: Store) -> None:
        second = await self.open_again(store)
        try:
            await store.heartbeat("w", LONG)
            assert await ask(store, "a", concurrency=1) == 0
            assert await ask(second, "b", concurrency=1) > 0
            await _ready(second).give_back("w", ["a"])
            assert await ask(second, "b", concurrency=1) == 0
            assert await ask(store, "c", concurrency=1) > 0
            await self._race([store, second])
        finally:
            await second.close()

    async def _race(self, stores: list[Store]) -> None:
        await stores[0].heartbeat("w", LONG)
        for round_ in range(ROUNDS):
            for limits in ({"concurrency": 3}, {"rate": RARELY, "burst": 3}):
                name = f"{'-'.join(limits)}{round_}"
                calls = [
                    ask(stores[n % len(stores)], f"{name}-{n}", name=name, **cast("dict[str, Any]", limits))
                    for n in range(RACERS)
                ]
                assert [wait == 0 for wait in await asyncio.gather(*calls)].count(True) == 3


def _ready(store: Store) -> SupportsLimits:
    assert isinstance(store, SupportsLimits)
    return store


def _permit(
    token: str,
    *,
    name: str = "limit",
    worker: str = "w",
    concurrency: int | None = None,
    rate: float | None = None,
    burst: int = 1,
) -> Permit:
    return Permit(name=name, token=token, worker_id=worker, concurrency=concurrency, rate=rate, burst=burst)


async def ask(store: Store, token: str, **limits: Any) -> float:
    """Ask for one permit; the seconds to wait, 0.0 where it is granted."""
    (wait,) = await _ready(store).acquire([_permit(token, **limits)])
    assert wait >= 0
    return wait
