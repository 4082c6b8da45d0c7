"""Obligations of a store that another thread can reach too (:class:`sagafsm.supports.SupportsTwin`)."""

# ruff: noqa: S101

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ...store import Store
from ...supports import SupportsTwin
from ..appends import KIND, create
from .base import LONG, OVER, StoreTests, commit, put

T = TypeVar("T")


class TwinConformance(StoreTests):
    """A second way in, for the heartbeat: from another thread, on the same database."""

    async def test_a_twin_renews_leases_from_another_thread(self, store: Store) -> None:
        await store.heartbeat("w", OVER)
        await put(store, "s")
        worker = await in_thread(store, lambda twin: twin.heartbeat("w", LONG))
        assert list(await store.workers()) == [worker]
        assert len((await store.claim("w", [KIND], limit=1)).sagas) == 1

    async def test_a_twin_sees_what_the_store_wrote(self, store: Store) -> None:
        record = await commit(store, create("s"))
        found = await in_thread(store, lambda twin: twin.load(["s"]))
        assert found["s"].record == record

    async def test_both_can_be_used_at_once(self, store: Store) -> None:
        async def beat(twin: Store) -> None:
            for _ in range(20):
                await twin.heartbeat("w", LONG)

        beating = asyncio.ensure_future(in_thread(store, beat))
        for n in range(20):
            await commit(store, create(f"s{n}"))
        await beating
        assert [worker.worker_id for worker in await store.workers()] == ["w"]

    async def test_closing_a_twin_leaves_the_store_open(self, store: Store) -> None:
        for _ in range(2):
            await in_thread(store, lambda twin: twin.now())
        await commit(store, create("s"))
        assert list(await store.load(["s"])) == ["s"]

    async def test_a_twin_outlives_the_store_being_closed(self, store: Store) -> None:
        twin = twin_of(store)
        await twin.setup(migrate=False)
        try:
            await store.close()
            await twin.heartbeat("w", LONG)
            assert [worker.worker_id for worker in await twin.workers()] == ["w"]
        finally:
            await twin.close()


def twin_of(store: Store) -> Store:
    """The store's twin, which it must have."""
    assert isinstance(store, SupportsTwin)
    twin = store.twin()
    assert twin is not None
    return twin


async def in_thread(store: Store, work: Callable[[Store], Awaitable[T]]) -> T:
    """Do something with the store's twin in another thread and another event loop; what came of it."""
    twin, loop = twin_of(store), asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    async def use() -> T:
        await twin.setup(migrate=False)
        try:
            return await work(twin)
        finally:
            await twin.close()

    def run() -> None:
        try:
            settle = functools.partial(_answer, done, asyncio.run(use()))
        except BaseException as exc:
            settle = functools.partial(_fail, done, exc)
        loop.call_soon_threadsafe(settle)

    threading.Thread(target=run, daemon=True).start()
    async with asyncio.timeout(30):
        return await done


def _answer(done: asyncio.Future[T], answer: T) -> None:
    if not done.done():
        done.set_result(answer)


def _fail(done: asyncio.Future[T], error: BaseException) -> None:
    if not done.done():
        done.set_exception(error)
