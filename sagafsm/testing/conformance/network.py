"""Obligations of a store that is reached over a network: what a reply that never comes may be taken for.

::

    class TestMyStoreOnABadNetwork(NetworkConformance):
        @pytest.fixture
        async def store(self): ...           # as in StoreConformance: it looks at the database directly

        def server(self):                    # where the database is
            return "127.0.0.1", 5432

        async def store_behind(self, proxy): # a store on the same database, set up, reached through the proxy;
            ...                              # with time limits of a second or less where it has any
"""

# ruff: noqa: S101

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, ParamSpec, TypeVar

import pytest

from ...core.errors import OutcomeUnknown, StoreError, StoreUnavailable
from ...store import Append, Committed, Duplicate, Store
from ...supports import SupportsWakeups
from ..appends import create, events, follow
from ..cutting import cut_short
from ..proxy import Proxy, Trouble
from .base import StoreTests, commit, read, whole
from .calls import Call, calls_of

P = ParamSpec("P")
T = TypeVar("T")

REQUESTS = 40  # no call needs as many
BREAKS = 40  # requests that meet trouble, until it is believed
SLOW = 3  # how often a call may be made on a slow network until it succeeds
AGAIN = 50  # how often a call is made again until the store has recovered


class NetworkConformance(StoreTests):
    """StoreUnavailable only where nothing was done; OutcomeUnknown where it may have been; and then it goes on."""

    def server(self) -> tuple[str, int]:
        """Host and port of the database."""
        raise NotImplementedError("give the host and port of the server that `store` uses")

    async def store_behind(self, proxy: Proxy) -> Store:
        """A store on the database of `store`, set up, that reaches it at ``proxy.host`` and ``proxy.port``."""
        raise NotImplementedError("give a store that reaches the server through the proxy")

    @asynccontextmanager
    async def _behind(self) -> AsyncIterator[tuple[Proxy, Store]]:
        async with Proxy(*self.server()) as proxy:
            store = await self.store_behind(proxy)
            try:
                yield proxy, store
            finally:
                proxy.heal()
                await store.close()

    # --- one request at a time ---

    async def test_a_request_that_never_reaches_the_server_is_not_done(self, store: Store) -> None:
        await self._trouble(store, Trouble.CUT_BEFORE)

    async def test_a_reply_that_is_lost_leaves_the_outcome_unknown(self, store: Store) -> None:
        await self._trouble(store, Trouble.LOSE_REPLY)

    async def test_a_reply_that_is_cut_in_the_middle_leaves_the_outcome_unknown(self, store: Store) -> None:
        await self._trouble(store, Trouble.CUT_REPLY)

    async def test_a_request_that_arrives_late_leaves_the_outcome_unknown(self, store: Store) -> None:
        await self._trouble(store, Trouble.LATE)

    async def test_a_slow_network_changes_nothing(self, store: Store) -> None:
        async with self._behind() as (proxy, behind):
            for number, call in enumerate(calls_of(behind)):
                for left in reversed(range(SLOW)):
                    about = await call.begin(store, f"c{number}-{left}")
                    delayed = proxy.plan(Trouble.DELAY, seconds=0.01, times=REQUESTS)
                    try:
                        await call.made(behind, about)
                    except (StoreUnavailable, OutcomeUnknown):  # perhaps the machine stood still, not the network
                        proxy.heal()
                        if not left:
                            raise
                        continue
                    assert delayed.struck, f"{call.name}: no request was seen"
                    proxy.heal()
                    break

    async def _trouble(self, store: Store, trouble: Trouble) -> None:
        """Every request of every call meets the trouble, one after the other."""
        async with self._behind() as (proxy, behind):
            abouts: list[tuple[Call, Any]] = []
            for number, call in enumerate(calls_of(behind)):
                for request in range(1, REQUESTS):
                    about = await call.begin(store, f"c{number}-{request}")
                    strike = proxy.plan(trouble, request=request)
                    error = await self._error_of(call, behind, about)
                    proxy.heal()
                    await strike.over()
                    where = f"{call.name}, request {request}, {trouble.value}"
                    assert request > 1 or strike.struck, f"{where}: no request was seen"
                    await self._honest(call, store, about, error, where)
                    assert error is None or strike.struck, f"{where}: {error!r} out of nothing"
                    await recovered(where, call.made, behind, about)
                    abouts.append((call, about))
                    if not strike.struck:
                        break
            for call, about in abouts:
                assert call.done is None or await call.done(store, about), call.name

    async def _error_of(self, call: Call, store: Store, about: Any) -> StoreError | None:
        """Make a call for the first time; the error that it may end with, if it did."""
        error: StoreError
        try:
            async with asyncio.timeout(self.patience):
                answer = await call.make(store, about)
        except (StoreUnavailable, OutcomeUnknown) as exc:
            error = exc
        else:
            call.right(about, answer)
            assert call.fresh(answer), f"{call.name}: {answer!r}; was it done twice?"
            return None
        assert error.__cause__ is not None, f"{call.name}: the driver's error is not chained (raise … from exc)"
        return error

    async def _honest(self, call: Call, store: Store, about: Any, error: StoreError | None, where: str) -> None:
        """StoreUnavailable: certainly not done. A read leaves nothing unknown."""
        if call.done is None:
            assert not isinstance(error, OutcomeUnknown), f"{where}: {error!r}, and it only reads"
        elif isinstance(error, StoreUnavailable):
            assert not await call.done(store, about), f"{where}: {error!r}, and yet it was done"

    # --- the whole network ---

    async def test_a_server_that_stays_silent_is_given_up(self, store: Store) -> None:
        """After a time limit of the store's own."""
        async with self._behind() as (proxy, behind):
            for number, call in enumerate(calls_of(behind)):
                if call.name not in ("commit of an append", "claim", "load", "heartbeat"):
                    continue
                about = await call.begin(store, f"c{number}")
                strike = proxy.plan(Trouble.STALL, times=REQUESTS)
                error = await self._error_of(call, behind, about)
                assert error is not None, f"{call.name} was answered by nobody"
                assert strike.struck
                proxy.heal()
                proxy.cut()
                await strike.over()
                await self._honest(call, store, about, error, call.name)
                await recovered(call.name, call.made, behind, about)

    async def test_a_server_that_is_away_is_said_to_be_and_found_again(self, store: Store) -> None:
        async with self._behind() as (proxy, behind):
            for number, call in enumerate(calls_of(behind)):
                about = await call.begin(store, f"c{number}")
                proxy.refuse()
                for _ in range(3):
                    error = await self._error_of(call, behind, about)
                    assert error is not None, f"{call.name} was answered by nobody"
                proxy.heal()
                await recovered(call.name, call.made, behind, about)

    async def test_a_store_cannot_be_set_up_without_its_server_and_can_afterwards(self, store: Store) -> None:
        """And leaves nothing open where it could not."""
        async with Proxy(*self.server()) as proxy:
            proxy.refuse()
            with pytest.raises(StoreUnavailable):
                async with asyncio.timeout(self.patience):
                    await self.store_behind(proxy)
            assert proxy.connections == 0
            proxy.heal()
            behind = await recovered("setup", self.store_behind, proxy)
            try:
                assert (await commit(behind, create("s"))).version == 2
            finally:
                await behind.close()

    async def test_connections_that_were_cut_while_idle_cost_nothing_that_was_written(self, store: Store) -> None:
        async with self._behind() as (proxy, behind):
            record = await commit(behind, create("s"))
            for _ in range(10):
                await asyncio.gather(*(behind.load(["s"]) for _ in range(5)))
                proxy.cut()
                append = follow(record)
                await recovered("commit", _written, behind, append)
                record = (await read(store, "s")).record
                assert record.version == append.expected_version + 1
            await whole(store, "s")

    async def test_whoever_waits_for_changes_hears_of_them_after_a_cut(self, store: Store) -> None:
        async with self._behind() as (proxy, behind):
            if not isinstance(behind, SupportsWakeups):
                pytest.skip("this store cannot tell of changes")
            for _ in range(3):
                proxy.cut()
                await recovered("wait_for_change", self._hear, store, behind)

    async def _hear(self, store: Store, behind: SupportsWakeups) -> None:
        waiting = asyncio.ensure_future(behind.wait_for_change(1.0))
        await commit(store, create(f"s{await store.now()}".replace(".", "-")))
        async with asyncio.timeout(self.patience):
            if not await waiting:
                raise StoreUnavailable("nothing was heard")  # a hint may be lost while the store connects anew

    async def test_writers_on_a_network_that_breaks_all_the_time_lose_nothing(self, store: Store) -> None:
        """Each hands its append in again as it is until it is answered: every one of them stands once."""
        chance = random.Random(11)
        async with self._behind() as (proxy, behind):
            breaking = asyncio.ensure_future(_break(proxy, chance))

            async def write(name: str) -> int:
                record = await commit(store, create(name))
                while not breaking.done():
                    append = follow(record, events=events(chance.randint(1, 3)))
                    await _hand_in(behind, append, breaking)
                    record = (await read(store, name)).record
                    assert record.version == append.expected_version + len(append.events)
                return record.version

            try:
                versions = await asyncio.gather(*(write(f"s{n}") for n in range(6)))
            finally:
                breaking.cancel()
                await asyncio.gather(breaking, return_exceptions=True)
            assert [(await whole(store, f"s{n}")).version for n in range(6)] == versions

    async def test_a_call_that_is_cut_short_while_the_network_is_slow_is_done_or_not_done(self, store: Store) -> None:
        async with self._behind() as (proxy, behind):
            abouts: list[tuple[Call, Any]] = []
            for number, call in enumerate(calls_of(behind)):
                for wait in range(1, 12):
                    about = await call.begin(store, f"c{number}-{wait}")
                    proxy.plan(Trouble.DELAY, seconds=0.01, times=REQUESTS)
                    cut = await cut_short(partial(call.make, behind, about), wait, turns=wait % 3)
                    assert cut.error is None, f"{call.name}, cut short at its {wait}. wait: {cut.error!r}"
                    proxy.heal()
                    await recovered(call.name, call.made, behind, about)
                    abouts.append((call, about))
                    if not cut.reached:
                        break
            for call, about in abouts:
                assert call.done is None or await call.done(store, about), call.name


async def recovered(what: str, call: Callable[P, Awaitable[T]], *arguments: P.args, **options: P.kwargs) -> T:
    """The answer of a call that is made until the store has recovered, as the engine makes it."""
    error: StoreError | None = None
    for _ in range(AGAIN):
        try:
            return await call(*arguments, **options)
        except (StoreUnavailable, OutcomeUnknown) as exc:
            error = exc
            await asyncio.sleep(0.02)
    raise AssertionError(f"{what}: the network is well again and the store is not: {error!r}") from error


async def _written(store: Store, append: Append) -> None:
    (result,) = await store.commit([append])
    assert isinstance(result, (Committed, Duplicate)), result


async def _hand_in(store: Store, append: Append, breaking: asyncio.Future[None]) -> None:
    """Until it is answered: as often as it takes while the network breaks, some times once it is well."""
    while not breaking.done():
        try:
            await _written(store, append)
        except (StoreUnavailable, OutcomeUnknown):
            await asyncio.sleep(0.02)
        else:
            return
    await recovered("commit", _written, store, append)


async def _break(proxy: Proxy, chance: random.Random) -> None:
    """One trouble after the other, until enough requests have met one; then the network is well."""
    troubles: Sequence[Trouble] = (Trouble.CUT_BEFORE, Trouble.LOSE_REPLY, Trouble.CUT_REPLY, Trouble.LATE)
    struck = 0
    while struck < BREAKS:
        proxy.heal()
        strike = proxy.plan(chance.choice(troubles), request=chance.randint(1, 4))
        await asyncio.sleep(0.005)
        struck += strike.struck
        if chance.random() < 0.1:
            proxy.cut()
    proxy.heal()
