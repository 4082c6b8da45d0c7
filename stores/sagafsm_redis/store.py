"""RedisStore: the store protocol on one Redis server, or on a Redis cluster.

What must stay true: the work of a call goes on in a task of its own when its caller is cancelled, so that no answer is
ever taken for that of another call, and what was written is known. Writes begin in the order in which they were asked
for.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from sagafsm.core.errors import StoreError
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

from .batch import Batch
from .claims import Claims
from .finding import find
from .health import durability, tell_what_may_be_lost
from .hints import Hints
from .keys import Partitions, encode
from .layout import Layout, open_layout
from .limits import Limits
from .options import Options
from .purging import purge
from .reading import load
from .records import read_events
from .router import Router, command, script
from .scripts import BEAT, RELEASE, RETIRE
from .topology import Topology

T = TypeVar("T")


class _Opened:
    """What there is between ``setup`` and ``close``."""

    def __init__(self, options: Options, topology: Topology, router: Router, layout: Layout) -> None:
        self.topology = topology
        self.router = router
        self.layout = layout
        self.partitions: Partitions = layout.partitions
        self.claims = Claims(router, layout.partitions)
        self.limits = Limits(router, layout.partitions)
        self.hints = Hints(options, topology)


class RedisStore:
    """Sagas in Redis: ``RedisStore.from_url("redis://localhost:6379/0")``."""

    def __init__(self, options: Options, *, hears: bool = True) -> None:
        self.options = options
        self._hears = hears
        # On one server batches follow one another on one connection; on a cluster one has to wait for the other.
        self.batches = 1 if options.cluster else 2
        self._pid = os.getpid()
        self._opened: _Opened | None = None
        self._opening = asyncio.Lock()
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()

    @classmethod
    def from_url(cls, url: str, **options: object) -> RedisStore:
        """``redis://host:port/database``, ``rediss://…`` with TLS, or ``redis+cluster://host:port,host:port``.

        ``options`` may stand in the URL as well: ``?prefix=shop:&wait=1``. Raises SettingsError.
        """
        return cls(Options.from_url(url, **options))

    # --- opening and closing ---

    async def setup(self, *, migrate: bool = True) -> None:
        """Connect, and make the layout of the database where it is missing."""
        async with self._opening:
            if self._opened is not None:
                return
            self._pid = os.getpid()
            self.options.check_files()
            topology = Topology(self.options)
            router = Router(self.options, topology)
            try:
                layout = await open_layout(router, self.options, migrate=migrate)
                opened = _Opened(self.options, topology, router, layout)
                if self._hears:
                    await tell_what_may_be_lost(self.options, topology)
                    await opened.hints.listen()
            except BaseException:
                await topology.close()
                raise
            self._opened = opened

    async def close(self) -> None:
        """End the connections after what is under way; cut short, at once."""
        opened, self._opened = self._opened, None
        if opened is None or os.getpid() != self._pid:
            return
        try:
            if self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            try:
                await opened.hints.close()
            finally:
                await opened.topology.close()

    @property
    def _store(self) -> _Opened:
        if os.getpid() != self._pid:
            raise StoreError(
                "this store was opened before the process forked, and its connections cannot be shared; "
                "open a store in the new process"
            )
        if self._opened is None:
            raise StoreError("the store is not open; call setup() first")
        return self._opened

    def twin(self) -> RedisStore:
        """A second store on the same database, with connections of its own."""
        return RedisStore(self.options, hears=False)

    def _begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work, name="sagafsm redis")
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever asked may have gone away

    async def check(self) -> Durability:
        return await asyncio.shield(self._begin(durability(self.options, self._store.topology)))

    # --- writing ---

    def commit(self, batch: Sequence[Append]) -> Awaitable[Sequence[AppendResult]]:
        opened = self._store
        ready = Batch(batch, opened.partitions, opened.layout.database)
        return asyncio.shield(self._begin(self._commit(opened, ready)))

    async def _commit(self, opened: _Opened, batch: Batch) -> Sequence[AppendResult]:
        if not batch.calls:
            return batch.results
        if self.options.cluster:
            async with self._turn:
                answers = await opened.router.all(batch.calls, write=True, replicated=True)
        else:
            answers = await opened.router.all(batch.calls, write=True, replicated=True)
        if batch.loud:
            opened.hints.tell()
        return batch.learn(answers)

    async def claim(
        self, worker_id: str, kinds: Sequence[str], *, limit: int, saga_ids: Sequence[str] | None = None
    ) -> Claim:
        return await asyncio.shield(self._begin(self._store.claims.claim(worker_id, kinds, limit, saga_ids)))

    async def release(self, saga_id: str, *, worker_id: str, fence: int) -> bool:
        opened, name = self._store, encode(saga_id)
        partition = opened.partitions.of(name)
        call = script(partition, RELEASE, [partition.record(name)], name, encode(worker_id), fence)
        (answer,) = await asyncio.shield(self._begin(opened.router.all([call], write=True, replicated=True)))
        released = bool(answer)
        if released:
            opened.hints.tell()
        return released

    async def heartbeat(self, worker_id: str, ttl: float) -> Worker:
        """A lease counts in each partition by itself, so it is renewed only if it was renewed in all of them."""
        opened = self._store
        calls = [script(partition, BEAT, (), encode(worker_id), repr(ttl)) for partition in opened.partitions.all]
        answers = await asyncio.shield(self._begin(opened.router.all(calls, write=True)))
        return Worker(worker_id, float(answers[0]))

    async def retire(self, worker_id: str) -> None:
        opened = self._store
        calls = [script(partition, RETIRE, (), encode(worker_id)) for partition in opened.partitions.all]
        await asyncio.shield(self._begin(opened.router.all(calls, write=True)))
        opened.hints.tell()

    async def purge(
        self, finished_before: float, *, limit: int = 500, keep_ids: float = 0.0, saga_ids: Sequence[str] | None = None
    ) -> int:
        opened = self._store
        work = purge(opened.router, opened.partitions, finished_before, limit, keep_ids, saga_ids)
        return await asyncio.shield(self._begin(work))

    async def save_definition(self, kind: str, shape: bytes) -> None:
        opened = self._store
        first = opened.partitions.first
        call = command(first, "HSETNX", first.definitions, kind, shape)
        await asyncio.shield(self._begin(opened.router.one(call, write=True)))

    async def acquire(self, permits: Sequence[Permit]) -> Sequence[float]:
        return await asyncio.shield(self._begin(self._store.limits.acquire(permits)))

    async def give_back(self, worker_id: str, tokens: Sequence[str]) -> None:
        await asyncio.shield(self._begin(self._store.limits.give_back(worker_id, tokens)))

    # --- reading ---

    async def load(self, saga_ids: Sequence[str]) -> Mapping[str, StoredSaga]:
        opened = self._store
        return await asyncio.shield(self._begin(load(opened.router, opened.partitions, saga_ids)))

    async def events(self, saga_id: str, after: int = 0) -> Sequence[StoredEvent]:
        name = encode(saga_id)
        partition = self._store.partitions.of(name)
        items = await self._read(command(partition, "LRANGE", partition.log(name), after, -1))
        return read_events(items, after)

    async def find(self, where: Filter, *, cursor: str | None = None, limit: int = 100) -> Page:
        opened = self._store
        return await asyncio.shield(self._begin(find(opened.router, opened.partitions, where, cursor, limit)))

    async def workers(self) -> Sequence[Worker]:
        first = self._store.partitions.first
        found = _pairs(await self._read(command(first, "HGETALL", first.workers)))
        return [Worker(name.decode("utf-8", "surrogatepass"), float(until)) for name, until in sorted(found)]

    async def now(self) -> float:
        seconds, microseconds = await self._read(command(self._store.partitions.first, "TIME"))
        return int(seconds) + int(microseconds) / 1_000_000

    async def counts(self) -> Sequence[Count]:
        opened = self._store
        calls = [command(partition, "HGETALL", partition.counts) for partition in opened.partitions.all]
        tally: dict[bytes, int] = {}
        for answer in await asyncio.shield(self._begin(opened.router.all(calls, write=False))):
            for name, count in _pairs(answer):
                tally[name] = tally.get(name, 0) + int(count)
        return [_count(name, count) for name, count in sorted(tally.items()) if count > 0]

    async def definitions(self) -> Mapping[str, bytes]:
        first = self._store.partitions.first
        found = _pairs(await self._read(command(first, "HGETALL", first.definitions)))
        return {kind.decode(): shape for kind, shape in found}

    async def _read(self, call: Any) -> Any:
        return await asyncio.shield(self._begin(self._store.router.one(call, write=False)))

    # --- wake-ups ---

    async def wait_for_change(self, timeout: float) -> bool:
        """Return true soon after another store has written what may concern others, else false after ``timeout``."""
        return await self._store.hints.wait(timeout)


def _pairs(answer: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    return list(zip(answer[::2], answer[1::2], strict=True))


def _count(name: bytes, count: int) -> Count:
    kind, saga_type, state, stuck, suspended = name.decode("utf-8", "replace").split("\0")
    return Count(
        kind=kind, saga_type=saga_type, state=state, stuck=stuck == "1", suspended=suspended == "1", count=count
    )
