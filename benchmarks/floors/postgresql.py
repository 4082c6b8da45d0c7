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

from .base import HEIR, OWNER, Event, Rows

SCHEMA = """
CREATE SCHEMA floor;
SET search_path = floor;
CREATE TABLE saga (id text COLLATE "C" PRIMARY KEY, type text, state text, version bigint, fence bigint, owner text,
                   due_at double precision, updated_at double precision) WITH (fillfactor = 50);
CREATE INDEX saga_due ON saga (due_at) WHERE due_at IS NOT NULL;
CREATE TABLE event (saga_id text COLLATE "C", seq bigint, append_id text, type text, at double precision, data text,
                    PRIMARY KEY (saga_id, seq));
"""
FLUSH = f"""
WITH a AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::float8[])
                  AS a (id, expected, after, fence, state, due_at)
), changed AS (
    UPDATE saga s SET version = a.after, state = a.state, updated_at = $7,
                      due_at = CASE WHEN a.due_at IS NOT NULL THEN s.due_at END  -- no index is written on the way
      FROM a WHERE a.expected > 0 AND s.id = a.id AND s.version = a.expected AND s.fence = a.fence
    RETURNING s.id
), made AS (
    INSERT INTO saga SELECT a.id, 'four', a.state, a.after, a.fence, '{OWNER}', a.due_at, $7 FROM a WHERE a.expected = 0
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
TAKE_OVER = f"UPDATE saga SET owner = '{HEIR}', fence = fence + 1 WHERE owner = '{OWNER}' AND due_at <= $1"
READ = f"""
SELECT e.saga_id, e.data FROM saga s JOIN event e ON e.saga_id = s.id WHERE s.owner = '{HEIR}' ORDER BY e.saga_id, e.seq
"""
FLUSHERS = 2
CAP = 250
"""The best of 64, 128, 250 and none with a thousand sagas in flight; with 128 half of what waits is always less."""
SETTINGS = {
    "search_path": "floor",
    "enable_seqscan": "off",
    "enable_mergejoin": "off",
    "enable_hashjoin": "off",
    "jit": "off",
}
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

    async def take_over(self) -> dict[str, list[dict[str, Any]]]:
        """Claim with one statement, read with another."""
        connection, decode = self._connections[0], msgspec.json.decode
        await connection.execute(TAKE_OVER, time.time())
        found: dict[str, list[dict[str, Any]]] = {}
        for saga_id, data in await connection.fetch(READ):
            found.setdefault(saga_id, []).append(decode(data))
        return found

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
        return PostgreSQLFloor([await asyncpg.connect(self.url, server_settings=SETTINGS) for _ in range(FLUSHERS)])

    def count_floor(self) -> Rows:
        return asyncio.run(self._count("floor.event"))

    def count_engine(self) -> Rows:
        return asyncio.run(self._count("saga_events"))

    def settle(self) -> None:
        """What its own housekeeping would begin with within a minute."""
        asyncio.run(_execute(self.url, "VACUUM ANALYZE", "CHECKPOINT"))

    async def _count(self, table: str) -> Rows:
        connection = await asyncpg.connect(self.url)
        found = await connection.fetch(f"SELECT type, count(*), sum(octet_length(data)) FROM {table} GROUP BY type")
        await connection.close()
        return {kind: (count, size) for kind, count, size in sorted(found)}


@attrs.frozen
class PostgreSQLPlace:
    """A server."""

    server: PostgreSQL
    about: str

    @property
    def folder(self) -> Path:
        return self.server.folder

    @contextmanager
    def fresh(self, name: str) -> Iterator[PostgreSQLDatabase]:
        """A database of its own, with the tables of the floor, dropped afterwards."""
        server = self.server.url
        database = PostgreSQLDatabase(server.removesuffix("postgres") + name)
        asyncio.run(_execute(server, f"CREATE DATABASE {name}"))
        try:
            asyncio.run(_execute(database.url, SCHEMA, "CHECKPOINT"))  # not in the middle of what is measured
            yield database
        finally:
            asyncio.run(_execute(server, f"DROP DATABASE {name} WITH (FORCE)"))


async def _execute(url: str, *statements: str) -> str:
    """Run them one by one; the server's version."""
    connection = await asyncpg.connect(url)
    for statement in statements:
        await connection.execute(statement)
    version: str = await connection.fetchval("SHOW server_version")
    await connection.close()
    return version.split()[0]


@contextmanager
def open_place(folder: Path) -> Iterator[PostgreSQLPlace]:
    """A server of its own, with the settings that PostgreSQL comes with; its data is in the temporary folder."""
    with PostgreSQL() as server:
        yield PostgreSQLPlace(server, f"PostgreSQL {asyncio.run(_execute(server.url))}, its own settings")


def find(url: str) -> PostgreSQLDatabase:
    """The database of a URL."""
    return PostgreSQLDatabase(url)
