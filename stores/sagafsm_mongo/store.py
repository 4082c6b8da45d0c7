"""MongoStore: the store protocol on MongoDB.

What must stay true: every change of a saga is one conditional write to its one document, so no transaction is needed
and a single server will do. What was begun is done to its end, also where its caller no longer waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from pymongo import MongoClient

from sagafsm.core.errors import SettingsError, StoreError
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

from .claims import Claims
from .database import Database
from .documents import texts
from .finding import Finder
from .health import durability, refuse_what_is_too_old
from .leases import Leases
from .limits import Limits
from .options import DATABASE, PATIENCE, Options
from .purging import Purger
from .reading import Reader
from .schema import bring_up_to_date, require
from .sealing import Sealer
from .writing import Writer

T = TypeVar("T")


class _Parts:
    """What the store is made of: each part does one thing in the same database."""

    def __init__(self, client: Any, name: str, patience: float) -> None:
        self.database = database = Database(client[name], patience=patience)
        self.leases = Leases(database)
        self.reader = Reader(database)
        self.finder = Finder(database)
        self.claims = Claims(database, self.leases, self.reader)
        self.purger = Purger(database)
        self.writer = Writer(database, self.purger)
        self.sealer = Sealer(database)
        self.limits = Limits(database, self.leases)
        self._under_way: set[asyncio.Task[Any]] = set()

    def to_the_end(self, work: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
        """Do it, whether or not somebody waits for it.

        Cancelled in the middle, the driver would throw the connection away, and sometimes leave it open; and the
        server would write all the same.
        """
        task = asyncio.get_running_loop().create_task(work, name="sagafsm mongodb")
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited for it may have been cancelled: then nobody else looks

    async def finish(self) -> None:
        """Wait for what is under way, and stop what runs beside it."""
        try:
            while self._under_way:
                await asyncio.wait(self._under_way)
        finally:
            await self.sealer.close()


class MongoStore:
    """Sagas in one MongoDB database, through a client that the caller has: ``MongoStore(client, database="shop")``.

    ``client``: PyMongo's ``AsyncMongoClient`` or Motor's ``AsyncIOMotorClient``; whoever made it closes it.
    ``patience``: seconds to wait until a majority has confirmed a write; then its outcome is unknown. Whatever write
    concern, read concern or read preference the client has, the store says its own with every command. Raises
    SettingsError for a client without ``async``.
    """

    batches = 2

    def __init__(self, client: Any, *, database: str = DATABASE, patience: float = PATIENCE) -> None:
        if isinstance(client, MongoClient):
            raise SettingsError("this client blocks the event loop; make an AsyncMongoClient of the same arguments")
        self._made: _Parts | None = _Parts(client, database, patience)

    @staticmethod
    def from_url(url: str, **client: Any) -> URLStore:
        """The store for a URL; ``client``: options for PyMongo's client. Raises SettingsError."""
        return URLStore(Options.from_url(url, **client))

    @property
    def _parts(self) -> _Parts:
        if self._made is None:
            raise StoreError("the store is not open; call setup() first")
        return self._made

    # --- opening and closing ---

    async def setup(self, *, migrate: bool = True) -> None:
        """Create the indexes that are missing (``migrate=False``: raise where something is)."""
        parts = self._parts
        await parts.to_the_end(refuse_what_is_too_old(parts.database))
        await parts.to_the_end(bring_up_to_date(parts.database) if migrate else require(parts.database))

    async def close(self) -> None:
        """Finish the commits under way."""
        if self._made is not None:
            await self._made.finish()

    async def check(self) -> Durability:
        parts = self._parts
        return await parts.to_the_end(durability(parts.database))

    # --- writing ---

    def commit(self, batch: Sequence[Append]) -> Awaitable[Sequence[AppendResult]]:
        return self._parts.to_the_end(self._commit(self._parts, batch))

    async def _commit(self, parts: _Parts, batch: Sequence[Append]) -> Sequence[AppendResult]:
        if parts.sealer.is_behind(batch):
            await parts.sealer.caught_up()
        results = await parts.writer.commit(batch)
        parts.sealer.look_at(batch, results)
        return results

    async def claim(
        self, worker_id: str, kinds: Sequence[str], *, limit: int, saga_ids: Sequence[str] | None = None
    ) -> Claim:
        parts = self._parts
        return await parts.to_the_end(parts.claims.claim(worker_id, kinds, limit, saga_ids))

    async def release(self, saga_id: str, *, worker_id: str, fence: int) -> bool:
        parts = self._parts
        return await parts.to_the_end(parts.claims.release(saga_id, worker_id, fence))

    async def heartbeat(self, worker_id: str, ttl: float) -> Worker:
        parts = self._parts
        return await parts.to_the_end(parts.leases.heartbeat(worker_id, ttl))

    async def retire(self, worker_id: str) -> None:
        parts = self._parts
        await parts.to_the_end(parts.leases.retire(worker_id))

    async def purge(
        self, finished_before: float, *, limit: int = 500, keep_ids: float = 0.0, saga_ids: Sequence[str] | None = None
    ) -> int:
        parts = self._parts
        return await parts.to_the_end(parts.purger.purge(finished_before, limit, keep_ids, saga_ids))

    async def save_definition(self, kind: str, shape: bytes) -> None:
        parts = self._parts
        await parts.to_the_end(parts.finder.save_definition(kind, shape))

    # --- permits ---

    async def acquire(self, permits: Sequence[Permit]) -> Sequence[float]:
        parts = self._parts
        return await parts.to_the_end(parts.limits.acquire(permits))

    async def give_back(self, worker_id: str, tokens: Sequence[str]) -> None:
        parts = self._parts
        await parts.to_the_end(parts.limits.give_back(worker_id, tokens))

    # --- reading ---

    async def load(self, saga_ids: Sequence[str]) -> Mapping[str, StoredSaga]:
        parts = self._parts
        return await parts.to_the_end(parts.reader.load({"_id": {"$in": texts(saga_ids)}})) if saga_ids else {}

    async def events(self, saga_id: str, after: int = 0) -> Sequence[StoredEvent]:
        parts = self._parts
        return await parts.to_the_end(parts.reader.events(saga_id, after))

    async def find(self, where: Filter, *, cursor: str | None = None, limit: int = 100) -> Page:
        parts = self._parts
        return await parts.to_the_end(parts.finder.find(where, cursor, limit))

    async def workers(self) -> Sequence[Worker]:
        parts = self._parts
        return await parts.to_the_end(parts.leases.workers())

    async def now(self) -> float:
        parts = self._parts
        return await parts.to_the_end(parts.database.now())

    async def counts(self) -> Sequence[Count]:
        parts = self._parts
        return await parts.to_the_end(parts.finder.counts())

    async def definitions(self) -> Mapping[str, bytes]:
        parts = self._parts
        return await parts.to_the_end(parts.finder.definitions())


class URLStore(MongoStore):
    """The store for a URL: it makes its own client when it is opened, and closes it."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._made = None
        self._client: Any = None
        self._opening = asyncio.Lock()

    async def setup(self, *, migrate: bool = True) -> None:
        """Connect, and create the indexes that are missing."""
        async with self._opening:
            if self._client is not None:
                await super().setup(migrate=migrate)
                return
            self._client = self._options.connect()
            self._made = _Parts(self._client, self._options.database, self._options.patience)
            try:
                await super().setup(migrate=migrate)
            except BaseException:
                await self.close()
                raise

    async def close(self) -> None:
        """Finish the commits under way, and close the client."""
        client, self._client = self._client, None
        if client is not None:
            try:
                await super().close()
            finally:
                self._made = None
                await client.close()

    def twin(self) -> URLStore:
        """Another store on the same database, with a client of its own."""
        return URLStore(self._options)
