"""SQLiteStore: the store protocol on one SQLite file.

What must stay true: whatever touches the file runs on the writer's thread or on the reader's, never on the event loop;
writes go through one connection, in the order in which they were asked for; reads never wait behind them.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from msgspec.structs import replace

from sagafsm.core.errors import StoreError, StoreUnavailable
from sagafsm.cursor import make_cursor
from sagafsm.store import (
    Append,
    AppendResult,
    Claim,
    Count,
    Durability,
    Filter,
    Page,
    StoredEvent,
    StoredSaga,
    Worker,
)
from sagafsm.supports import Permit

from ..purging import AT_ONCE, purge_in_turn
from ..queries import Queries
from ..tables import Tables
from .batch import Batch
from .claims import Claims
from .connection import Connection, make_engine
from .health import durability, refuse_network
from .limits import Limits
from .lock import FileLock
from .options import Options
from .records import pack, read_bytes, read_events, read_saga, unpack
from .schema import Schema
from .thread import ConnectionThread
from .writer import Writer

T = TypeVar("T")

QUERIES = Queries("sqlite")
find_ids = Tables(ordered_tags=True).find_ids
BUSY = 8  # appends in a batch from which on the event loop has more to do meanwhile
SHORTEST_WATCH, LONGEST_WATCH = 0.05, 0.5  # seconds between two looks for changes by others


def from_url(url: str, *, clock: Callable[[], float] = time.time) -> SQLiteStore:
    """The store for ``sqlite:///file.db``; ``clock`` is for tests."""
    return SQLiteStore(Options.from_url(url), clock=clock)


class SQLiteStore:
    """Sagas in one SQLite file, or in memory (``sqlite://``).

    ``clock`` gives the store's time: all processes that share a file are on one host and so share its clock.
    """

    batches = 1

    def __init__(self, options: Options, *, clock: Callable[[], float] = time.time) -> None:
        self.options = options
        self._clock = clock
        self._pid = os.getpid()
        self._writer_thread: ConnectionThread | None = None
        self._reader_thread: ConnectionThread | None = None
        self._appends = Writer(QUERIES, clock)
        self._claims = Claims(QUERIES)
        self._limits = Limits(QUERIES)
        self._schema = Schema(QUERIES)
        self._lock = FileLock(f"{options.path}.lock", options.timeout) if options.needs_lock else None
        self._engine = make_engine(options)
        self._writer = Connection(self._engine, options, writes=True, lock=self._lock)
        self._reader = self._writer
        if options.path is not None:
            self._reader = Connection(self._engine, options, writes=False, lock=None)
        self._opening = asyncio.Lock()
        self._seen = 0

    # --- opening and closing ---

    async def setup(self, *, migrate: bool = True) -> None:
        """Open the file, creating it and its tables where they are missing."""
        self._refuse_fork()
        async with self._opening:
            if self._writer_thread is not None:
                return
            writer = ConnectionThread("sagafsm-sqlite-writer")
            try:
                await writer.submit(lambda: self._open(migrate))
            except BaseException:
                writer.submit(self._close)
                writer.stop()
                raise
            self._writer_thread = self._reader_thread = writer
            if self.options.path is not None:
                self._reader_thread = ConnectionThread("sagafsm-sqlite-reader")

    def _open(self, migrate: bool) -> None:
        if self.options.path is not None:
            path = Path(self.options.path)
            refuse_network(path)
            if not migrate and not path.exists():
                raise StoreUnavailable(f"{path} does not exist, and was not made")
        if migrate:
            self._schema.bring_up_to_date(self._writer)
        else:
            # By the reader, which leaves the file as it is: it may be somebody else's.
            self._schema.require(self._reader)
        self._seen = self._data_version()

    async def close(self) -> None:
        """Close both connections after what is under way, and end their threads."""
        reader, writer = self._reader_thread, self._writer_thread
        self._reader_thread = self._writer_thread = None
        if writer is None or os.getpid() != self._pid:
            return
        if reader is not None and reader is not writer:
            reader.stop()
            writer.submit(reader.join)
        closed = writer.submit(self._close)
        writer.stop()
        await asyncio.shield(closed)
        writer.join()

    def _close(self) -> None:
        self._writer.close(self._reader)
        self._engine.dispose()
        if self._lock is not None:
            self._lock.close()

    async def check(self) -> Durability:
        return await self._write(lambda: durability(self.options, self._writer))

    def _refuse_fork(self) -> None:
        if os.getpid() != self._pid:
            raise StoreError(
                "this store was opened before the process forked, and SQLite must not be used across a fork; "
                "open a store in the new process"
            )

    def _write(self, job: Callable[[], T], *, hand_over: bool = False) -> asyncio.Future[T]:
        self._refuse_fork()
        if self._writer_thread is None:
            raise StoreError("the store is not open; call setup() first")
        return self._writer_thread.submit(job, hand_over=hand_over)

    def _read(self, job: Callable[[], T]) -> asyncio.Future[T]:
        self._refuse_fork()
        if self._reader_thread is None:
            raise StoreError("the store is not open; call setup() first")
        return self._reader_thread.submit(job)

    # --- writing ---

    def commit(self, batch: Sequence[Append]) -> Awaitable[Sequence[AppendResult]]:
        ready = Batch(batch)
        # With few sagas in flight the loop is idle anyway, and standing back would only cost them time.
        return self._write(lambda: self._commit(ready), hand_over=len(batch) >= BUSY)

    def _commit(self, batch: Batch) -> Sequence[AppendResult]:
        results: Sequence[AppendResult] | None = None
        if self._appends.is_one_statement(batch):
            with self._writer.statement() as cursor:
                if self._writer_thread is not None:
                    self._writer_thread.begun()
                results = self._appends.write(cursor, batch)
        else:
            with self._writer.transaction() as cursor:
                results = self._appends.write(cursor, batch)
                if results is None:
                    cursor.execute("ROLLBACK")
                    cursor.execute("BEGIN IMMEDIATE")
                    return self._appends.write_each(cursor, batch.appends)
        if results is None:
            with self._writer.transaction() as cursor:
                results = self._appends.write_each(cursor, batch.appends)
        return results

    async def claim(
        self, worker_id: str, kinds: Sequence[str], *, limit: int, saga_ids: Sequence[str] | None = None
    ) -> Claim:
        def job() -> Claim:
            with self._writer.transaction() as cursor:
                return self._claims.claim(cursor, self._clock(), worker_id, kinds, limit, saga_ids)

        return await self._write(job)

    async def release(self, saga_id: str, *, worker_id: str, fence: int) -> bool:
        return await self._execute("release", (saga_id, worker_id, fence)) > 0

    async def heartbeat(self, worker_id: str, ttl: float) -> Worker:
        def job() -> Worker:
            with self._writer.transaction() as cursor:
                # The clock is read when the lock is held: waiting for it must not shorten the lease.
                until = self._clock() + ttl
                cursor.execute(QUERIES["heartbeat"], (worker_id, until))
            return Worker(worker_id, until)

        return await self._write(job)

    async def retire(self, worker_id: str) -> None:
        await self._execute("retire", (worker_id,))

    async def purge(
        self, finished_before: float, *, limit: int = 500, keep_ids: float = 0.0, saga_ids: Sequence[str] | None = None
    ) -> int:
        async def some(at_once: int, names: Sequence[str] | None) -> int:
            named = None if names is None else pack(names)
            return await self._write(partial(self._purge, finished_before, at_once, keep_ids, named))

        return await purge_in_turn(some, limit, saga_ids)

    def _purge(self, finished_before: float, limit: int, keep_ids: float, named: str | None) -> int:
        with self._writer.transaction() as cursor:
            now = self._clock()
            cursor.execute(QUERIES["free_ids"], (now, AT_ONCE))
            values = (finished_before, limit) if named is None else (finished_before, limit, named)
            query = QUERIES["ended" if named is None else "named_ended"]
            gone: str = cursor.execute(query, values).fetchone()[0]
            if keep_ids > 0:
                cursor.execute(QUERIES["keep_ids"], (now + keep_ids, gone))
            return cursor.execute(QUERIES["purge"], (gone,)).rowcount

    async def save_definition(self, kind: str, shape: bytes) -> None:
        await self._execute("save_definition", (kind, shape.decode()))

    def _execute(self, name: str, values: tuple[Any, ...]) -> asyncio.Future[int]:
        def job() -> int:
            with self._writer.transaction() as cursor:
                return cursor.execute(QUERIES[name], values).rowcount

        return self._write(job)

    # --- reading ---

    async def load(self, saga_ids: Sequence[str]) -> Mapping[str, StoredSaga]:
        def job() -> dict[str, StoredSaga]:
            with self._reader.translated():
                sagas = self._load(self._reader.cursor(), list(saga_ids), events=True)
            return {saga.record.saga_id: saga for saga in sagas}

        return await self._read(job)

    def _load(self, cursor: sqlite3.Cursor, saga_ids: Sequence[str], *, events: bool) -> list[StoredSaga]:
        text = cursor.execute(QUERIES["load"], (pack(saga_ids), int(events))).fetchone()[0]
        return [read_saga(row) for row in unpack(text)]

    async def events(self, saga_id: str, after: int = 0) -> Sequence[StoredEvent]:
        (row,) = await self._fetch("events", (saga_id, after))
        return read_events(unpack(row[0]))

    async def find(self, where: Filter, *, cursor: str | None = None, limit: int = 100) -> Page:
        def job() -> Page:
            with self._reader.view() as raw:
                query = find_ids(self._rarest_first(raw, where), cursor, limit + 1)
                ids = list(self._reader.sqlalchemy().scalars(query))
                records = [saga.record for saga in self._load(raw, ids[:limit], events=False)]
            rest = len(ids) > limit and records
            return Page(records, make_cursor(records[-1].created_at, records[-1].saga_id) if rest else None)

        return await self._read(job)

    def _rarest_first(self, cursor: sqlite3.Cursor, where: Filter) -> Filter:
        """The same filter, with the tag first that the fewest sagas bear."""
        if len(where.tags) < 2:
            return where

        def count(tag: tuple[str, str]) -> int:
            found: int = cursor.execute(QUERIES["tag_count"], tag).fetchone()[0]
            return found

        return replace(where, tags=dict(sorted(where.tags.items(), key=count)))

    async def workers(self) -> Sequence[Worker]:
        return [Worker(worker_id, until) for worker_id, until in await self._fetch("workers")]

    async def now(self) -> float:
        return self._clock()

    async def counts(self) -> Sequence[Count]:
        return [
            Count(
                kind=kind, saga_type=saga_type, state=state, stuck=bool(stuck), suspended=bool(suspended), count=count
            )
            for kind, saga_type, state, stuck, suspended, count in await self._fetch("counts")
        ]

    async def definitions(self) -> Mapping[str, bytes]:
        return {kind: read_bytes(shape) for kind, shape in await self._fetch("definitions")}

    def _fetch(self, name: str, values: tuple[Any, ...] = ()) -> asyncio.Future[list[tuple[Any, ...]]]:
        def job() -> list[tuple[Any, ...]]:
            with self._reader.translated():
                return self._reader.cursor().execute(QUERIES[name], values).fetchall()

        return self._read(job)

    # --- permits ---

    async def acquire(self, permits: Sequence[Permit]) -> Sequence[float]:
        def job() -> list[float]:
            with self._writer.transaction() as cursor:
                return self._limits.acquire(cursor, self._clock(), permits)

        return await self._write(job)

    async def give_back(self, worker_id: str, tokens: Sequence[str]) -> None:
        def job() -> None:
            with self._writer.transaction() as cursor:
                self._limits.give_back(cursor, worker_id, tokens)

        await self._write(job)

    # --- from another thread ---

    def twin(self) -> SQLiteStore | None:
        return None if self.options.path is None else SQLiteStore(self.options, clock=self._clock)

    # --- wake-ups ---

    async def wait_for_change(self, timeout: float) -> bool:
        """Return true soon after another connection has written, false after ``timeout`` seconds."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout
        pause = SHORTEST_WATCH
        while True:
            # Asked on the writing connection, because it alone does not count its own writes as changes.
            seen = await self._write(self._data_version)
            if seen != self._seen:
                self._seen = seen
                return True
            left = deadline - clock()
            if left <= 0:
                return False
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 1.5, LONGEST_WATCH)

    def _data_version(self) -> int:
        with self._writer.translated():
            version: int = self._writer.cursor().execute(QUERIES["data_version"]).fetchone()[0]
        return version
