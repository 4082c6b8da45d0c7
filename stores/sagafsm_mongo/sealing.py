"""Moves the tail of a saga's log, and its snapshot, out of the saga's document, so that the document stays small.

What must stay true: before anything of a saga is put elsewhere its document says so (``outside``), or a purge would
leave it behind. Then the entries are put into ``saga_events`` and the snapshot into ``saga_snapshots`` (where they are
already, they are the same: an accepted entry never changes), and one conditional write says in the saga's document how
far it is sealed and takes them away there. Interrupted anywhere, nothing is lost and nothing is read twice, and it may
be begun again from the beginning. It touches neither version nor fence, so it is in nobody's way. One saga that
cannot be sealed, whatever the reason, stops neither the task nor a commit.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from sagafsm.core.errors import OutcomeUnknown, StoreError
from sagafsm.store import Append, AppendResult, Committed

from .database import EVENTS, SAGAS, SNAPSHOTS, Database, Document
from .documents import last_number, life, place, snapshot_place, whole_life
from .errors import DUPLICATE_KEY

LOGGER = logging.getLogger("sagafsm.store")

EVERY = 64  # events
LARGE = 16_384  # bytes of one append from which on the tail is sealed at once: each later append would carry it along
AT_ONCE = 32  # sagas


class Sealer:
    """Seals beside the appends, in a task of its own that ends when there is nothing left to do."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[str, None] = {}
        self._task: asyncio.Task[None] | None = None

    def look_at(self, batch: Sequence[Append], results: Sequence[AppendResult]) -> None:
        """Note which sagas are to be sealed after this batch."""
        for append, result in zip(batch, results, strict=True):
            if type(result) is Committed and is_due(append):
                self._waiting[append.saga_id] = None
        if self._waiting and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._work(), name="sagafsm mongodb sealing")

    def is_behind(self, batch: Sequence[Append]) -> bool:
        """Whether a saga of this batch would be noted for the second time, before it was sealed the first time."""
        return bool(self._waiting) and any(append.saga_id in self._waiting and is_due(append) for append in batch)

    async def caught_up(self) -> None:
        """Wait until what is noted is sealed (or has failed)."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def close(self) -> None:
        """Stop; what is not sealed yet is sealed by whoever writes to those sagas next."""
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _work(self) -> None:
        while self._waiting:
            names = list(self._waiting)[:AT_ONCE]
            try:
                await self.seal(names)
            except StoreError as exc:
                LOGGER.warning("the logs of %d sagas stay in their documents for now: %s", len(names), exc)
            except Exception:
                LOGGER.exception("the logs of %s stay in their documents: one of these is damaged", ", ".join(names))
            for name in names:
                self._waiting.pop(name, None)

    async def seal(self, saga_ids: Sequence[str]) -> None:
        """Seal the tails and snapshots of these sagas."""
        fields = {"log": 1, "tail": 1, "sealed": 1, "snapshot": 1, "outside": 1}
        documents = await self._database.find(
            SAGAS, {"_id": {"$in": list(saga_ids)}, "tail": {"$exists": True}}, fields=fields
        )
        first, entries, snapshots, updates, old = [], [], [], [], []
        for document in documents:
            prefix = life(document)
            sealed = document.get("sealed")
            same = {"_id": document["_id"], "log": document.get("log")}
            if not document.get("outside"):
                first.append({"q": same, "u": {"$set": {"outside": True}}})
            if tail := document["tail"]:
                entries += [{"_id": place(prefix, last_number(entry)), **entry} for entry in tail]
                changes: Document = {"sealed": last_number(tail[-1])}
                gone = {"tail": {"seq": {"$lte": tail[-1]["seq"]}}}
                updates.append({"q": {**same, "sealed": sealed}, "u": {"$set": changes, "$pull": gone}})
            snapshot = document.get("snapshot", {})
            if "data" in snapshot:
                version, append_id = snapshot["version"], snapshot.get("append_id")
                snapshots.append({"_id": snapshot_place(prefix, snapshot), "data": snapshot["data"]})
                unchanged = {**same, "snapshot.version": version, "snapshot.append_id": append_id}
                changes = {"snapshot": {"version": version, "append_id": append_id or "", "sealed": True}}
                updates.append({"q": unchanged, "u": {"$set": changes}})
                # Not those of the same version: one may be put there by another process that has not yet said so.
                old.append({"q": {"_id": {"$gte": prefix, "$lt": place(prefix, version)}}, "limit": 0})
        await self._database.write("update", SAGAS, first)
        await self._put(EVENTS, entries)
        await self._put(SNAPSHOTS, snapshots)
        reply = await self._database.write("update", SAGAS, updates)
        await self._database.write("delete", SNAPSHOTS, old)
        if reply["n"] < len(updates):
            await self._forget_the_purged(documents)

    async def _forget_the_purged(self, documents: Sequence[Document]) -> None:
        """What was put aside for a saga that was purged meanwhile belongs to nobody."""
        where = {"_id": {"$in": [document["_id"] for document in documents]}, "tail": {"$exists": True}}
        alive = {life(document) for document in await self._database.find(SAGAS, where, fields={"log": 1})}
        ranges = [whole_life(life(document)) for document in documents if life(document) not in alive]
        await self._database.write("delete", EVENTS, ranges)
        await self._database.write("delete", SNAPSHOTS, ranges)

    async def _put(self, collection: str, documents: Sequence[Document]) -> None:
        size = sum(_size(document) for document in documents)
        reply = await self._database.write("insert", collection, documents, size=size)
        for error in reply.get("writeErrors", ()):
            if error.get("code") != DUPLICATE_KEY:
                raise OutcomeUnknown(f"{self._database.where}: {error.get('errmsg', error)}")


def is_due(append: Append) -> bool:
    """Whether the saga's tail is to be sealed after this append."""
    version = append.expected_version + len(append.events)
    if version // EVERY > append.expected_version // EVERY or append.snapshot is not None:
        return True
    return sum(len(event.data) for event in append.events) > LARGE


def _size(document: Document) -> int:
    return 200 + len(document.get("data", "")) + sum(100 + len(event["data"]) for event in document.get("events", ()))
