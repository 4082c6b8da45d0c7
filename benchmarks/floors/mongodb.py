"""The floor on MongoDB: group commit by two flushers, each an unordered bulk write of the documents that a store needs.

One document per saga, with its record and its log; majority, journalled; whatever has come while both were writing is
the next bulk write. Where there is no ``mongod``, both run on the stand-in of the tests, and the figures say nothing
about MongoDB: only their ratio means something.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import attrs
import msgspec
import pymongo
from pymongo import AsyncMongoClient, InsertOne, UpdateOne
from pymongo.write_concern import WriteConcern

from tests.servers.mongodb import MongoDB

from .base import Event, Rows

FLUSHERS = 2
MAJORITY = WriteConcern("majority", j=True, wtimeout=10_000)

Document = dict[str, Any]
Write = InsertOne[Document] | UpdateOne
Work = tuple[Write, asyncio.Future[None]]


class MongoFloor:
    """A list of what is to be written, and two tasks that write it."""

    def __init__(self, url: str) -> None:
        self._client: AsyncMongoClient[Document] = AsyncMongoClient(url)
        name = urlsplit(url).path.strip("/")
        self._sagas = self._client[name].get_collection("floor", write_concern=MAJORITY)
        self._waiting: list[Work] = []
        self._flushing: set[asyncio.Task[None]] = set()

    async def append(self, saga_id: str, version: int, events: Sequence[Event], *, state: str, fence: int = 1) -> int:
        """One durable append; the version after it. Raises where another has written."""
        now, after = time.time(), version + len(events)
        encode = msgspec.json.encode
        entry = {
            "seq": version + 1,
            "append_id": f"{saga_id}-{version}",
            "events": [{"type": kind, "at": now, "data": encode(data).decode()} for kind, data in events],
        }
        record = {"version": after, "state": state, "updated_at": now}
        if version == 0:
            fixed = {"_id": saga_id, "type": "four", "fence": fence, "owner": "me", "due_at": now}
            write: Write = InsertOne({**fixed, **record, "tail": [entry]})
        else:
            update: Document = {"$set": record, "$push": {"tail": entry}}
            if state in ("completed", "failed"):
                update["$unset"] = {"owner": "", "due_at": ""}
            write = UpdateOne({"_id": saga_id, "version": version, "fence": fence}, update)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((write, future))
        if len(self._flushing) < FLUSHERS:
            task = asyncio.get_running_loop().create_task(self._flush())
            self._flushing.add(task)
            task.add_done_callback(self._flushing.discard)
        await future
        return after

    async def _flush(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            error: Exception | None = None
            try:
                done = await self._sagas.bulk_write([write for write, _ in batch], ordered=False)
                if done.matched_count + done.inserted_count != len(batch):
                    error = RuntimeError("lost the race against nobody")
            except Exception as exc:
                error = exc
            for _, future in batch:
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(error)

    async def close(self) -> None:
        """Close the client."""
        await self._client.close()


@attrs.frozen
class MongoDatabase:
    """A database with nothing in it; ``client`` is a plain one to look at it with."""

    url: str
    client: pymongo.MongoClient[Document]

    @property
    def raw(self) -> Any:
        """The database by the plain driver."""
        return self.client[urlsplit(self.url).path.strip("/")]

    async def open_floor(self) -> MongoFloor:
        return MongoFloor(self.url)

    def count_floor(self) -> Rows:
        return _count(self.raw["floor"], "tail")

    def count_engine(self) -> Rows:
        rows = _count(self.raw["sagas"], "tail")
        for kind, (count, size) in _count(self.raw["saga_events"], None).items():
            before = rows.get(kind, (0, 0))
            rows[kind] = before[0] + count, before[1] + size
        return rows


def _count(collection: Any, tail: str | None) -> Rows:
    rows: dict[str, tuple[int, int]] = {}
    for document in collection.find():
        for entry in document.get(tail, ()) if tail else (document,):
            for event in entry["events"]:
                count, size = rows.get(event["type"], (0, 0))
                rows[event["type"]] = count + 1, size + len(event["data"].encode())
    return rows


@attrs.frozen
class MongoPlace:
    """A server."""

    server: str
    client: pymongo.MongoClient[Document]

    @contextmanager
    def fresh(self, name: str) -> Iterator[MongoDatabase]:
        """A database of its own, dropped afterwards."""
        unique = f"{name}-{uuid.uuid4().hex[:12]}"
        database = MongoDatabase(urlunsplit(urlsplit(self.server)._replace(path=f"/{unique}")), self.client)
        for sagas in ("floor", "sagas"):
            database.raw.create_collection(sagas)
        try:
            yield database
        finally:
            self.client.drop_database(unique)


@contextmanager
def open_place(folder: Path) -> Iterator[MongoPlace]:
    """The server that ``SAGAFSM_TEST_MONGODB_URL`` names, else one that is started for the measurement."""
    if url := MongoDB.given():
        with pymongo.MongoClient[Document](url) as client:
            yield MongoPlace(url, client)
        return
    with MongoDB() as server, pymongo.MongoClient[Document](server.url) as client:
        yield MongoPlace(server.url, client)
