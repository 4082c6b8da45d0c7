"""Sagas go on through whatever happens to Redis: every effect is kept or undone once, and a loss is not hidden."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from sagafsm import Orchestrator, SagaState, Settings, StoreError
from sagafsm.store import Append, AppendResult, Filter, Store, open_store
from tests.servers.plugin import Servers
from tests.servers.redis import Redis
from tests.servers.redis_cluster import RedisCluster

from .audit import audit_store
from .ledger import Ledger
from .processes import eventually
from .redis_troubles import LOSSES, ON_A_CLUSTER, ON_ONE_SERVER
from .shapes import World, gate, shape
from .test_storms import insist

SAGAS = 80
PATIENCE = 60.0


class ListeningStore:
    """Any store; notes what its commits complain of."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.complaints: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def was_told(self, pattern: str) -> bool:
        """Whether a complaint is as the pattern says; an empty one asks for none."""
        return not pattern or any(re.search(pattern, complaint) for complaint in self.complaints)

    async def wait_for_change(self, timeout: float) -> bool:
        return await self._store.wait_for_change(timeout)  # type: ignore[attr-defined,no-any-return]

    async def commit(self, batch: Sequence[Append]) -> Sequence[AppendResult]:
        try:
            return await self._store.commit(batch)
        except StoreError as exc:
            self.complaints.append(str(exc))
            raise


async def run_through(url: str, folder: Path, trouble: Callable[[], Awaitable[None]], told: str) -> None:
    """Run sagas, every fourth one to fail, while the trouble lasts; then hold their logs against what was done.

    The trouble comes until a commit was told of it: whether one is under way at that moment is luck.
    """
    saga, listening = shape("busy", World(folder)), ListeningStore(open_store(url))
    orchestrator = Orchestrator(
        cast(Store, listening), sagas=[saga], settings=Settings(concurrency=20), lease=3, poll_interval=0.1
    )
    over = asyncio.Event()

    async def submit() -> int:
        number = 0
        while number < SAGAS or not over.is_set():
            data = {"item": "unicorn" if number % 4 == 3 else "book"}
            await insist(partial(orchestrator.start, saga, data, saga_id=f"saga-{number}"))
            await asyncio.sleep(0.02)
            number += 1
        return number

    async with orchestrator:
        submitting = asyncio.ensure_future(submit())
        await asyncio.sleep(0.5)
        deadline = time.monotonic() + PATIENCE
        await trouble()
        while not listening.was_told(told):
            assert time.monotonic() < deadline, f"nobody was told {told!r}, but: {listening.complaints}"
            await trouble()
        over.set()
        count = await submitting
        deadline = time.monotonic() + PATIENCE
        while live := (await insist(lambda: listening.find(Filter(live=True), limit=5))).records:
            assert time.monotonic() < deadline, f"some sagas do not end: {live}"
            await asyncio.sleep(0.1)
        found = await audit_store(cast(Store, listening), folder, saga)
    states = [audited.progress.state for audited in found.values()]
    assert (len(states), states.count(SagaState.FAILED)) == (count, count // 4)


@pytest.mark.timeout(150)
@pytest.mark.parametrize("name", ON_ONE_SERVER)
async def test_sagas_go_on_when(name: str, servers: Servers, tmp_path: Path) -> None:
    trouble, told = ON_ONE_SERVER[name]
    with servers.another(Redis) as server:
        await run_through(f"{server.url}?timeout=0.5", tmp_path, partial(trouble, server), told)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", ON_A_CLUSTER)
async def test_sagas_on_a_cluster_go_on_when(name: str, servers: Servers, tmp_path: Path) -> None:
    """With wait=1 what was acknowledged has reached the replica that takes over."""
    trouble, told = ON_A_CLUSTER[name]
    with servers.another(RedisCluster) as cluster:
        url = f"{cluster.url}?timeout=1&wait=1&partitions=8"
        await run_through(url, tmp_path, partial(trouble, cluster), told)


@pytest.mark.timeout(150)
@pytest.mark.parametrize("name", LOSSES)
async def test_a_saga_whose_newest_events_are_lost_is_set_aside(name: str, servers: Servers, tmp_path: Path) -> None:
    """Also where its worker had finished it, and lives on: nobody else would ever take it up."""
    make, lossy = LOSSES[name]
    saga, ids = shape("gated", World(tmp_path)), ["saga-0", "saga-1", "saga-2"]
    with servers.another(make) as server:
        loss = lossy(server)
        async with Orchestrator(loss.url, sagas=[saga], lease=3, poll_interval=0.1) as orchestrator:
            for saga_id in ids:
                await orchestrator.start(saga, {"item": "book"}, saga_id=saga_id)
            await eventually(lambda: len(Ledger(tmp_path).calls()) == len(ids), "all are before the gate")
            await asyncio.to_thread(loss.keep)
            gate(tmp_path).touch()
            for saga_id in ids:
                assert (await orchestrator.wait(saga_id, timeout=20)).state is SagaState.COMPLETED
            await orchestrator.start(saga, {"item": "book"}, saga_id="newborn")
            assert (await orchestrator.wait("newborn", timeout=20)).state is SagaState.COMPLETED
            done = Ledger(tmp_path).entries()

            await asyncio.to_thread(loss.lose)
            stuck = await set_aside(orchestrator, len(ids))
            assert sorted(view.saga_id for view in stuck) == ids
            for view in stuck:
                assert view.problem is not None
                assert "which it had acknowledged" in view.problem
                assert "retry goes on" in view.problem
            assert Ledger(tmp_path).entries() == done  # nothing was done before somebody has looked
            for saga_id in ids:
                await orchestrator.retry(saga_id, actor="ann", reason="their effects are there")
                assert (await orchestrator.wait(saga_id, timeout=20)).state is SagaState.COMPLETED
            assert Ledger(tmp_path).entries() == done  # the same keys
            await orchestrator.start(saga, {"item": "book"}, saga_id="newborn")  # it is as if it had never been
            assert (await orchestrator.wait("newborn", timeout=20)).state is SagaState.COMPLETED


async def set_aside(orchestrator: Orchestrator, count: int) -> list[Any]:
    deadline = time.monotonic() + PATIENCE
    found: list[Any] = []
    while len(found) < count:
        assert time.monotonic() < deadline, f"only {found} are set aside"
        await asyncio.sleep(0.1)
        try:
            found = [view async for view in orchestrator.find(stuck=True)]
        except StoreError:
            continue
    return found
