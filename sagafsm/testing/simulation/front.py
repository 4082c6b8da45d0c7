"""The store as one simulated process sees it: a connection to the shared database, over which everything can go wrong.

What must stay true: nothing is decided here; a request once sent is served or lost by the database alone, also when
the process that sent it has died or nobody waits for the answer any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from ...store import (
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
from .server import Server, done


class Front:
    """One process's connection. Implements :class:`~sagafsm.store.Store`."""

    batches = 1

    def __init__(self, server: Server, process: str) -> None:
        self._server = server
        self._process = process

    async def setup(self, *, migrate: bool = True) -> None:
        """There is nothing to set up."""

    async def close(self) -> None:
        """There is nothing to close."""

    async def check(self) -> Durability:
        return done(self._server.memory.check())

    def commit(self, batch: Sequence[Append]) -> asyncio.Future[Sequence[AppendResult]]:
        server, process = self._server, self._process
        return server.request(
            lambda: server.commit(process, batch), "commit", lambda results: server.told(process, batch, results)
        )

    async def load(self, saga_ids: Sequence[str]) -> Mapping[str, StoredSaga]:
        server = self._server
        stale = server.faults.strikes("read stale")
        return await server.request(lambda: server.load(saga_ids, stale=stale), "read")

    async def events(self, saga_id: str, after: int = 0) -> Sequence[StoredEvent]:
        memory = self._server.memory
        return await self._server.request(lambda: done(memory.events(saga_id, after)), "read")

    async def find(self, where: Filter, *, cursor: str | None = None, limit: int = 100) -> Page:
        memory = self._server.memory
        return await self._server.request(lambda: done(memory.find(where, cursor=cursor, limit=limit)), "read")

    async def claim(
        self, worker_id: str, kinds: Sequence[str], *, limit: int, saga_ids: Sequence[str] | None = None
    ) -> Claim:
        server, process = self._server, self._process
        return await server.request(lambda: server.claim(process, worker_id, kinds, limit, saga_ids), "claim")

    async def release(self, saga_id: str, *, worker_id: str, fence: int) -> bool:
        server, process = self._server, self._process
        return await server.request(lambda: server.release(process, saga_id, worker_id, fence), "commit")

    async def heartbeat(self, worker_id: str, ttl: float) -> Worker:
        server, process, asked = self._server, self._process, self._server.loop.now
        return await server.request(lambda: server.heartbeat(process, worker_id, ttl, asked), "beat")

    async def workers(self) -> Sequence[Worker]:
        memory = self._server.memory
        return await self._server.glance(lambda: done(memory.workers()))

    async def retire(self, worker_id: str) -> None:
        server, process = self._server, self._process
        await server.request(lambda: server.retire(process, worker_id), "beat")

    async def now(self) -> float:
        return await self._server.glance(self._server.clock)

    async def counts(self) -> Sequence[Count]:
        memory = self._server.memory
        return await self._server.glance(lambda: done(memory.counts()))

    async def purge(
        self, finished_before: float, *, limit: int = 500, keep_ids: float = 0.0, saga_ids: Sequence[str] | None = None
    ) -> int:
        server, process = self._server, self._process
        return await server.request(lambda: server.purge(process, finished_before, limit, keep_ids, saga_ids), "commit")

    async def save_definition(self, kind: str, shape: bytes) -> None:
        memory = self._server.memory
        await self._server.request(lambda: done(memory.save_definition(kind, shape)), "read")

    async def definitions(self) -> Mapping[str, bytes]:
        memory = self._server.memory
        return await self._server.glance(lambda: done(memory.definitions()))
