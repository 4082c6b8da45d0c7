"""Reads sagas whole: the document, and what of its log and snapshot lies in other collections.

What must stay true: what a document says is elsewhere was put there before the document said so, and sealed entries
never change; so the document is read first and the rest after it, and together they are the saga as it was when the
document was read. What is missing then was purged, or replaced by a newer snapshot, in between: the document is read
again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

from sagafsm.store import Snapshot, StoredEvent, StoredSaga

from .database import EVENTS, SAGAS, SNAPSHOTS, Database, Document
from .documents import is_purged, life, place, read_bytes, read_entries, read_record, snapshot_place

LOG = {"log": 1, "sealed": 1, "tail": 1, "version": 1, "purged_until": 1}
TRIES = 5
AT_ONCE = 100  # sagas per query for sealed entries: one range each


class Reader:
    """Reads from one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self, where: Mapping[str, Any]) -> dict[str, StoredSaga]:
        """The sagas whose documents match, by id."""
        found: dict[str, StoredSaga] = {}
        for attempt in range(TRIES):
            documents = [each for each in await self._database.find(SAGAS, where) if not is_purged(each)]
            snapshots = await self._snapshots(documents)
            afters = [self._after(document, snapshots) for document in documents]
            entries = await self._sealed(documents, afters)
            again = []
            for document, after in zip(documents, afters, strict=True):
                saga = _saga(document, snapshots.get(document["_id"]), entries.get(document["_id"], ()), after)
                found[saga.record.saga_id] = saga
                if len(saga.events) != saga.record.version - after or _is_missing(document, snapshots):
                    again.append(saga.record.saga_id)
            if not again or attempt == TRIES - 1:
                break
            for saga_id in again:
                del found[saga_id]
            where = {"$and": [where, {"_id": {"$in": again}}]}
        return found

    async def events(self, saga_id: str, after: int) -> tuple[StoredEvent, ...]:
        """The events with a number above ``after``."""
        events: list[StoredEvent] = []
        for _ in range(TRIES):
            documents = await self._database.find(SAGAS, {"_id": {"$eq": saga_id}}, fields=LOG)
            if not documents or is_purged(documents[0]):
                return ()
            entries = await self._sealed(documents, [after])
            events = read_entries([*entries.get(saga_id, ()), *documents[0].get("tail", ())], after)
            if len(events) == max(documents[0].get("version", 0) - after, 0):
                break
        return tuple(events)

    def _after(self, document: Document, snapshots: Mapping[str, Snapshot]) -> int:
        """From which number on the events are needed."""
        snapshot = snapshots.get(document["_id"])
        return 0 if snapshot is None else snapshot.version

    async def _snapshots(self, documents: Sequence[Document]) -> dict[str, Snapshot]:
        found: dict[str, Snapshot] = {}
        elsewhere: dict[str, tuple[str, int]] = {}
        for document in documents:
            if snapshot := document.get("snapshot"):
                if "data" in snapshot:
                    data = read_bytes(snapshot["data"])
                    found[document["_id"]] = Snapshot(version=snapshot["version"], data=data)
                else:
                    elsewhere[snapshot_place(life(document), snapshot)] = document["_id"], snapshot["version"]
        if elsewhere:
            for sealed in await self._database.find(SNAPSHOTS, {"_id": {"$in": list(elsewhere)}}):
                saga_id, version = elsewhere[sealed["_id"]]
                found[saga_id] = Snapshot(version=version, data=read_bytes(sealed["data"]))
        return found

    async def _sealed(self, documents: Sequence[Document], afters: Sequence[int]) -> dict[str, list[Document]]:
        """The sealed entries that hold an event above the saga's ``after``, by saga and in order."""
        ranges = [
            {"_id": {"$gte": place(life(document), after + 1), "$lte": place(life(document), document["sealed"])}}
            for document, after in zip(documents, afters, strict=True)
            if document.get("sealed", 0) > after
        ]
        found: dict[str, list[Document]] = {}
        for start in range(0, len(ranges), AT_ONCE):
            piece = ranges[start : start + AT_ONCE]
            where = piece[0] if len(piece) == 1 else {"$or": piece}
            # Sorted here: the server would do it in memory, and refuse what is over its limit.
            for entry in sorted(await self._database.find(EVENTS, where), key=itemgetter("_id")):
                found.setdefault(entry["_id"].partition("/")[0], []).append(entry)
        return found


def _is_missing(document: Document, snapshots: Mapping[str, Snapshot]) -> bool:
    return "snapshot" in document and document["_id"] not in snapshots


def _saga(document: Document, snapshot: Snapshot | None, sealed: Sequence[Document], after: int) -> StoredSaga:
    events = read_entries([*sealed, *document.get("tail", ())], after)
    return StoredSaga(record=read_record(document), snapshot=snapshot, events=tuple(events))
