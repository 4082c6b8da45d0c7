"""Looks at the store for those who wait for sagas: however many wait, they look together.

What must stay true: one look is under way at a time, so that a crowd of waiters is a few large questions and not a
flood of small ones; who is told nothing in time looks again, and what a look finds is what the store says then.
"""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import TYPE_CHECKING

from ..store import StoredSaga
from .waiters import closed

if TYPE_CHECKING:
    from .engine import Engine

AT_ONCE = 100
"""Sagas whose logs lie in memory together."""


class Looks:
    """The looks of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._wanted: dict[str, list[asyncio.Future[StoredSaga | None]]] = {}
        self._looking = False

    async def load(self, saga_id: str) -> StoredSaga | None:
        """A saga as stored; None where there is none. Raises StoreError."""
        future: asyncio.Future[StoredSaga | None] = asyncio.get_running_loop().create_future()
        self._wanted.setdefault(saga_id, []).append(future)
        if not self._looking:
            self._looking = True
            self._engine.background(self._look())
        return await future

    async def _look(self) -> None:
        asked: dict[str, list[asyncio.Future[StoredSaga | None]]] = {}
        try:
            while self._wanted:
                asked = {saga_id: self._wanted.pop(saga_id) for saga_id in list(islice(self._wanted, AT_ONCE))}
                try:
                    found = await self._engine.store.load(list(asked))
                except Exception as exc:  # whatever it is, it is theirs who asked
                    for future in _open(asked):
                        future.set_exception(exc)
                else:
                    for saga_id, futures in asked.items():
                        for future in _open({saga_id: futures}):
                            future.set_result(found.get(saga_id))
        finally:
            self._looking = False
            left, self._wanted = self._wanted, {}
            for future in [*_open(asked), *_open(left)]:
                future.set_exception(closed())


def _open(
    asked: dict[str, list[asyncio.Future[StoredSaga | None]]],
) -> list[asyncio.Future[StoredSaga | None]]:
    """Those that still wait for an answer."""
    return [future for futures in asked.values() for future in futures if not future.done()]
