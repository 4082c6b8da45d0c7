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

from .base import HEIR, OWNER, Event, Rows
from .job import run_floor

FLUSHERS = 2
WARM = 1_500
"""Sagas by which the stand-in, a Java program, has compiled itself; without them the first runs take twice as long."""
IN_FLIGHT = 128
MAJORITY = WriteConcern("majority", j=True, wtimeout=10_000)

Document = dict[str, Any]
Write = InsertOne[Document] | UpdateOne
Work = tuple[Write, asyncio.Future[None]]


class MongoFloor:
    """A list of what is to be written, and two tasks that write it."""

    def __init__(self, url: str) -> None:
        self._client: AsyncMongoClient[Document] = AsyncMongoClient(url)
        self._sagas = self._client[_name(url)].get_collection("floor", write_concern=MAJORITY)
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
            fixed = {"_id": saga_id, "type": "four", "fence": fence, "owner": OWNER, "due_at": now}
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

    async def take_over(self) -> dict[str, list[dict[str, Any]]]:
        """Claim with one update, read with one find."""
        due = {"owner": OWNER, "due_at": {"$lte": time.time()}}
        await self._sagas.update_many(due, {"$set": {"owner": HEIR}, "$inc": {"fence": 1}})
        decode, found = msgspec.json.decode, {}
        async for saga in self._sagas.find({"owner": HEIR}, {"tail": 1}):
            found[saga["_id"]] = [decode(event["data"]) for entry in saga["tail"] for event in entry["events"]]
        return found

    async def close(self) -> None:
        """Close the client."""
        await self._client.close()


@attrs.frozen
class MongoDatabase:
    """A database with nothing in it."""

    url: str

    @contextmanager
    def raw(self) -> Iterator[Any]:
        """The database by the plain driver."""
        with pymongo.MongoClient[Document](self.url) as client:
            yield client[_name(self.url)]

    async def open_floor(self) -> MongoFloor:
        return MongoFloor(self.url)

    def count_floor(self) -> Rows:
        with self.raw() as raw:
            return _count(raw["floor"], "tail")

    def count_engine(self) -> Rows:
        with self.raw() as raw:
            rows = _count(raw["sagas"], "tail")
            for kind, (count, size) in _count(raw["saga_events"], None).items():
                before = rows.get(kind, (0, 0))
                rows[kind] = before[0] + count, before[1] + size
            return rows

    def settle(self) -> None:
        """It has nothing to do later that it would tell."""


def _name(url: str) -> str:
    return urlsplit(url).path.strip("/")


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
    about: str
    folder: Path

    @contextmanager
    def fresh(self, name: str) -> Iterator[MongoDatabase]:
        """A database of its own, dropped afterwards."""
        unique = f"{name}-{uuid.uuid4().hex[:12]}"
        database = MongoDatabase(urlunsplit(urlsplit(self.server)._replace(path=f"/{unique}")))
        with database.raw() as raw:
            for collection in ("floor", "sagas"):
                raw.create_collection(collection)
            raw["floor"].create_index("due_at", partialFilterExpression={"due_at": {"$exists": True}})
            try:
                yield database
            finally:
                raw.client.drop_database(unique)


@contextmanager
def open_place(folder: Path) -> Iterator[MongoPlace]:
    """The server that ``SAGAFSM_TEST_MONGODB_URL`` names, else one that is started for the measurement."""
    if url := MongoDB.given():
        yield MongoPlace(url, f"MongoDB {_version(url)}, majority, journalled", folder)
        return
    with MongoDB() as server:
        what = f"MongoDB {_version(server.url)}" if server.is_real else "the stand-in of the tests, not MongoDB"
        place = MongoPlace(server.url, f"{what}, majority, journalled", server.folder)
        if not server.is_real:
            with place.fresh("warm") as database:
                asyncio.run(run_floor(database, WARM, IN_FLIGHT))
        yield place


def _version(url: str) -> str:
    with pymongo.MongoClient[Document](url) as client:
        return str(client.server_info()["version"])


def find(url: str) -> MongoDatabase:
    """The database of a URL."""
    return MongoDatabase(url)
