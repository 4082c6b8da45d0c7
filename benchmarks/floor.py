"""The floor: the job that an engine has to do on SQLite, written by hand, without an engine.

One saga is four trivial async steps with a result of about 200 bytes each, and five durable appends: each inserts two
event rows of about 300 bytes of JSON and inserts, or compare-and-sets, one saga row; each is durable before the next
step runs. The settings are those of the SQLite store (WAL, synchronous=FULL), and so is the method: group commit by one
writer thread that takes whatever has come while it wrote. Rows are counted afterwards.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

import msgspec

RESULT = {"reference": "r" * 60, "note": "n" * 100, "amount": 1250}

SCHEMA = """
CREATE TABLE saga (id TEXT PRIMARY KEY, type TEXT, state TEXT, version INTEGER, fence INTEGER, owner TEXT, due_at REAL,
                   updated_at REAL) WITHOUT ROWID;
CREATE INDEX saga_due ON saga (due_at) WHERE due_at IS NOT NULL;
CREATE TABLE event (saga_id TEXT, seq INTEGER, append_id TEXT, type TEXT, at REAL, data BLOB,
                    PRIMARY KEY (saga_id, seq)) WITHOUT ROWID;
"""
INSERT_SAGA = "INSERT INTO saga VALUES (?, 'four', 'pending', 2, 1, 'me', ?, ?)"
UPDATE_SAGA = (
    "UPDATE saga SET version = ?, state = ?, due_at = ?, updated_at = ? WHERE id = ? AND version = ? AND fence = 1"
)
INSERT_EVENT = "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?)"

Work = tuple[str, int, bool, bool, asyncio.Future[None]]


class Floor:
    """A writer thread and a queue."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._queue: deque[Work] = deque()
        self._there_is_work = threading.Semaphore(0)
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    async def append(self, saga_id: str, version: int, *, last: bool) -> None:
        """One durable append of two events."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._queue.append((saga_id, version, version == 0, last, future))
        self._there_is_work.release()
        await future

    def close(self) -> None:
        """Stop the writer."""
        self._closed = True
        self._there_is_work.release()
        self._thread.join()

    def _write(self) -> None:
        connection = sqlite3.connect(self._path, isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.executescript(SCHEMA)
        encode = msgspec.json.encode
        while True:
            self._there_is_work.acquire()
            batch: list[Work] = []
            while self._queue:
                batch.append(self._queue.popleft())
            if not batch:
                if self._closed:
                    connection.close()
                    return
                continue
            rows: list[tuple[Any, ...]] = []
            now = time.time()
            connection.execute("BEGIN IMMEDIATE")
            for saga_id, version, create, last, _ in batch:
                if create:
                    connection.execute(INSERT_SAGA, (saga_id, now, now))
                else:
                    state, due = ("completed", None) if last else ("pending", now)
                    done = connection.execute(UPDATE_SAGA, (version + 2, state, due, now, saga_id, version))
                    if done.rowcount != 1:
                        raise RuntimeError("lost the race against nobody")
                first = encode({"step": "reserve", "attempt": 1, "result": RESULT})
                second = encode({"step": "charge", "attempt": 1, "idempotency_key": "k" * 32, "note": "n" * 180})
                append_id = f"{saga_id}-{version}"
                rows.append((saga_id, version + 1, append_id, "StepSucceeded", now, first))
                rows.append((saga_id, version + 2, append_id, "AttemptStarted", now, second))
            connection.executemany(INSERT_EVENT, rows)
            connection.execute("COMMIT")
            self._loop.call_soon_threadsafe(_wake, [future for *_, future in batch])


def _wake(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        future.set_result(None)


async def act(data: dict[str, Any]) -> dict[str, Any]:
    """A trivial step."""
    return RESULT


async def run_floor(path: Path, sagas: int, in_flight: int, appends: int = 5) -> list[float]:
    """Run so many sagas, so many at a time; seconds that each took. Raises where a row is missing."""
    floor = Floor(path)
    numbers = iter(range(sagas))
    took: list[float] = []

    async def client() -> None:
        for number in numbers:
            began = time.perf_counter()
            for append in range(appends):
                await floor.append(f"saga-{number}", 2 * append, last=append == appends - 1)
                if append < appends - 1:
                    await act({"n": number})
            took.append(time.perf_counter() - began)

    await asyncio.gather(*(client() for _ in range(in_flight)))
    floor.close()
    with sqlite3.connect(path) as connection:
        found = connection.execute("SELECT count(*) FROM event").fetchone()[0]
    if found != sagas * appends * 2:
        raise RuntimeError(f"{found} event rows instead of {sagas * appends * 2}")
    return took
