"""Writes a batch of appends: creations in one command, updates in another, at the same time.

What must stay true: each append is one conditional write to one document. The server says of a batch only how many
of its updates matched. Where all did, each is accepted, and that is the whole story of nearly every batch. Where not,
the documents are read: an entry says which call wrote it, so it is certain which append was accepted by this call,
which by an earlier one, and which not at all. (An append without events leaves no entry. Where another writer comes
between it and that look, it is answered as if it had come second; it holds no fact that could be lost.)
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import bson

from sagafsm.core.errors import OutcomeUnknown, StoreError
from sagafsm.store import Append, AppendResult, Committed, Conflict, Duplicate, Exists, Fenced, Refused

from .database import CODEC, EVENTS, SAGAS, Database, Document
from .documents import document_of, is_purged, is_well_formed, life, place, size_of, update_of
from .errors import DUPLICATE_KEY, POISON, REFUSES, doubtful
from .purging import Purger

ROUNDS = 5
LARGEST = 16 << 20  # bytes of a document, and so of an operation
NOT_WHOLE = Refused("a saga is created with its birth and at least one event, and its id is a text")
PURGED = (Exists(same=True, purged=True), Exists(same=False, purged=True))
HEAD = {
    "version": 1, "fence": 1, "digest": 1, "log": 1, "sealed": 1, "write": 1, "purged_until": 1, "left": 1,
    "tail.seq": 1, "tail.append_id": 1, "tail.write": 1,
}  # fmt: skip

Operations = list[tuple[int, Document]]


class Writer:
    """Writes appends to one database."""

    def __init__(self, database: Database, purger: Purger) -> None:
        self._database = database
        self._purger = purger

    async def commit(self, batch: Sequence[Append]) -> Sequence[AppendResult]:
        """One result per append, in order.

        Raises StoreUnavailable where none was written, OutcomeUnknown where some may have been.
        """
        with self._database.one_call() as database:
            return await Writer(database, self._purger)._commit(batch)

    async def _commit(self, batch: Sequence[Append]) -> Sequence[AppendResult]:
        results: list[AppendResult] = [Committed(a.expected_version + len(a.events)) for a in batch]
        write = random.getrandbits(63)
        for wave in _waves(batch):
            pending = wave
            for _ in range(ROUNDS):
                pending = await self._round(batch, pending, results, write)
                if not pending:
                    break
            else:
                # Reads show what a majority has, and that may be behind; or a saga comes and goes.
                raise OutcomeUnknown(f"{self._database.where}: what is read does not fit what was written; try later")
        return results

    async def _round(
        self, batch: Sequence[Append], pending: Sequence[int], results: list[AppendResult], write: int
    ) -> list[int]:
        """Write those that are pending; which of them have to be tried once more."""
        births: Operations = []
        updates: Operations = []
        size = 0
        for n in pending:
            append = batch[n]
            if not is_well_formed(append):
                results[n] = NOT_WHOLE
                continue
            try:
                if append.expected_version:
                    updates.append((n, update_of(append, write)))
                elif append.birth is not None:
                    births.append((n, document_of(append, append.birth, write, f"{write:016x}{n:x}")))
            except POISON as exc:
                results[n] = _refused(exc)
            else:
                size += size_of(append)
        taken, unmatched = await self._write_both(births, updates, results, size)
        if not taken and not unmatched:
            return []
        return await self._classify(batch, taken, unmatched, results, write)

    async def _write_both(
        self, births: Operations, updates: Operations, results: list[AppendResult], size: int
    ) -> tuple[list[int], list[int]]:
        """The creations whose id is taken, and the updates of which at least one did not match."""
        if not births:
            return [], await self._update(updates, results, size)
        if not updates:
            return await self._insert(births, results, size), []
        taken, unmatched = await asyncio.gather(
            self._insert(births, results, size), self._update(updates, results, size), return_exceptions=True
        )
        if isinstance(taken, BaseException) or isinstance(unmatched, BaseException):
            raise _worse(taken, unmatched)
        return taken, unmatched

    async def _insert(self, births: Operations, results: list[AppendResult], size: int) -> list[int]:
        reply, births = await self._send("insert", births, results, size)
        taken = []
        for error in reply.get("writeErrors", ()):
            n = births[error["index"]][0]
            if error.get("code") == DUPLICATE_KEY:
                taken.append(n)
            else:
                results[n] = self._judge(error)
        return taken

    async def _update(self, updates: Operations, results: list[AppendResult], size: int) -> list[int]:
        reply, updates = await self._send("update", updates, results, size)
        failed = {}
        for error in reply.get("writeErrors", ()):
            failed[error["index"]] = results[updates[error["index"]][0]] = self._judge(error)
        if reply["n"] == len(updates) - len(failed):
            return []
        return [n for index, (n, _) in enumerate(updates) if index not in failed]

    async def _send(
        self, kind: Literal["insert", "update"], operations: Operations, results: list[AppendResult], size: int
    ) -> tuple[Document, Operations]:
        """Send them; those that cannot be written down are refused, and the others sent without them."""
        try:
            return await self._database.write(kind, SAGAS, [each for _, each in operations], size=size), operations
        except POISON:
            sound: Operations = []
            size = 0
            for n, operation in operations:
                try:
                    length = len(bson.encode(operation, codec_options=CODEC))
                except POISON as exc:
                    results[n] = _refused(exc)
                    continue
                if length > LARGEST:
                    results[n] = Refused(f"it takes {length} bytes, and MongoDB takes {LARGEST}")
                    continue
                sound.append((n, operation))
                size += length
        return await self._database.write(kind, SAGAS, [each for _, each in sound], size=size), sound

    def _judge(self, error: Mapping[str, Any]) -> Refused:
        if error.get("code") in REFUSES:
            return Refused(f"MongoDB refuses it: {error.get('errmsg', error)}")
        raise doubtful(error, self._database.where)

    # --- what became of each ---

    async def _classify(
        self,
        batch: Sequence[Append],
        taken: Sequence[int],
        unmatched: Sequence[int],
        results: list[AppendResult],
        write: int,
    ) -> list[int]:
        wanted = [batch[n].saga_id for n in (*taken, *unmatched)]
        found = {
            document["_id"]: document
            for document in await self._database.find(SAGAS, {"_id": {"$in": wanted}}, fields=HEAD)
        }
        await self._add_sealed([batch[n] for n in (*taken, *unmatched)], found)
        again = [n for n in taken if not self._classify_birth(batch[n], found.get(batch[n].saga_id), n, results)]
        purged = [found[batch[n].saga_id] for n in taken if results[n] in PURGED]
        if purged:
            free = await self._purger.free(purged)
            again += [n for n in taken if batch[n].saga_id in free]
        for n in unmatched:
            result = _what_became(batch[n], found.get(batch[n].saga_id), write)
            if result is None:
                again.append(n)
            else:
                results[n] = result
        for n in again:
            results[n] = Committed(batch[n].expected_version + len(batch[n].events))
        return again

    def _classify_birth(self, append: Append, document: Document | None, n: int, results: list[AppendResult]) -> bool:
        """Say why a creation was refused; False where nothing stands in its way any more."""
        if document is None:
            return False
        entry = _entry_at(document, 1)
        if entry is not None and entry["append_id"] == append.append_id:
            results[n] = Duplicate(document["version"])
        else:
            same = append.birth is not None and append.birth.digest == document.get("digest")
            results[n] = Exists(same=same, purged=is_purged(document))
        return True

    async def _add_sealed(self, appends: Sequence[Append], found: Mapping[str, Document]) -> None:
        """Put the sealed entry where each append wanted to stand before the tail of the saga's document."""
        ranges = []
        for append in appends:
            document = found.get(append.saga_id)
            if document is not None and document.get("sealed", 0) > append.expected_version:
                first, last = append.expected_version + 1, document["sealed"]
                # Entries are named after their last event: the next one from `first` on holds it.
                ranges.append((document, place(life(document), first), place(life(document), last)))
        for document, low, high in ranges:
            entries = await self._database.find(
                EVENTS,
                {"_id": {"$gte": low, "$lte": high}},
                fields={"seq": 1, "append_id": 1, "write": 1},
                sort=[("_id", 1)],
                limit=1,
            )
            document["tail"] = [*entries, *document.get("tail", ())]


def _entry_at(document: Mapping[str, Any], seq: int) -> Mapping[str, Any] | None:
    return next((entry for entry in document.get("tail", ()) if entry["seq"] == seq), None)


def _what_became(append: Append, document: Mapping[str, Any] | None, write: int) -> AppendResult | None:
    """None: nothing stands in its way, and yet it was not accepted."""
    if document is None or is_purged(document):
        return Conflict(0)
    expected, version = append.expected_version, document["version"]
    if append.events:
        entry = _entry_at(document, expected + 1)
        if entry is not None and entry["append_id"] == append.append_id:
            return Committed(expected + len(append.events)) if entry["write"] == write else Duplicate(version)
    elif document.get("write") == write:
        return Committed(expected)
    if version != expected:
        return Conflict(version)
    return Fenced(document["fence"]) if document["fence"] != append.fence else None


def _waves(batch: Sequence[Append]) -> Sequence[Sequence[int]]:
    """The places of appends that can be written at once; appends of one saga have to wait for one another."""
    if len({append.saga_id for append in batch if type(append.saga_id) is str}) == len(batch):
        return [range(len(batch))]
    waves: list[list[int]] = []
    seen: dict[str, int] = {}
    for n, append in enumerate(batch):
        wave = seen[str(append.saga_id)] = seen.get(str(append.saga_id), -1) + 1
        if wave == len(waves):
            waves.append([])
        waves[wave].append(n)
    return waves


def _refused(exc: BaseException) -> Refused:
    return Refused(f"{type(exc).__name__}: {exc}")


def _worse(*outcomes: object) -> BaseException:
    """What is to be raised for two commands of which at least one failed."""
    failed = [each for each in outcomes if isinstance(each, BaseException)]
    for each in failed:
        if not isinstance(each, StoreError) or isinstance(each, OutcomeUnknown):
            return each
    if len(failed) == len(outcomes):
        return failed[0]
    unknown = OutcomeUnknown(f"a part of the batch was written: {failed[0]}")
    unknown.__cause__ = failed[0]
    return unknown
