"""One MongoDB database, spoken to with our own concerns.

What must stay true: every write is confirmed by a majority, journalled; every read is of what a majority has, on the
primary; whatever the URL or the client says. Writes go out as plain commands, so the driver never sends one a second
time by itself. PyMongo's client and Motor's are used alike: only what both have is used here.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo import ReadPreference
from pymongo.read_concern import ReadConcern

from sagafsm.core.errors import OutcomeUnknown, StoreUnavailable

from .errors import DRIVER, POISON, translate, unconfirmed

Document = dict[str, Any]

CODEC: CodecOptions[Document] = CodecOptions(
    document_class=dict,
    datetime_conversion=DatetimeConversion.DATETIME_MS,
    # One text that somebody damaged must not hide the others.
    unicode_decode_error_handler="surrogateescape",
)
MAJORITY = "majority"
OPERATIONS = {"insert": "documents", "update": "updates", "delete": "deletes"}
PIECE = 8 << 20  # bytes of operations in one command; the server takes 48 MB, and other clients wait meanwhile

SAGAS = "sagas"
EVENTS = "saga_events"
SNAPSHOTS = "saga_snapshots"
WORKERS = "saga_workers"
DEFINITIONS = "saga_definitions"
LIMITS = "saga_limits"
META = "saga_meta"


class Database:
    """``database``: a PyMongo AsyncDatabase or a Motor database. ``patience``: seconds to wait for a majority."""

    def __init__(self, database: Any, *, patience: float) -> None:
        self._database = database
        self._write_concern = {"w": MAJORITY, "j": True, "wtimeout": int(patience * 1000)}
        self._concerned = database.with_options(
            codec_options=CODEC, read_preference=ReadPreference.PRIMARY, read_concern=ReadConcern(MAJORITY)
        )
        self.where = f"MongoDB database '{database.name}'"
        self._changed = False

    async def ask(self, command: Mapping[str, Any], *, of: str | None = None) -> Document:
        """Run a command that changes nothing; ``of``: another database than this one."""
        database = self._database if of is None else self._database.client[of]
        try:
            answer: Document = await database.command(dict(command), codec_options=CODEC)
        except DRIVER as exc:
            raise translate(exc, self.where, writing=False) from exc
        return answer

    async def find(
        self,
        collection: str,
        where: Mapping[str, Any],
        *,
        fields: Mapping[str, Any] | None = None,
        sort: Sequence[tuple[str, int]] = (),
        limit: int = 0,
    ) -> list[Document]:
        """Read documents (``limit`` 0: all)."""
        try:
            cursor = self._concerned[collection].find(where, fields, sort=list(sort) or None, limit=limit)
            found: list[Document] = await cursor.to_list(None)
        except DRIVER as exc:
            raise translate(exc, self.where, writing=False) from exc
        return found

    async def aggregate(self, collection: str, *stages: Mapping[str, Any]) -> list[Document]:
        """Read what a pipeline gives."""
        try:
            cursor = self._concerned[collection].aggregate(list(stages))
            if inspect.isawaitable(cursor):  # Motor's is the cursor itself
                cursor = await cursor
            found: list[Document] = await cursor.to_list(None)
        except DRIVER as exc:
            raise translate(exc, self.where, writing=False) from exc
        return found

    async def distinct(self, collection: str, key: str, where: Mapping[str, Any]) -> list[Any]:
        """The values that a field has."""
        answer = await self.ask(
            {"distinct": collection, "key": key, "query": where, "readConcern": {"level": MAJORITY}}
        )
        values: list[Any] = answer["values"]
        return values

    async def now(self) -> float:
        """The server's clock, in seconds since the epoch."""
        found = await self.aggregate(META, {"$match": {"_id": "schema"}}, {"$project": {"now": "$$NOW"}})
        if not found:
            raise StoreUnavailable(f"{self.where} has no schema; open the store with migrate=True")
        return int(found[0]["now"]) / 1000

    async def write(
        self,
        kind: Literal["insert", "update", "delete"],
        collection: str,
        operations: Sequence[Mapping[str, Any]],
        *,
        size: int = 0,
    ) -> Document:
        """Write any number of operations, each on its own; the reply says ``n`` and ``writeErrors`` of them all.

        ``size``: how many bytes they are, more or less. Raises StoreUnavailable where certainly none was applied,
        OutcomeUnknown where some may have been, and what is in POISON, before anything is sent, where one of them
        cannot be written down.
        """
        if not operations:
            return {"n": 0}
        if size <= PIECE:
            return await self._write(kind, collection, operations)
        per_piece = max(1, len(operations) * PIECE // size)
        total: Document = {"n": 0, "writeErrors": []}
        for start in range(0, len(operations), per_piece):
            try:
                reply = await self._write(kind, collection, operations[start : start + per_piece])
            except (StoreUnavailable, *POISON) as exc:
                if start == 0:
                    raise
                raise OutcomeUnknown(f"{self.where}: a part of the batch was written: {exc}") from exc
            total["n"] += reply["n"]
            for error in reply.get("writeErrors", ()):
                total["writeErrors"].append({**error, "index": error["index"] + start})
        return total

    async def _write(self, kind: str, collection: str, operations: Sequence[Mapping[str, Any]]) -> Document:
        return await self.run(
            {
                kind: collection,
                "ordered": False,
                "writeConcern": self._write_concern,
                OPERATIONS[kind]: operations,
            }
        )

    async def modify(self, collection: str, **arguments: Any) -> Document | None:
        """``findAndModify``: the document that was found, or with ``new=True`` what it became."""
        reply = await self.run({"findAndModify": collection, "writeConcern": self._write_concern, **arguments})
        found: Document | None = reply.get("value")
        return found

    async def run(self, command: Document) -> Document:
        """Run a command that writes."""
        try:
            reply: Document = await self._database.command(command, codec_options=CODEC)
        except POISON:
            raise
        except DRIVER as exc:
            raise translate(exc, self.where, writing=True) from exc
        if error := reply.get("writeConcernError"):
            raise unconfirmed(error, self.where)
        if "insert" in command:  # some servers count in its ``n`` also what they refuse
            done = len(command["documents"]) - len(reply.get("writeErrors", ()))
        else:
            done = reply.get("n", 0)
        self._changed = self._changed or done > 0
        return reply

    @contextmanager
    def one_call(self) -> Iterator[Database]:
        """This database for a call that consists of many requests and has one outcome.

        Once a request of the block has changed something, no later failure means that nothing was done: also not that
        of a read. StoreUnavailable leaves the block as OutcomeUnknown then.
        """
        database = copy.copy(self)
        database._changed = False
        try:
            yield database
        except StoreUnavailable as exc:
            if not database._changed:
                raise
            raise OutcomeUnknown(f"{self.where}: a part of it was written: {exc}") from exc

    async def create_indexes(self, collection: str, indexes: Sequence[Mapping[str, Any]]) -> None:
        """Create the indexes that are missing, and the collection."""
        await self.run({"createIndexes": collection, "indexes": list(indexes), "writeConcern": self._write_concern})
