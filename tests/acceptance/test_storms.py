"""Many workers on one database, whichever it is, while workers are killed and frozen and the server goes down."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from sagafsm import Orchestrator, SagaState, StoreError
from sagafsm.store import Filter, Store, open_store
from tests.servers.plugin import Servers

from .audit import audit_store
from .databases import KINDS, Database, database
from .processes import Process, Processes
from .shapes import World, shape
from .worker import start_worker

T = TypeVar("T")

SAGAS = 200
LEASE = 2.0
FROZEN = 3.0  # seconds: past the lease
PATIENCE = 50.0

pytestmark = pytest.mark.timeout(150)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    with Processes(tmp_path) as started:
        yield started


@pytest.fixture(params=KINDS)
def db(request: pytest.FixtureRequest, servers: Servers, tmp_path: Path) -> Iterator[Database]:
    with database(request.param, servers, tmp_path) as found:
        yield found


class Storm:
    """Workers of one database, and those who send them sagas and look on."""

    def __init__(self, processes: Processes, folder: Path, db: Database) -> None:
        self.processes = processes
        self.folder = folder
        self.db = db
        self.saga = shape("busy", World(folder))
        self.workers: list[Process] = []
        self.frozen: list[Process] = []

    def add_worker(self) -> None:
        worker = start_worker(
            self.processes, self.folder, "busy", lease=LEASE, concurrency=30, store_url=self.db.url, wait=False
        )
        self.workers.append(worker)

    @asynccontextmanager
    async def submitting(self) -> AsyncIterator[None]:
        """Store sagas, every fourth one to fail, while the block runs; whatever the store says, until each is there."""
        async with Orchestrator(open_store(self.db.url), sagas=[self.saga], worker=False) as orchestrator:
            for worker in self.workers:
                worker.hear("ready")  # who finds no server when it begins, ends
            task = asyncio.ensure_future(self._submit(orchestrator))
            try:
                yield
                await task
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _submit(self, orchestrator: Orchestrator) -> None:
        for number in range(SAGAS):
            data = {"item": "unicorn" if number % 4 == 3 else "book"}
            await insist(partial(orchestrator.start, self.saga, data, saga_id=f"saga-{number}"))
            await asyncio.sleep(0.01)

    async def freeze(self, worker: Process) -> None:
        """Stop a worker past its lease, then let it go on."""
        self.frozen.append(worker)
        worker.signal(signal.SIGSTOP)
        await asyncio.sleep(FROZEN)
        worker.signal(signal.SIGCONT)
        self.frozen.remove(worker)

    def kill(self, worker: Process) -> None:
        self.workers.remove(worker)
        worker.kill()
        self.add_worker()

    @asynccontextmanager
    async def store(self) -> AsyncIterator[Store]:
        store = open_store(self.db.url)
        await insist(store.setup)
        try:
            yield store
        finally:
            await store.close()

    async def all_ended(self) -> None:
        """Wait until nothing is left to be done."""
        async with self.store() as store:
            deadline = time.monotonic() + PATIENCE
            while live := (await insist(lambda: store.find(Filter(live=True), limit=5))).records:
                assert time.monotonic() < deadline, f"some sagas do not end: {live}; {self.said()}"
                assert any(worker.running for worker in self.workers), f"all workers are gone; {self.said()}"
                await asyncio.sleep(0.1)

    def said(self) -> str:
        """What the workers complained of last."""
        return "\n".join(f"worker {worker.pid}: {worker.errors[-1500:]}" for worker in self.workers)

    async def leave_in_peace(self) -> None:
        for worker in self.workers:
            worker.signal(signal.SIGTERM)
        for worker in self.workers:
            await asyncio.to_thread(worker.hear, "left")
            assert worker.wait() == 0

    async def audited(self) -> int:
        """Hold the log of every saga against what participants did; how many calls were made again."""
        async with self.store() as store:
            found = await audit_store(store, self.folder, self.saga)
            left = [worker.worker_id for worker in await store.workers()]
            # Who submitted may have left while the server was away; the workers have not.
            assert [name for name in left if f":{os.getpid()}:" not in name] == []
        states = [audited.progress.state for audited in found.values()]
        assert (states.count(SagaState.COMPLETED), states.count(SagaState.FAILED)) == (SAGAS * 3 // 4, SAGAS // 4)
        return sum(sum(audited.interruptions) for audited in found.values())


async def insist(call: Callable[[], Awaitable[T]]) -> T:
    """Ask again while the store is away."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(StoreError):
                return await call()
            await asyncio.sleep(0.05)


async def test_workers_are_killed_and_frozen_at_random(processes: Processes, tmp_path: Path, db: Database) -> None:
    chance, storm = random.Random(3), Storm(processes, tmp_path, db)
    for _ in range(4):
        storm.add_worker()
    thaws = []
    async with storm.submitting():
        for blow in (storm.kill, storm.freeze, storm.kill, storm.freeze, storm.kill, storm.kill):
            await asyncio.sleep(chance.uniform(0.3, 0.8))
            victim = next(worker for worker in storm.workers if worker not in storm.frozen)  # has worked longest
            if blow == storm.freeze:
                thaws.append(asyncio.ensure_future(storm.freeze(victim)))
                await asyncio.sleep(0)
            else:
                storm.kill(victim)
    await asyncio.gather(*thaws)
    await storm.all_ended()
    await storm.leave_in_peace()
    assert await storm.audited() > 0  # somebody was hit in the middle of a call


async def test_the_server_goes_down_under_load(processes: Processes, tmp_path: Path, db: Database) -> None:
    if db.server is None:
        pytest.skip("a file has no server")
    storm = Storm(processes, tmp_path, db)
    for _ in range(3):
        storm.add_worker()
    async with storm.submitting():
        for _ in range(3):
            await asyncio.sleep(1.0)
            db.server.kill()
            await asyncio.sleep(0.5)
            await asyncio.to_thread(db.server.start)
        await asyncio.sleep(0.5)
        await asyncio.to_thread(db.server.restart)
    await storm.all_ended()
    await storm.leave_in_peace()
    await storm.audited()
