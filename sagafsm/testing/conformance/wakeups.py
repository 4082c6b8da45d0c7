"""Obligations of a store that tells of changes made by others (:class:`sagafsm.supports.SupportsWakeups`)."""

# ruff: noqa: S101

from __future__ import annotations

import asyncio

from ...store import Store
from ...supports import SupportsWakeups
from ..appends import create
from .base import StoreTests, commit


class WakeupConformance(StoreTests):
    """A hint that comes soon after another has written, and not when nobody has."""

    async def test_the_store_can_tell_of_changes(self, store: Store) -> None:
        assert isinstance(store, SupportsWakeups)

    async def test_waiting_ends_soon_after_another_has_written(self, store: Store) -> None:
        assert isinstance(store, SupportsWakeups)
        second = await self.open_again(store)
        try:
            waiting = asyncio.ensure_future(store.wait_for_change(30.0))
            await asyncio.sleep(0)
            await commit(second, create("s"))
            async with asyncio.timeout(self.patience):
                assert await waiting
        finally:
            await second.close()

    async def test_a_change_made_before_the_waiting_began_counts(self, store: Store) -> None:
        assert isinstance(store, SupportsWakeups)
        second = await self.open_again(store)
        try:
            await commit(second, create("s"))
            async with asyncio.timeout(self.patience):
                assert await store.wait_for_change(30.0)
        finally:
            await second.close()

    async def test_waiting_ends_without_a_change_after_the_timeout(self, store: Store) -> None:
        assert isinstance(store, SupportsWakeups)
        await commit(store, create("s"))
        assert not await store.wait_for_change(0.0)

    async def test_waiting_can_be_cancelled(self, store: Store) -> None:
        assert isinstance(store, SupportsWakeups)
        waiting = asyncio.ensure_future(store.wait_for_change(30.0))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert waiting.cancelled()
        assert await store.load(["s"]) == {}
