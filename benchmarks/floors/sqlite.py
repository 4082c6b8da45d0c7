"""The floor on SQLite: one writer thread with group commit, and the settings of the SQLite store.

WAL, synchronous=FULL, checkpoints as rare; whatever has come while the thread wrote is the next transaction.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import attrs
import msgspec

from sagafsm_sql.sqlite.connection import CHECKPOINT_AFTER

from ..files import count_events, fresh, sqlite_path, sqlite_url
from .base import HEIR, OWNER, Event, Rows

SCHEMA = """
CREATE TABLE IF NOT EXISTS saga (id TEXT PRIMARY KEY, type TEXT, state TEXT, version INTEGER, fence INTEGER, owner TEXT,
                                 due_at REAL, updated_at REAL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS saga_due ON saga (due_at) WHERE due_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS event (saga_id TEXT, seq INTEGER, append_id TEXT, type TEXT, at REAL, data BLOB,
                                  PRIMARY KEY (saga_id, seq)) WITHOUT ROWID;
"""
INSERT_SAGA = f"INSERT INTO saga VALUES (?, 'four', ?, ?, ?, '{OWNER}', ?, ?)"
UPDATE_SAGA = "UPDATE saga SET version = ?, state = ?, updated_at = ? WHERE id = ? AND version = ? AND fence = ?"
END_SAGA = UPDATE_SAGA.replace("updated_at = ?", "updated_at = ?, due_at = NULL")
"""Only here is the index written, and at the birth."""
INSERT_EVENT = "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?)"
TAKE_OVER = f"UPDATE saga SET owner = '{HEIR}', fence = fence + 1 WHERE owner = '{OWNER}' AND due_at <= ?"
READ = (
    f"SELECT e.saga_id, e.data FROM saga s JOIN event e ON e.saga_id = s.id WHERE s.owner = '{HEIR}' "
    "ORDER BY e.saga_id, e.seq"
)
BUSY = 60.0  # seconds for which a process waits for its turn to write

Work = tuple[str, int, int, str, Sequence[Event], asyncio.Future[None]]


class SQLiteFloor:
    """A writer thread and a queue."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._queue: deque[Work] = deque()
        self._there_is_work = threading.Semaphore(0)
        self._closed = False
        self._loop = asyncio.get_running_loop()
        with closing(open_database(path)):  # made before anything is measured, as an engine's is
            pass
        self._thread = threading.Thread(target=self._run, name="floor", daemon=True)
        self._thread.start()

    async def append(self, saga_id: str, version: int, events: Sequence[Event], *, state: str, fence: int = 1) -> int:
        """One durable append; the version after it. Raises where another has written."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._queue.append((saga_id, version, fence, state, events, future))
        self._there_is_work.release()
        await future
        return version + len(events)

    async def take_over(self) -> dict[str, list[dict[str, Any]]]:
        """Claim with one statement, read with another."""
        return await asyncio.to_thread(_take_over, self._path)

    async def close(self) -> None:
        """Stop the writer."""
        self._closed = True
        self._there_is_work.release()
        self._thread.join()

    def _run(self) -> None:
        with closing(open_database(self._path)) as connection:
            while True:
                self._there_is_work.acquire()
                batch: list[Work] = []
                while self._queue:
                    batch.append(self._queue.popleft())
                if batch:
                    try:
                        _write(connection, batch)
                        error = None
                    except Exception as exc:
                        error = exc
                    self._loop.call_soon_threadsafe(_wake, [future for *_, future in batch], error)
                elif self._closed:
                    return


def open_database(path: Path) -> sqlite3.Connection:
    """A connection with the settings of the SQLite store, to a database that has the tables."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY)
    _use_wal(connection)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_AFTER}")
    connection.executescript(SCHEMA)
    return connection


def _use_wal(connection: sqlite3.Connection) -> None:
    """Turn to a write-ahead log. Where others do so at the same moment, SQLite does not wait for them by itself."""
    give_up_at = time.monotonic() + BUSY
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.01)
        else:
            return


def _write(connection: sqlite3.Connection, batch: Sequence[Work]) -> None:
    encode = msgspec.json.encode
    rows: list[tuple[Any, ...]] = []
    now = time.time()
    connection.execute("BEGIN IMMEDIATE")
    for saga_id, version, fence, state, events, _ in batch:
        after = version + len(events)
        if version == 0:
            connection.execute(INSERT_SAGA, (saga_id, state, after, fence, now, now))
        else:
            update = END_SAGA if state in ("completed", "failed") else UPDATE_SAGA
            done = connection.execute(update, (after, state, now, saga_id, version, fence))
            if done.rowcount != 1:
                raise RuntimeError(f"{saga_id}: lost the race against nobody")
        append_id = f"{saga_id}-{version}"
        for seq, (kind, data) in enumerate(events, version + 1):
            rows.append((saga_id, seq, append_id, kind, now, encode(data)))
    connection.executemany(INSERT_EVENT, rows)
    connection.execute("COMMIT")


def _take_over(path: Path) -> dict[str, list[dict[str, Any]]]:
    decode = msgspec.json.decode
    found: dict[str, list[dict[str, Any]]] = {}
    with closing(open_database(path)) as connection:
        connection.execute(TAKE_OVER, (time.time(),))
        for saga_id, data in connection.execute(READ):
            found.setdefault(saga_id, []).append(decode(data))
    return found


def _wake(futures: Sequence[asyncio.Future[None]], error: Exception | None) -> None:
    for future in futures:
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)


# --- where it is measured ---


@attrs.frozen
class SQLiteFile:
    """A file at which no database is yet."""

    path: Path

    @property
    def url(self) -> str:
        return sqlite_url(self.path)

    async def open_floor(self) -> SQLiteFloor:
        return SQLiteFloor(self.path)

    def count_floor(self) -> Rows:
        return count_events(self.path, "event")

    def count_engine(self) -> Rows:
        return count_events(self.path, "saga_events")

    def settle(self) -> None:
        """Bring what lies in the log into the file."""
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@attrs.frozen
class SQLitePlace:
    """A folder."""

    folder: Path
    about: str = f"SQLite {sqlite3.sqlite_version}, WAL, synchronous=FULL"

    @contextmanager
    def fresh(self, name: str) -> Iterator[SQLiteFile]:
        """A file of its own, removed afterwards."""
        with fresh(self.folder, name) as path:
            yield SQLiteFile(path)


@contextmanager
def open_place(folder: Path) -> Iterator[SQLitePlace]:
    """Nothing needs to be started."""
    yield SQLitePlace(folder)


def find(url: str) -> SQLiteFile:
    """The file of a URL."""
    return SQLiteFile(sqlite_path(url))
