"""Takes off the marks of sagas that were moved to a store that is lost."""

from __future__ import annotations

from ..store import Committed, Filter, Store
from .marks import mark_of
from .writing import Standing, commit_all, record_only


async def undo_moves(store: Store, target_name: str) -> int:
    """Free the sagas that are marked as moved to this target; return how many.

    They stand as before they were moved, and whoever works on this store goes on with them.
    """
    freed, cursor = 0, None
    while True:
        page = await store.find(Filter(live=True, stuck=True), cursor=cursor)
        appends = []
        for record in page.records:
            mark = mark_of(record)
            if mark is not None and mark.kind == "moved" and mark.place == target_name:
                appends.append(record_only(record, Standing.of(record).unmarked(mark.was)))
        results = await commit_all(store, appends)
        freed += sum(isinstance(result, Committed) for result in results)
        cursor = page.cursor
        if cursor is None:
            return freed
