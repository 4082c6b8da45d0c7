"""Which sagas may go: those that ended long enough ago, and that no saga still at work may need.

What must stay true: a sub-saga stays as long as its parent, or a parent of that, has not ended: it may yet have to be
undone, and a parent that does not find it would take it for one that never began.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from ..store import Filter, Record, Store
from .whole import TERMINAL

PAGE = 500


async def ended(store: Store, before: float, limit: int | None = None) -> AsyncIterator[list[Record]]:
    """Records of sagas that ended before this time of the store's clock, oldest first, page by page.

    ``limit``: at most so many in all. What was given out may be purged before the next page is asked for.
    """
    cursor: str | None = None
    left = limit
    while left is None or left > 0:
        page = await store.find(Filter(finished_before=before), cursor=cursor, limit=PAGE)
        free = await _not_needed(store, page.records)
        free = free if left is None else free[:left]
        if free:
            yield free
        left = None if left is None else left - len(free)
        cursor = page.cursor
        if cursor is None:
            return


async def _not_needed(store: Store, records: Sequence[Record]) -> list[Record]:
    """Those whose parents, as far up as there are any, have ended or are gone."""
    known: dict[str, Record | None] = {}
    wanted = {record.parent_id for record in records if record.parent_id is not None}
    while wanted:
        found = await store.load(sorted(wanted))
        known.update((saga_id, found[saga_id].record if saga_id in found else None) for saga_id in wanted)
        above = {saga.record.parent_id for saga in found.values() if saga.record.parent_id is not None}
        wanted = above - known.keys()
    return [record for record in records if not _needed(record, known)]


def _needed(record: Record, known: dict[str, Record | None]) -> bool:
    seen: set[str] = set()
    parent = record.parent_id
    while parent is not None and parent not in seen:
        seen.add(parent)
        above = known[parent]
        if above is None:
            return False
        if above.state not in TERMINAL:
            return True
        parent = above.parent_id
    return False
