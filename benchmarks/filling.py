"""Sagas in great number: copies of one that was run, written through the store.

What must stay true: a copy has the rows, indexes and counts that a saga of the engine's has; only its id differs, and
its times are a little earlier.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from sagafsm import Orchestrator, Saga, open_store, step
from sagafsm.store import Append, Birth, Committed, NewEvent, Store, StoredSaga

AT_ONCE = 1_000  # copies in one commit
APART = 0.001  # seconds between two copies
ORIGINAL = "copied-0"


class Note(Saga[dict[str, Any]]):
    """One step: the smallest saga that ends with a result. Four events."""

    @step(compensatable=False)
    async def note(self, data: dict[str, Any]) -> str:
        return "noted"


async def fill(url: str, saga: type[Saga[Any]], count: int, *, ended: bool) -> None:
    """Run one saga, to its end or to where it waits, and copy it until there are so many."""
    async with Orchestrator(url, sagas=[saga]) as orchestrator:
        begin: Callable[..., Any] = orchestrator.run if ended else orchestrator.start
        await begin(saga, {}, saga_id=ORIGINAL)
    store = open_store(url)
    await store.setup()
    try:
        original = (await store.load([ORIGINAL]))[ORIGINAL]
        batches = iter(range(1, count, AT_ONCE))

        async def lane() -> None:
            for first in batches:
                await _write(store, [_copy(original, n) for n in range(first, min(first + AT_ONCE, count))])

        await asyncio.gather(*(lane() for _ in range(store.batches)))
        found = sum(each.count for each in await store.counts())
        if found != count or (await store.load([f"copied-{count - 1}"])) == {}:
            raise RuntimeError(f"there are {found} sagas, not {count}")
    finally:
        await store.close()


async def _write(store: Store, copies: Sequence[Append]) -> None:
    for result in await store.commit(copies):
        if not isinstance(result, Committed):
            raise RuntimeError(f"a copy was not accepted: {result}")


def _copy(original: StoredSaga, number: int) -> Append:
    record, saga_id, earlier = original.record, f"copied-{number}", number * APART
    old, new = f'"{record.saga_id}"'.encode(), f'"{saga_id}"'.encode()
    return Append(
        saga_id=saga_id,
        append_id=f"copy-{saga_id}",
        expected_version=0,
        fence=record.fence,
        events=[NewEvent(event.type, event.at - earlier, event.data.replace(old, new)) for event in original.events],
        state=record.state,
        outcome=record.outcome,
        due_at=record.due_at,
        updated_at=record.updated_at - earlier,
        finished_at=None if record.finished_at is None else record.finished_at - earlier,
        birth=Birth(
            saga_type=record.saga_type,
            kind=record.kind,
            correlation_id=saga_id,
            digest=record.digest,
            created_at=record.created_at - earlier,
        ),
    )
