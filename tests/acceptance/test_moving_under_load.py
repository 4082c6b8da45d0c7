"""Sagas are copied to another store while processes work on both: nobody harms a saga that is no longer its own."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sagafsm import Orchestrator, SagaState, open_store
from sagafsm.moving import mark_of
from sagafsm.store import Store

from .audit import audit_store
from .processes import Process, Processes, until
from .sagas_file import SagasFile
from .shapes import World, gate, shape, stands_at_the_gate
from .worker import start_worker


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    with Processes(tmp_path) as started:
        yield started


@pytest.fixture
def urls(tmp_path: Path) -> list[str]:
    return [f"sqlite:///{tmp_path / name}?timeout=20" for name in ("sagas.db", "moved.db")]


async def submit(folder: Path, url: str, name: str, count: int) -> set[str]:
    """Store sagas for others to run; every fourth one is to fail, where its shape can."""
    definition = shape(name, World(folder))
    async with Orchestrator(url, sagas=[definition], worker=False) as orchestrator:
        for number in range(count):
            data = {"item": "unicorn" if number % 4 == 3 else "book"}
            await orchestrator.start(definition, data, saga_id=f"saga-{number}")
    return {f"saga-{number}" for number in range(count)}


def start_copy(processes: Processes, urls: list[str]) -> Process:
    return processes.start("-m", "sagafsm.cli", "copy", *urls, "--wait", "40s")


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Store]:
    store = open_store(url)
    await store.setup(migrate=False)
    try:
        yield store
    finally:
        await store.close()


@pytest.mark.parametrize("continued", ["before the target has finished", "after the target has finished"])
async def test_a_worker_that_was_frozen_while_its_sagas_moved_away_can_write_nothing_any_more(
    continued: str, processes: Processes, tmp_path: Path, urls: list[str]
) -> None:
    names = await submit(tmp_path, urls[0], "gated", 5)
    frozen = start_worker(processes, tmp_path, "gated", lease=1.5, store_url=urls[0])
    until(lambda: all_at_the_gate(tmp_path, frozen.pid, names), "all its calls have begun")
    frozen.signal(signal.SIGSTOP)
    assert start_copy(processes, urls).wait() == 0
    other = start_worker(processes, tmp_path, "gated", lease=30, store_url=urls[1])
    until(lambda: all_at_the_gate(tmp_path, other.pid, names), "the other is at the gate")

    async with opened(urls[0]) as here, opened(urls[1]) as there:
        before = await here.load(sorted(names))
        assert {mark.kind for saga in before.values() if (mark := mark_of(saga.record))} == {"moved"}
        if continued.startswith("before"):
            frozen.signal(signal.SIGCONT)
        gate(tmp_path).touch()
        await all_ended(there, 5)
        if continued.startswith("after"):
            frozen.signal(signal.SIGCONT)
        assert {frozen.line() for _ in names} == {f"refused {name}" for name in names}
        frozen.signal(signal.SIGTERM)
        frozen.hear("left")
        assert await here.load(sorted(names)) == before
        found = await audit_store(there, tmp_path, shape("gated", World(tmp_path)))
    assert {audited.progress.state for audited in found.values()} == {SagaState.COMPLETED}
    assert {sum(audited.interruptions) for audited in found.values()} == {1}


@pytest.mark.timeout(120)
async def test_copiers_are_killed_while_processes_work_on_both_sides(
    processes: Processes, tmp_path: Path, urls: list[str]
) -> None:
    file = SagasFile(tmp_path)
    names = await submit(tmp_path, urls[0], "busy", 100)
    start_worker(processes, tmp_path, "busy", lease=2, concurrency=2, store_url=urls[0])
    start_worker(processes, tmp_path, "busy", lease=2, concurrency=10, store_url=urls[1])
    for marked in (1, 20, 40):
        kill_when(start_copy(processes, urls), file, marked)
    assert moved(file), "none was alive when it was moved: the test shows nothing"
    assert start_copy(processes, urls).wait() == 0
    async with opened(urls[1]) as there:
        await all_ended(there, 100)
        found = await audit_store(there, tmp_path, shape("busy", World(tmp_path)))
    assert found.keys() == names
    states = [audited.progress.state for audited in found.values()]
    assert (states.count(SagaState.COMPLETED), states.count(SagaState.FAILED)) == (75, 25)


def kill_when(copier: Process, file: SagasFile, marked: int) -> None:
    """Kill it when so many sagas have moved, or when it is done already."""
    until(lambda: not copier.running or moved(file) >= marked, "it moves")
    copier.kill()


def moved(file: SagasFile) -> int:
    return file.count("problem LIKE 'moved to %'")


async def all_ended(store: Store, count: int) -> None:
    """Wait until so many have ended there."""
    async with asyncio.timeout(80):
        while await ended(store) < count:  # noqa: ASYNC110 - other processes do the work
            await asyncio.sleep(0.05)


async def ended(store: Store) -> int:
    return sum(one.count for one in await store.counts() if one.state in ("completed", "failed"))


def all_at_the_gate(folder: Path, pid: int, saga_ids: set[str]) -> bool:
    """Whether a process has begun the gated call of each of these sagas."""
    return all(stands_at_the_gate(folder, pid, saga_id).exists() for saga_id in saga_ids)
