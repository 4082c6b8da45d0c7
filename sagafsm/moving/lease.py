"""Keeps a copier's lease on a store while it holds sagas there.

What must stay true: a copier that is gone holds nothing for longer than its lease; one that is closed, for no moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from ..core.errors import StoreError
from ..store import Store
from .writing import surely

TTL = 30.0


@asynccontextmanager
async def lease(store: Store, worker_id: str) -> AsyncIterator[None]:
    """Be a worker of the store inside the block."""
    await surely(lambda: store.heartbeat(worker_id, TTL))
    heart = asyncio.get_running_loop().create_task(_beat(store, worker_id))
    try:
        yield
    finally:
        heart.cancel()
        await asyncio.wait([heart])
        with suppress(StoreError):  # else the lease runs out by itself
            await store.retire(worker_id)


async def _beat(store: Store, worker_id: str) -> None:
    while True:
        await asyncio.sleep(TTL / 6)
        with suppress(StoreError):  # whoever lost its lease is fenced: marks and claims find out
            await store.heartbeat(worker_id, TTL)
