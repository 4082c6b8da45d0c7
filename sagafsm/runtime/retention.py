"""Purges ended sagas by itself, as a part of a worker.

What must stay true: it never hurries: one batch at a time, with a pause after each, so that it takes no more than a
small part of what the store can do. Several workers may do it at once: of those that want to delete a saga one does.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from ..moving import ended

if TYPE_CHECKING:
    from .engine import Engine

LOGGER = logging.getLogger("sagafsm")
EVERY = 60.0
"""Seconds between two looks, more or less: workers that were started together do not look together."""

PAUSE = 1.0
"""Seconds after a batch."""


async def retain(engine: Engine, retention: float, keep_ids: float) -> None:
    """Delete what ended more than ``retention`` seconds ago, for ever."""
    while True:
        await asyncio.sleep(EVERY * (1 + engine.environment.spread() / 2))
        if not engine.lease_holds():
            continue
        try:
            await purge_slowly(engine, retention, keep_ids)
        except Exception as exc:  # whatever it is, the worker goes on
            LOGGER.warning("ended sagas could not be purged, next try in about %d s: %s", EVERY, exc)


async def purge_slowly(engine: Engine, retention: float, keep_ids: float) -> None:
    """One look."""
    before = await engine.store.now() - retention
    purged = 0
    async for records in ended(engine.store, before):
        ids = [record.saga_id for record in records]
        purged += await engine.store.purge(before, limit=len(ids), keep_ids=keep_ids, saga_ids=ids)
        await asyncio.sleep(PAUSE)
    if purged:
        LOGGER.info("purged %d sagas that ended more than %g s ago", purged, retention)
