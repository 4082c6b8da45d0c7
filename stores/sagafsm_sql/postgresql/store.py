"""PostgreSQLStore: the store protocol on a PostgreSQL database.

What must stay true: no connection holds anything between two calls that the next call depends on, so a pooler may
stand in between; no transaction is open while code of the user runs; what must be durable when it is acknowledged is,
whatever the server is set to (unless the URL says ``durability=relaxed``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sagafsm.core.errors import StoreUnavailable
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

from ..purging import purge_in_turn
from ..queries import Queries
from .attempts import again
from .claims import Claims
from .driver import Connection
from .errors import translated
from .health import durability, is_pooled, refuse_unfit
from .limits import Limits
from .options import Options
from .pool import Pool, connect, part
from .records import read_events, read_saga
from .schema import Schema
from .types import KnownTypes
from .wakeups import Wakeups
from .writer import Writer

if TYPE_CHECKING:
    from .finding import Finder

LANES = 2  # connections that do nothing but commit


def _make_finder(schema: str) -> Finder:
    from .finding import Finder  # SQLAlchemy is as much to load as all the rest, and only a search needs it

    return Finder(schema)


def from_url(url: str, **options: Any) -> PostgreSQLStore:
    """The store for ``postgresql://user:password@host:5432/db``; options may stand in the URL or beside it."""
    return PostgreSQLStore(Options.from_url(url, **options))


class PostgreSQLStore:
    """Sagas in one schema of a PostgreSQL database. Several namespaces: several schemas."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.batches = min(LANES, options.pool_size // 2)
        self._queries = Queries("postgresql", schema=options.quoted)
        self._finder: Finder | None = None
        self._opening = asyncio.Lock()
        self._opened: _Opened | None = None

    def twin(self) -> PostgreSQLStore:
        """A second store on the same database, not yet opened, with as few connections as will do."""
        return PostgreSQLStore(self.options.small())

    # --- opening and closing ---

    async def setup(self, *, migrate: bool = True) -> None:
        """Connect; create the schema and its tables where they are missing."""
        async with self._opening:
            if self._opened is not None:
                return
            types = KnownTypes()
            connection = await connect(self.options, prepared=False, patient=True, types=types)
            try:
                pooled = await self._look(connection, migrate)
            except BaseException:
                connection.terminate()
                raise
            await part(connection)
            opened = _Opened(self._queries, self.options, self.batches, pooled=pooled, types=types)
            try:
                await opened.wakeups.begin()
            except BaseException:
                await opened.close()
                raise
            self._opened = opened

    async def _look(self, connection: Connection, migrate: bool) -> bool:
        """Find the server fit and the schema up to date; whether a pooler stands in between."""
        with translated(self.options.where):
            await refuse_unfit(connection, self.options)
            schema = Schema(self._queries, self.options)
            if migrate:
                await schema.bring_up_to_date(connection)
            else:
                await schema.require(connection)
            # In one piece, because a pooler may stand in between, and taken back, because the driver changes settings.
            transaction = connection.transaction()
            await transaction.start()
            await connection.fetchrow(self._queries["know_types"])
            pooled = await is_pooled(connection)
            await transaction.rollback()
            return pooled

    async def close(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.close()

    def _ready(self) -> _Opened:
        if self._opened is None:
            raise StoreUnavailable("the store is not open: call setup() first; nothing was written")
        return self._opened

    async def check(self) -> Durability:
        async with self._ready().pool.connection() as connection:
            return await durability(connection, self.options)

    # --- writing ---

    def commit(self, batch: Sequence[Append]) -> Awaitable[Sequence[AppendResult]]:
        return self._ready().commit(batch)

    async def claim(
        self, worker_id: str, kinds: Sequence[str], *, limit: int, saga_ids: Sequence[str] | None = None
    ) -> Claim:
        claims = self._ready().claims
        return await again(lambda: claims.claim(worker_id, kinds, limit, saga_ids))

    async def release(self, saga_id: str, *, worker_id: str, fence: int) -> bool:
        return await self._write("release", saga_id, worker_id, fence) is True

    async def heartbeat(self, worker_id: str, ttl: float) -> Worker:
        return Worker(worker_id, await self._write("heartbeat", worker_id, float(ttl)))

    async def retire(self, worker_id: str) -> None:
        await self._write("retire", worker_id)

    async def purge(
        self, finished_before: float, *, limit: int = 500, keep_ids: float = 0.0, saga_ids: Sequence[str] | None = None
    ) -> int:
        """As :meth:`sagafsm.store.Store.purge` says; with ``history=monthly`` they are in the history from then on."""
        way = "shelve" if self.options.history == "monthly" else "purge"

        async def some(at_once: int, names: Sequence[str] | None) -> int:
            named = None if names is None else list(names)
            gone: int = await self._write(way, float(finished_before), at_once, float(keep_ids), named)
            return gone

        return await purge_in_turn(some, limit, saga_ids)

    async def save_definition(self, kind: str, shape: bytes) -> None:
        await self._write("save_definition", kind, shape.decode())

    async def acquire(self, permits: Sequence[Permit]) -> Sequence[float]:
        """As :meth:`sagafsm.supports.SupportsLimits.acquire` says."""
        if not permits:
            return []
        opened = self._ready()

        async def ask() -> Sequence[float]:
            async with opened.pool.connection(writing=True) as connection, connection.transaction():
                return await opened.limits.acquire(connection, permits)

        return await again(ask)

    async def give_back(self, worker_id: str, tokens: Sequence[str]) -> None:
        """As :meth:`sagafsm.supports.SupportsLimits.give_back` says."""
        if tokens:
            await self._write("give_back", worker_id, list(tokens))

    async def _write(self, name: str, *values: Any) -> Any:
        pool = self._ready().pool

        async def write() -> Any:
            async with pool.connection(writing=True) as connection:
                return await connection.fetchval(self._queries[name], *values)

        return await again(write)

    # --- reading ---

    async def load(self, saga_ids: Sequence[str]) -> Mapping[str, StoredSaga]:
        rows = await self._read("load", list(saga_ids), True)
        return {saga.record.saga_id: saga for saga in map(read_saga, rows)}

    async def events(self, saga_id: str, after: int = 0) -> Sequence[StoredEvent]:
        (row,) = await self._read("events", saga_id, after)
        return read_events(row, after)

    async def find(self, where: Filter, *, cursor: str | None = None, limit: int = 100) -> Page:
        if self._finder is None:
            self._finder = await asyncio.to_thread(_make_finder, self.options.schema)
        statement, values = self._finder.statement(where, cursor, limit + 1)
        async with (
            self._ready().pool.connection() as connection,
            # Both statements see the same, so what was found still matches when it is read.
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            ids = [row[0] for row in await connection.fetch(statement, *values)]
            rows = await connection.fetch(self._queries["load"], ids[:limit], False)
        found = {saga.record.saga_id: saga.record for saga in map(read_saga, rows)}
        records = [found[saga_id] for saga_id in ids[:limit]]
        rest = len(ids) > limit and records
        return Page(records, make_cursor(records[-1].created_at, records[-1].saga_id) if rest else None)

    async def workers(self) -> Sequence[Worker]:
        return [Worker(worker_id, until) for worker_id, until in await self._read("workers")]

    async def now(self) -> float:
        ((now,),) = await self._read("now")
        return float(now)

    async def counts(self) -> Sequence[Count]:
        return [
            Count(kind=kind, saga_type=saga_type, state=state, stuck=stuck, suspended=suspended, count=count)
            for kind, saga_type, state, stuck, suspended, count in await self._read("counts")
        ]

    async def definitions(self) -> Mapping[str, bytes]:
        return {kind: shape.encode() for kind, shape in await self._read("definitions")}

    async def _read(self, name: str, *values: Any) -> Sequence[Any]:
        async with self._ready().pool.connection() as connection:
            return await connection.fetch(self._queries[name], *values)

    # --- wake-ups ---

    async def wait_for_change(self, timeout: float) -> bool:
        """Return true soon after another process has written, false after ``timeout`` seconds."""
        return await self._ready().wakeups.wait(timeout)


class _Opened:
    """What an open store has: connections for commits, connections for the rest, and what works with them."""

    def __init__(self, queries: Queries, options: Options, lanes: int, *, pooled: bool, types: KnownTypes) -> None:
        prepared = options.prepared == "yes" or (options.prepared == "auto" and not pooled)
        self.lanes = Pool(options, lanes, prepared=prepared, types=types)
        self.pool = Pool(options, options.pool_size - lanes, prepared=prepared, types=types)
        self.claims = Claims(queries, options, self.pool)
        self.limits = Limits(queries)
        self.wakeups = Wakeups(queries, options, self.pool, listens=not pooled)
        self.commit = Writer(queries, options, self.lanes, self.wakeups.tell).commit

    async def close(self) -> None:
        """Cut short in the middle, it still gives back every connection."""
        try:
            await self.wakeups.close()
        finally:
            try:
                await self.lanes.close()
            finally:
                await self.pool.close()
