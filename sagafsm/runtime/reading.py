"""Reading sagas and waiting for them, wherever they run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

from ..core.decider import next_wake
from ..core.errors import SagaNotFound, StoreError
from ..core.events import NULL, Outcome
from ..core.instance import SagaInstance
from ..core.lifecycle import SagaState
from ..core.progress import Progress
from ..store import Filter, Record, StoredSaga
from .inspection import TERMINAL
from .outside import read

if TYPE_CHECKING:
    from .engine import Engine
    from .worker import Worker

PAGE = 200
LOADED_AT_ONCE = 25
"""Sagas whose logs lie in memory together."""

FIRST_LOOK, LAST_LOOK = 0.02, 1.0


class Reader:
    """Reads for one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def get(self, saga_id: str) -> SagaInstance:
        """A saga as it stands: from its driver if it runs here, else from the store."""
        driver = self._engine.drivers.get(saga_id)
        if driver is not None:
            return driver.instance
        return self._instance(await read(self._engine, saga_id))

    def _instance(self, stored: StoredSaga) -> SagaInstance:
        """Where a saga was set aside, the log may be readable (again) and does not say so."""
        progress = self._engine.progress_of(stored)
        return SagaInstance(progress, self._engine.definitions.get(progress.kind), problem=stored.record.problem)

    async def find(self, where: Filter, limit: int | None) -> AsyncIterator[SagaInstance]:
        """Page through what matches; a saga that cannot be read is shown by its record."""
        engine, cursor, left = self._engine, None, limit
        while left is None or left > 0:
            page = await engine.store.find(where, cursor=cursor, limit=PAGE if left is None else min(PAGE, left))
            for start in range(0, len(page.records), LOADED_AT_ONCE):
                async for instance in self._instances(page.records[start : start + LOADED_AT_ONCE]):
                    yield instance
            if left is not None:
                left -= len(page.records)
            cursor = page.cursor
            if cursor is None:
                return

    async def _instances(self, records: Sequence[Record]) -> AsyncIterator[SagaInstance]:
        stored = await self._engine.store.load([record.saga_id for record in records])
        for record in records:
            saga = stored.get(record.saga_id)
            if saga is None:
                continue  # purged since
            try:
                yield self._instance(saga)
            except StoreError as exc:
                yield SagaInstance(_from_record(record), problem=str(exc))

    # --- waiting ---

    def wait(self, saga_id: str, timeout: float | None, *, suspended: bool = False) -> Awaitable[SagaInstance]:
        """Wait until a saga is terminal or stuck (or suspended). Raises TimeoutError."""
        work = self._until(saga_id, suspended)
        return work if timeout is None else self._in_time(work, saga_id, timeout)

    async def _in_time(self, work: Awaitable[SagaInstance], saga_id: str, timeout: float) -> SagaInstance:
        async with patience(saga_id, timeout):
            return await work

    async def _until(self, saga_id: str, suspended: bool) -> SagaInstance:
        engine, pause = self._engine, FIRST_LOOK
        while True:
            here = saga_id in engine.drivers
            if not here:
                stored = await engine.looks.load(saga_id)
                if stored is None:
                    raise SagaNotFound(saga_id)
                record = stored.record  # the log need not be read to see that there is more to wait for
                ended = record.state in TERMINAL or record.stuck or record.problem is not None
                if ended or (suspended and record.suspended):
                    return self._instance(stored)
                here = saga_id in engine.drivers  # taken up while we looked
            if here:  # most sagas, most of the time: without a coroutine and a timer of its own
                future = engine.waiters.expect(saga_id)
                try:
                    news: SagaInstance | None = await future
                finally:
                    engine.waiters.give_up(saga_id, future)
            else:
                news = await engine.waiters.news(saga_id, pause)
            if news is not None and (news.state.terminal or news.stuck or (suspended and news.suspended)):
                return news
            pause = FIRST_LOOK if news is not None else min(pause * 2, LAST_LOOK)

    async def execute(self, saga_id: str, worker: Worker) -> SagaInstance:
        """Run a saga here as far as it goes by itself."""
        engine, pause, taken = self._engine, FIRST_LOOK, False
        while True:
            if saga_id not in engine.drivers:
                instance = await self.get(saga_id)
                back_in = engine.permits.back_in(saga_id)
                if back_in > 0:  # it waits for a permit
                    await engine.waiters.news(saga_id, min(back_in, LAST_LOOK))
                    continue
                due = not taken and self._due(instance)
                if _rests(instance) and not due:
                    return instance
                child = next((waiting.name for waiting in instance.waiting if waiting.kind == "child"), None)
                if child is not None:
                    below = await self.execute(child, worker)
                    if not (below.state.terminal or below.stuck):
                        return instance
                due_in = 0.0 if due else _due_in(instance, engine.clock())
                if due_in > 0:
                    await engine.waiters.news(saga_id, min(due_in, LAST_LOOK))
                    continue
                if not await worker.take([saga_id]):
                    await engine.waiters.news(saga_id, pause)  # somebody else runs it
                    pause = min(pause * 2, LAST_LOOK)
                    continue
                taken = True
            if saga_id in engine.drivers:
                news = await engine.waiters.news(saga_id, None)
                if news is not None and _rests(news):
                    return news

    def _due(self, saga: SagaInstance) -> bool:
        """Whether the saga has something to do although it waits: it was told to stop, or a time has passed."""
        progress, now = saga.progress, self._engine.clock()
        definition = self._engine.definitions.get(progress.kind)
        if definition is None or saga.stuck or saga.suspended:
            return False
        if progress.abort is not None and progress.state in (SagaState.STARTED, SagaState.PENDING):
            return True
        wake = next_wake(definition, progress, now)
        return wake is not None and wake <= now


@asynccontextmanager
async def patience(saga_id: str, timeout: float | None) -> AsyncIterator[None]:
    """Wait no longer than ``timeout`` seconds; the TimeoutError then names the saga, which goes on."""
    limit = asyncio.timeout(timeout)
    try:
        async with limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise TimeoutError(
            f"saga {saga_id} is not there yet after {timeout:g} s; it was not stopped, wait for it again or look at it"
        ) from None


def _rests(saga: SagaInstance) -> bool:
    """Whether only somebody else can bring the saga on."""
    if saga.state.terminal or saga.stuck or saga.suspended:
        return True
    waits = saga.waiting
    running = any(step.calling or step.probing for step in saga.progress.steps.values())
    return bool(waits) and not running and all(waiting.kind in ("reply", "signal") for waiting in waits)


def _due_in(saga: SagaInstance, now: float) -> float:
    """Seconds until the saga can be taken up: 0 unless all it does is wait for a time."""
    if any(step.calling or step.probing for step in saga.progress.steps.values()):
        return 0.0
    times = [waiting.until for waiting in saga.waiting if waiting.until is not None]
    return max(0.0, min(times) - now) if times else 0.0


def _from_record(record: Record) -> Progress:
    """What little the record says of a saga whose log cannot be read."""
    name, _, rest = record.kind.partition("@")
    version, _, fingerprint = rest.partition("#")
    return Progress(
        saga_id=record.saga_id,
        saga_type=name,
        definition_version=int(version) if version.isdigit() else 0,
        fingerprint=fingerprint,
        state=SagaState(record.state),
        data=NULL,
        steps={},
        correlation_id=record.correlation_id,
        created_at=record.created_at,
        updated_at=record.updated_at,
        version=record.version,
        parent_id=record.parent_id,
        tags=record.tags,
        outcome=cast(Outcome | None, record.outcome),
        stuck=record.stuck,
        suspended=record.suspended,
        finished_at=record.finished_at,
    )
