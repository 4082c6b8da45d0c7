"""What the classes of the kit share."""

# ruff: noqa: S101

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from msgspec.structs import replace

from ...store import Append, Committed, Record, Store, StoredSaga
from ..appends import create, follow

LONG = 3600.0
OVER = -1.0  # a lease with this time to live has run out when it begins
JUMPS = (86_400.0, -86_400.0)  # by which the clock of this process is wrong


class StoreTests:
    """A group of obligations. ``store`` is a fixture that the subclass gives: an empty store, set up."""

    pytestmark = pytest.mark.asyncio

    patience = 10.0
    """Seconds within which what waits for nothing is done, also on a busy machine."""

    async def open_again(self, store: Store) -> Store:
        """A second store on the same database, set up. The test closes it."""
        pytest.skip("this store's tests give no open_again")


async def commit(store: Store, append: Append) -> Record:
    """Commit one append that must be accepted; return the record as it is then."""
    (result,) = await store.commit([append])
    assert isinstance(result, Committed), result
    return (await read(store, append.saga_id)).record


async def read(store: Store, saga_id: str) -> StoredSaga:
    """The saga as stored."""
    return comparable((await store.load([saga_id]))[saga_id])


def comparable(saga: StoredSaga) -> StoredSaga:
    """The same, whatever kind of sequence its store makes of the events."""
    return replace(saga, events=tuple(saga.events))


async def owned(store: Store, saga_id: str, worker_id: str, *, ttl: float = LONG) -> Record:
    """A saga that has been due for long and is owned by a worker with such a lease; its fence is 3."""
    await store.heartbeat(worker_id, ttl)
    return await commit(store, create(saga_id, fence=3, owner=worker_id, due_at=await store.now() - 100))


async def put(store: Store, saga_id: str, *, due_in: float | None = -10.0, **changes: Any) -> Record:
    """A saga that nobody owns and that falls due in so many seconds."""
    due_at = None if due_in is None else await store.now() + due_in
    return await commit(store, create(saga_id, due_at=due_at, **changes))


async def nothing_changed(store: Store, before: StoredSaga) -> None:
    """The saga is as it was, and all of its events are there."""
    after = await read(store, before.record.saga_id)
    assert after == before
    await whole(store, before.record.saga_id)


async def whole(store: Store, saga_id: str) -> Record:
    """The saga's version is the number of its events, which are numbered without gaps."""
    record = (await read(store, saga_id)).record
    log = await store.events(saga_id)
    if len(log) > record.version:  # a write whose caller was cancelled may have come in between
        record = (await read(store, saga_id)).record
    assert [event.seq for event in log] == list(range(1, record.version + 1))
    return record


@contextmanager
def wrong_clock(seconds: float) -> Iterator[None]:
    """What this process takes for the time is wrong by so much."""
    right, right_ns = time.time, time.time_ns
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: right() + seconds)
        patch.setattr(time, "time_ns", lambda: right_ns() + int(seconds * 1e9))
        yield


__all__ = [
    "JUMPS",
    "LONG",
    "OVER",
    "StoreTests",
    "commit",
    "comparable",
    "create",
    "follow",
    "nothing_changed",
    "owned",
    "put",
    "read",
    "whole",
    "wrong_clock",
]
