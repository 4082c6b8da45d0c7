"""The floor on PostgreSQL: group commit by two flushers, one statement per flush, on a server as it comes.

Whatever has come while both flushers wrote is the next statement, up to a cap; the statement compares and sets the saga
rows, inserts new ones, and inserts the event rows of those that were accepted. Of many shapes that were tried this is
the quickest: one flusher, or no cap, is slower, and so is a statement per append by far. It is durable: fsync is on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import attrs
import msgspec

from tests.servers.postgresql import PostgreSQL

from .base import Event, Rows

SCHEMA = """
CREATE TABLE saga (id text COLLATE "C" PRIMARY KEY, type text, state text, version bigint, fence bigint, owner text,
                   due_at double precision, updated_at double precision) WITH (fillfactor = 50);
CREATE INDEX saga_due ON saga (due_at) WHERE due_at IS NOT NULL;
CREATE TABLE event (saga_id text COLLATE "C", seq bigint, append_id text, type text, at double precision, data text,
                    PRIMARY KEY (saga_id, seq));
"""
FLUSH = """
WITH a AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::float8[])
                  AS a (id, expected, after, fence, state, due_at)
), changed AS (
    UPDATE saga s SET version = a.after, state = a.state, due_at = a.due_at, updated_at = $7
      FROM a WHERE a.expected > 0 AND s.id = a.id AND s.version = a.expected AND s.fence = a.fence
    RETURNING s.id
), made AS (
    INSERT INTO saga SELECT a.id, 'four', a.state, a.after, a.fence, 'me', a.due_at, $7 FROM a WHERE a.expected = 0
    RETURNING id
), written AS (
    INSERT INTO event
    SELECT e.saga_id, e.seq, e.append_id, e.type, $7, e.data
      FROM unnest($8::text[], $9::bigint[], $10::text[], $11::text[], $12::text[])
           AS e (saga_id, seq, append_id, type, data)
     -- Written so that it is hashed, whatever the planner believes.
     WHERE (e.saga_id IN (SELECT id FROM changed UNION ALL SELECT id FROM made)) IS TRUE
)
SELECT (SELECT count(*) FROM changed) + (SELECT count(*) FROM made)
"""
FLUSHERS = 2
CAP = 250
"""The best of 64, 128, 250 and none with a thousand sagas in flight; with 128 half of what waits is always less."""
SETTINGS = {"enable_seqscan": "off", "enable_mergejoin": "off", "enable_hashjoin": "off", "jit": "off"}
"""So that the saga rows are looked up by their key, also while the table is small."""

Work = tuple[str, int, int, str, Sequence[Event], "asyncio.Future[None]"]


class PostgreSQLFloor:
    """Two connections, and what waits for them."""

    def __init__(self, connections: Sequence[Any]) -> None:
        self._free = list(connections)
        self._connections = connections
        self._waiting: list[Work] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._scheduled = False

    async def append(self, saga_id: str, version: int, events: Sequence[Event], *, state: str, fence: int = 1) -> int:
        """One durable append; the version after it. Raises where another has written."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append((saga_id, version, fence, state, events, future))
        self._flush_soon()
        await future
        return version + len(events)

    async def close(self) -> None:
        """Close the connections."""
        for connection in self._connections:
            await connection.close()

    def _flush_soon(self) -> None:
        if self._free and self._waiting and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        if not (self._free and self._waiting):
            return
        # Half of what waits, so that the other flusher has something to do meanwhile.
        size = min(CAP, max(1, len(self._waiting) // 2 if len(self._waiting) > 16 else len(self._waiting)))
        batch, self._waiting = self._waiting[:size], self._waiting[size:]
        task = self._loop.create_task(self._write(self._free.pop(), batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._flush_soon()

    async def _write(self, connection: Any, batch: list[Work]) -> None:
        try:
            await _write(connection, batch)
        except Exception as exc:
            for *_, future in batch:
                future.set_exception(exc)
        else:
            for *_, future in batch:
                future.set_result(None)
        self._free.append(connection)
        self._flush_soon()


async def _write(connection: Any, batch: list[Work]) -> None:
    encode = msgspec.json.encode
    now = time.time()
    batch.sort(key=_id)
    sagas: list[list[Any]] = [[], [], [], [], [], []]
    rows: list[list[Any]] = [[], [], [], [], []]
    for saga_id, version, fence, state, events, _ in batch:
        after, due_at = version + len(events), None if state in ("completed", "failed") else now
        for column, value in zip(sagas, (saga_id, version, after, fence, state, due_at), strict=True):
            column.append(value)
        append_id = f"{saga_id}-{version}"
        for seq, (kind, data) in enumerate(events, version + 1):
            for column, value in zip(rows, (saga_id, seq, append_id, kind, encode(data).decode()), strict=True):
                column.append(value)
    if await connection.fetchval(FLUSH, *sagas, now, *rows) != len(batch):
        raise RuntimeError("lost the race against nobody")


def _id(work: Work) -> str:
    return work[0]


# --- where it is measured ---


@attrs.frozen
class PostgreSQLDatabase:
    """A database of a server."""

    url: str

    async def open_floor(self) -> PostgreSQLFloor:
        connections = [await asyncpg.connect(self.url, server_settings=SETTINGS) for _ in range(FLUSHERS)]
        await connections[0].execute(SCHEMA)
        return PostgreSQLFloor(connections)

    def count_floor(self) -> Rows:
        return asyncio.run(self._count("event"))

    def count_engine(self) -> Rows:
        return asyncio.run(self._count("saga_events"))

    async def _count(self, table: str) -> Rows:
        connection = await asyncpg.connect(self.url)
        found = await connection.fetch(f"SELECT type, count(*), sum(octet_length(data)) FROM {table} GROUP BY type")
        await connection.close()
        return {kind: (count, size) for kind, count, size in sorted(found)}


@attrs.frozen
class PostgreSQLPlace:
    """A server."""

    server: PostgreSQL

    @contextmanager
    def fresh(self, name: str) -> Iterator[PostgreSQLDatabase]:
        """A database of its own, dropped afterwards."""
        asyncio.run(self._execute(f"CREATE DATABASE {name}"))
        try:
            yield PostgreSQLDatabase(self.server.url.removesuffix("postgres") + name)
        finally:
            asyncio.run(self._execute(f"DROP DATABASE {name} WITH (FORCE)"))

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self.server.url)
        await connection.execute(statement)
        await connection.execute("CHECKPOINT")  # not in the middle of what is measured
        await connection.close()


@contextmanager
def open_place(folder: Path) -> Iterator[PostgreSQLPlace]:
    """A server of its own, with the settings that PostgreSQL comes with; its data is in the temporary folder."""
    with PostgreSQL() as server:
        yield PostgreSQLPlace(server)
