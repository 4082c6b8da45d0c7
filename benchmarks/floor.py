"""The floor: the job that an engine has to do on SQLite, written by hand, without an engine.

One saga is four trivial async steps with a result of about 200 bytes each, and five durable appends (eight where the
fourth step fails and three are undone): each inserts two or three event rows, about 300 bytes of JSON, and inserts, or
compare-and-sets, one saga row; each is durable before the next step runs. The settings are those of the SQLite store
(WAL, synchronous=FULL, checkpoints as rare), and so is the method: group commit by one writer thread that takes
whatever has come while it wrote. The kinds of rows and their sizes are those that the engine writes; files.same_rows
compares them afterwards.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from sagafsm_sql.sqlite.connection import CHECKPOINT_AFTER

from .result import Run

RESULT = {"reference": "r" * 60, "note": "n" * 100, "amount": 1250}
STEPS = ("reserve", "charge", "ship", "confirm")
KEY = "k" * 32

SCHEMA = """
CREATE TABLE IF NOT EXISTS saga (id TEXT PRIMARY KEY, type TEXT, state TEXT, version INTEGER, fence INTEGER, owner TEXT,
                                 due_at REAL, updated_at REAL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS saga_due ON saga (due_at) WHERE due_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS event (saga_id TEXT, seq INTEGER, append_id TEXT, type TEXT, at REAL, data BLOB,
                                  PRIMARY KEY (saga_id, seq)) WITHOUT ROWID;
"""
INSERT_SAGA = "INSERT INTO saga VALUES (?, 'four', ?, ?, ?, 'me', ?, ?)"
UPDATE_SAGA = (
    "UPDATE saga SET version = ?, state = ?, due_at = ?, updated_at = ? WHERE id = ? AND version = ? AND fence = ?"
)
INSERT_EVENT = "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?)"

Event = tuple[str, dict[str, Any]]
Work = tuple[str, int, int, str, Sequence[Event], asyncio.Future[None]]


class Floor:
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

    def close(self) -> None:
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
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_AFTER}")
    connection.executescript(SCHEMA)
    return connection


def _write(connection: sqlite3.Connection, batch: Sequence[Work]) -> None:
    encode = msgspec.json.encode
    rows: list[tuple[Any, ...]] = []
    now = time.time()
    connection.execute("BEGIN IMMEDIATE")
    for saga_id, version, fence, state, events, _ in batch:
        after = version + len(events)
        due_at = None if state in ("completed", "failed") else now
        if version == 0:
            connection.execute(INSERT_SAGA, (saga_id, state, after, fence, due_at, now))
        else:
            done = connection.execute(UPDATE_SAGA, (after, state, due_at, now, saga_id, version, fence))
            if done.rowcount != 1:
                raise RuntimeError(f"{saga_id}: lost the race against nobody")
        append_id = f"{saga_id}-{version}"
        for seq, (kind, data) in enumerate(events, version + 1):
            rows.append((saga_id, seq, append_id, kind, now, encode(data)))
    connection.executemany(INSERT_EVENT, rows)
    connection.execute("COMMIT")


def _wake(futures: Sequence[asyncio.Future[None]], error: Exception | None) -> None:
    for future in futures:
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)


# --- the job ---


async def act(data: dict[str, Any]) -> dict[str, Any]:
    """A trivial step."""
    return RESULT


async def run_saga(floor: Floor, saga_id: str, number: int, *, fail: bool = False) -> None:
    """One saga from its beginning: four steps, or three and their compensations."""
    data = {"n": number, "fail": fail}
    started = {"saga_id": saga_id, "saga_type": "Four", "definition_version": 1, "fingerprint": "f" * 16,
               "steps": STEPS, "data": data, "correlation_id": saga_id}  # fmt: skip
    first = [("SagaStarted", started), _attempt("AttemptStarted", STEPS[0])]
    version = await floor.append(saga_id, 0, first, state="pending")
    await act(data)
    version = await go_on(floor, saga_id, version, 0, data, last=3 if fail else 4)
    if fail:
        await _undo(floor, saga_id, version, data)


async def go_on(
    floor: Floor, saga_id: str, version: int, step: int, data: dict[str, Any], *, last: int = 4, fence: int = 1
) -> int:
    """From the end of a step to the end of the saga, or to that of the ``last`` step that succeeds."""
    for number in range(step, last):
        succeeded: Event = ("StepSucceeded", {"step": STEPS[number], "result": RESULT, "attempt": 1})
        if number + 1 == len(STEPS):
            return await floor.append(
                saga_id, version, [succeeded, ("SagaCompleted", {})], state="completed", fence=fence
            )
        events = [succeeded, _attempt("AttemptStarted", STEPS[number + 1])]
        version = await floor.append(saga_id, version, events, state="pending", fence=fence)
        await act(data)
    return version


async def _undo(floor: Floor, saga_id: str, version: int, data: dict[str, Any]) -> None:
    """The fourth step has failed: three compensations, each durable before the next."""
    error = {"type": "Rejected", "message": "the fourth step fails", "step": "confirm", "at": time.time()}
    events: list[Event] = [
        ("StepFailed", {"step": "confirm", "error": error, "attempt": 1}),
        ("CompensationStarted", {"cause": error}),
    ]
    for name in ("ship", "charge", "reserve"):
        events.append(_attempt("CompensationAttemptStarted", name))
        version = await floor.append(saga_id, version, events, state="compensating")
        await act(data)
        events = [("StepCompensated", {"step": name, "attempt": 1})]
    events.append(("SagaFailed", {"outcome": "compensated"}))
    await floor.append(saga_id, version, events, state="failed")


def _attempt(kind: str, step: str) -> Event:
    return kind, {"step": step, "attempt": 1, "idempotency_key": KEY}


async def run_floor(path: Path, sagas: int, in_flight: int, *, fail: bool = False) -> Run:
    """Run so many sagas, so many at a time."""
    floor = Floor(path)
    numbers = iter(range(sagas))
    took: list[float] = []

    async def client() -> None:
        for number in numbers:
            began = time.perf_counter()
            await run_saga(floor, f"saga-{number}", number, fail=fail)
            took.append(time.perf_counter() - began)

    try:
        began = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(in_flight)))
        seconds = time.perf_counter() - began
    finally:
        floor.close()
    return Run(seconds, took)
