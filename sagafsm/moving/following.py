"""Finds the records of another store beside those of the first, both being in the order of creation.

What must stay true: this only spares work. A record that is there and is not found here (a store may order equal
times otherwise) is found when it is written to.
"""

from __future__ import annotations

from ..store import Filter, Record, Store

PAGE = 500


class Follower:
    """Reads a store's records in order, as far as it is asked."""

    def __init__(self, store: Store, where: Filter) -> None:
        self._store = store
        self._where = where
        self._cursor: str | None = None
        self._page: list[Record] = []
        self._next = 0
        self._over = False

    async def beside(self, record: Record) -> Record | None:
        """The record of the same saga. To be asked in the order of creation."""
        while (found := await self._look()) is not None and _place(found) < _place(record):
            self._next += 1
        return found if found is not None and found.saga_id == record.saga_id else None

    async def _look(self) -> Record | None:
        """The record that is next, without passing over it."""
        while self._next >= len(self._page):
            if self._over:
                return None
            page = await self._store.find(self._where, cursor=self._cursor, limit=PAGE)
            self._page, self._next, self._cursor = list(page.records), 0, page.cursor
            self._over = page.cursor is None
        return self._page[self._next]


def _place(record: Record) -> tuple[float, str]:
    return record.created_at, record.saga_id
