"""A file that is locked, full or read-only: a clear error, nothing lost, and sagas go on when it is well again."""

from __future__ import annotations

import resource
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sagafsm import Orchestrator, SagaNotFound, SagaState, Settings, StoreUnavailable
from sagafsm.store import open_store
from sagafsm_sql.sqlite import SQLiteStore

from .audit import audit
from .processes import Process, Processes, until
from .sagas_file import SagasFile
from .script import SAGA_ID, start_script
from .shapes import World, gate, shape

AT_THE_GATE = "SELECT 1 FROM saga_events WHERE type = 'AttemptStarted' AND data ->> 'step' = 'charge'"
DATA = {"item": "book"}


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    with Processes(tmp_path) as started:
        yield started


def at_the_gate(processes: Processes, folder: Path, *, lease: float = 30) -> Process:
    """A script whose saga is in the middle of a call; it is impatient with its store."""
    script = start_script(processes, folder, "gated", wait=0.1, patience=0.3, poll_interval=0.1, lease=lease)
    until(lambda: SagasFile(folder).rows(AT_THE_GATE), "its call runs")
    return script


def check_completed(folder: Path) -> None:
    saga = audit(folder, shape("gated", World(folder)))[SAGA_ID]
    assert saga.progress.state is SagaState.COMPLETED
    assert sum(saga.interruptions) <= 1


@pytest.mark.parametrize("lease", [30.0, 0.6])
def test_a_saga_goes_on_when_a_long_lock_is_gone(lease: float, processes: Processes, tmp_path: Path) -> None:
    script = at_the_gate(processes, tmp_path, lease=lease)
    with closing(sqlite3.connect(tmp_path / "sagas.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        gate(tmp_path).touch()
        until(lambda: "is put aside for a moment" in script.errors, "it gives up waiting")
        assert "stayed locked by another process" in script.errors
        if lease < 1:
            until(lambda: script.errors.count("heartbeat failed") > lease * 5, "its lease runs out")
        other.execute("ROLLBACK")
    assert script.line() == "completed"
    assert script.wait() == 0
    check_completed(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of another process can only be set on Linux")
def test_a_saga_goes_on_when_a_file_may_grow_again(processes: Processes, tmp_path: Path) -> None:
    script = at_the_gate(processes, tmp_path)
    _, most = resource.prlimit(script.pid, resource.RLIMIT_FSIZE)
    size = (tmp_path / "sagas.db-wal").stat().st_size
    resource.prlimit(script.pid, resource.RLIMIT_FSIZE, (size, most))
    gate(tmp_path).touch()
    until(lambda: "is put aside for a moment" in script.errors, "it gives up writing")
    resource.prlimit(script.pid, resource.RLIMIT_FSIZE, (most, most))
    assert script.line() == "completed"
    assert script.wait() == 0
    check_completed(tmp_path)


async def test_who_starts_a_saga_on_a_full_disk_is_told_and_can_start_it_when_there_is_space(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'sagas.db'}")
    assert isinstance(store, SQLiteStore)
    definition = shape("gated", World(tmp_path))
    settings = Settings(store_patience=0.2)
    async with Orchestrator(store, sagas=[definition], poll_interval=0.05, settings=settings) as orchestrator:
        running = await orchestrator.start(definition, DATA, saga_id=SAGA_ID)

        def limit(pages: int) -> None:
            store._writer.cursor().execute(f"PRAGMA max_page_count = {pages}").fetchall()

        await store._write(lambda: limit(1))  # no page more than there are
        with pytest.raises(StoreUnavailable, match=r"no space left for .*free some"):
            await orchestrator.start(definition, {"item": "x" * 100_000}, saga_id="big")
        with pytest.raises(SagaNotFound):
            await orchestrator.get("big")
        await store._write(lambda: limit(1_000_000))
        big = await orchestrator.start(definition, {"item": "x" * 100_000}, saga_id="big")
        assert big.created
        gate(tmp_path).touch()
        for handle in (running, big):
            assert (await handle.result(timeout=20)).state is SagaState.COMPLETED
    check_completed(tmp_path)


async def test_who_starts_a_saga_on_a_locked_file_is_told_and_nothing_is_written(tmp_path: Path) -> None:
    definition, url = shape("happy", World(tmp_path)), f"sqlite:///{tmp_path / 'sagas.db'}?timeout=0.1"
    settings = Settings(store_patience=0.2)
    async with Orchestrator(url, sagas=[definition], settings=settings) as orchestrator:
        with closing(sqlite3.connect(tmp_path / "sagas.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable, match=r"stayed locked by another process .* nothing was written"):
                await orchestrator.start(definition, DATA, saga_id=SAGA_ID)
            assert [saga async for saga in orchestrator.find()] == []  # reading goes on
            with pytest.raises(StoreUnavailable, match="stayed locked"):
                await Orchestrator(url, sagas=[definition]).__aenter__()
            other.execute("ROLLBACK")
        assert (await orchestrator.run(definition, DATA, saga_id=SAGA_ID, timeout=20)).state is SagaState.COMPLETED


@pytest.mark.skipif(sys.platform != "linux", reason="root obeys no modes elsewhere")
@pytest.mark.parametrize(
    ("what", "mode", "message"),
    [
        ("sagas.db", 0o444, "sagas.db cannot be opened for writing"),
        (".", 0o555, "the right to write"),
    ],
    ids=["file", "directory"],
)
def test_a_file_that_must_not_be_written_is_refused_and_left_alone(
    what: str, mode: int, message: str, processes: Processes, tmp_path: Path
) -> None:
    folder = tmp_path / "sagas"
    folder.mkdir()
    first = start_script(processes, folder, "gated")
    until(lambda: SagasFile(folder).rows(AT_THE_GATE), "its call runs")
    first.kill()
    if what == ".":
        (folder / "sagas.db.lock").unlink()
    before = SagasFile(folder).log()
    gate(folder).touch()

    usual = (folder / what).stat().st_mode
    (folder / what).chmod(mode)
    refused = start_script(processes, folder, "gated", wait=0.1, patience=0.3)
    assert refused.wait() == 1
    last = refused.errors.rstrip().rpartition("\n")[2]
    assert last.startswith("sagafsm.core.errors.StoreUnavailable:")
    assert message in last
    (folder / what).chmod(usual)

    assert SagasFile(folder).log() == before
    again = start_script(processes, folder, "gated")
    assert again.line() == "completed"
    check_completed(folder)
