"""A file that is none of ours, too new, or damaged: a clear error, nothing changed, and healthy sagas go on."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from sagafsm import (
    InvalidInput,
    Orchestrator,
    Parallel,
    SagaDefinition,
    SagaState,
    SettingsError,
    Step,
    StoreCorrupt,
    StoreError,
    StoreTooNew,
    SubSaga,
    SyncOrchestrator,
    WaitFor,
)
from sagafsm_sql.sqlite import health

from .audit import audit
from .processes import eventually
from .sagas_file import SagasFile
from .shapes import AT_ONCE, World, gate, shape

DATA = {"item": "book"}
SAGAS = ["saga-0", "saga-1", "saga-2"]
BAD = "saga-1"


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'sagas.db'}"


@pytest.fixture
def definition(tmp_path: Path) -> SagaDefinition:
    return shape("undone", World(tmp_path))


async def submit(url: str, definition: SagaDefinition) -> None:
    """Three sagas that nobody has begun to run."""
    async with Orchestrator(url, sagas=[definition], worker=False) as orchestrator:
        for saga_id in SAGAS:
            await orchestrator.start(definition, DATA, saga_id=saga_id)


def change(folder: Path, statement: str, *values: object) -> None:
    """Change the file behind everybody's back."""
    with closing(sqlite3.connect(folder / "sagas.db")) as db, db:
        assert db.execute(statement, values).rowcount == 1


# --- the whole file ---


async def test_a_newer_schema_is_left_alone(url: str, definition: SagaDefinition, tmp_path: Path) -> None:
    await submit(url, definition)
    change(tmp_path, "UPDATE saga_meta SET value = '999' WHERE key = 'schema_version'")
    before = SagasFile(tmp_path).log()
    with pytest.raises(StoreTooNew, match=r"schema version 999.*upgrade sagafsm"):
        await Orchestrator(url, sagas=[definition]).__aenter__()
    assert SagasFile(tmp_path).log() == before


async def test_a_file_that_is_no_database_is_left_alone(url: str, definition: SagaDefinition, tmp_path: Path) -> None:
    (tmp_path / "sagas.db").write_text("Dear diary, " * 500)
    with pytest.raises(StoreCorrupt, match=r"damaged or no SQLite database.*keep a copy"):
        await Orchestrator(url, sagas=[definition]).__aenter__()
    assert (tmp_path / "sagas.db").read_text() == "Dear diary, " * 500


def test_a_network_file_system_is_refused(
    url: str, definition: SagaDefinition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "file_system", lambda _: "nfs4")
    with pytest.raises(SettingsError, match=r"network file system \(nfs4\).*local disk"):
        asyncio.run(Orchestrator(url, sagas=[definition]).__aenter__())
    assert list(tmp_path.iterdir()) == []


# --- one saga in it ---

UNREADABLE: dict[str, tuple[str, type[StoreError], str]] = {
    "cut short": ("UPDATE saga_events SET data = substr(data, 1, 20)", StoreCorrupt, "event 1"),
    "no text": ("UPDATE saga_events SET data = CAST(x'7bff7d' AS TEXT)", StoreCorrupt, "event 1"),
    "a blob": ("UPDATE saga_events SET data = x'00ff00'", StoreCorrupt, "event 1"),
    "another form": ("UPDATE saga_events SET data = '[1, 2]'", StoreCorrupt, "event 1"),
    "gone": ("DELETE FROM saga_events", StoreCorrupt, "no events"),
    "out of place": ("UPDATE saga_events SET type = 'SagaCompleted', data = '{}'", StoreCorrupt, "event 1"),
    "a future type": ("UPDATE saga_events SET type = 'SagaTeleported'", StoreTooNew, "SagaTeleported.*upgrade"),
    "a future field": ("UPDATE saga_events SET data = json_set(data, '$.mood', 'good')", StoreTooNew, "mood.*upgrade"),
}


@pytest.mark.parametrize("damage", UNREADABLE)
async def test_a_saga_that_cannot_be_read_is_set_aside_and_the_others_go_on(
    damage: str, url: str, definition: SagaDefinition, tmp_path: Path
) -> None:
    statement, error, message = UNREADABLE[damage]
    await submit(url, definition)
    file = SagasFile(tmp_path)
    (row,) = file.rows("SELECT type, at, data, append_id FROM saga_events WHERE saga_id = ? AND seq = 1", BAD)
    change(tmp_path, f"{statement} WHERE saga_id = '{BAD}' AND seq = 1")
    damaged = file.rows("SELECT type, hex(data) FROM saga_events WHERE saga_id = ?", BAD)

    async with Orchestrator(url, sagas=[definition], poll_interval=0.05) as orchestrator:
        for saga_id in SAGAS:
            if saga_id != BAD:
                assert (await orchestrator.wait(saga_id, timeout=20)).outcome == "compensated"
        (stuck,) = [saga async for saga in orchestrator.find(stuck=True)]
        assert stuck.saga_id == BAD
        assert stuck.problem is not None
        assert BAD in stuck.problem
        with pytest.raises(error, match=message):
            await orchestrator.get(BAD)
        with pytest.raises(error, match=message):
            await orchestrator.retry(BAD, actor="ann", reason="it may be well again")
        if damaged:
            assert [event.type for event in await orchestrator.history(BAD)] == [damaged[0][0]]
        assert file.rows("SELECT type, hex(data) FROM saga_events WHERE saga_id = ?", BAD) == damaged
        assert {saga.saga_id async for saga in orchestrator.find()} == set(SAGAS)

        change(
            tmp_path,
            "INSERT OR REPLACE INTO saga_events (saga_id, seq, type, at, data, append_id) VALUES (?, 1, ?, ?, ?, ?)",
            BAD,
            *row,
        )
        await orchestrator.retry(BAD, actor="ann", reason="it is mended")
        assert (await orchestrator.wait(BAD, timeout=20)).outcome == "compensated"
    audit(tmp_path, definition)


CHILD = "UPDATE saga_events SET type = ? WHERE saga_id = 'parent:shipping' AND seq = 1"


def parent_of(child: SagaDefinition, world: World) -> SagaDefinition:
    """A child beside a step that takes long, and then a failure."""
    return SagaDefinition(
        name="parent",
        version=1,
        retry=AT_ONCE,
        compensation_retry=AT_ONCE,
        steps=[
            Parallel(SubSaga("shipping", child), Step("reserve", world.act_behind_the_gate, compensation=world.undo)),
            Step("confirm", world.reject, compensatable=False),
        ],
    )


async def test_a_waiting_child_that_cannot_be_read_does_not_hold_up_what_runs_beside_it(
    url: str, tmp_path: Path
) -> None:
    """Its parent was put aside and taken up again without end, and each time its calls were made again."""
    world, file = World(tmp_path), SagasFile(tmp_path)
    child = SagaDefinition(name="child", version=1, steps=[WaitFor("label", signal="label")])
    definition = parent_of(child, world)
    async with Orchestrator(url, sagas=[definition], drain_timeout=0) as orchestrator:
        await orchestrator.start(definition, DATA, saga_id="parent")
        await eventually(lambda: file.rows("SELECT 1 FROM saga_events WHERE type = 'WaitStarted'"), "the child waits")
    change(tmp_path, CHILD, "Odd")
    async with Orchestrator(url, sagas=[definition], poll_interval=0.02) as orchestrator:
        for _ in range(5):
            await orchestrator.resume_all()
            await asyncio.sleep(0.05)
        gate(tmp_path).touch()
        done = "SELECT 1 FROM saga_events WHERE type = 'StepSucceeded' AND data ->> 'step' = 'reserve'"
        await eventually(lambda: file.rows(done), "the other step ends")
        with pytest.raises(StoreTooNew):
            await orchestrator.signal("parent:shipping", "label")
        change(tmp_path, CHILD, "SagaStarted")
        await orchestrator.signal("parent:shipping", "label")
        assert (await orchestrator.wait("parent", timeout=20)).outcome == "compensated"
    assert max(audit(tmp_path, definition)["parent"].interruptions) == 1


async def test_a_child_that_cannot_be_read_when_it_is_to_be_undone_makes_its_parent_stuck(
    url: str, tmp_path: Path
) -> None:
    """The parent asked the child again and again, and nobody was told."""
    world = World(tmp_path)
    child = SagaDefinition(name="child", version=1, steps=[Step("pack", world.act, compensation=world.undo)])
    definition = parent_of(child, world)
    async with Orchestrator(url, sagas=[definition], poll_interval=0.02) as orchestrator:
        await orchestrator.start(definition, DATA, saga_id="parent")
        await eventually(lambda: SagasFile(tmp_path).count("state = 'completed'"), "the child ends")
        change(tmp_path, CHILD, "Odd")
        gate(tmp_path).touch()
        stuck = await orchestrator.wait("parent", timeout=20)
        assert stuck.stuck
        assert "parent:shipping, event 1" in str(stuck.steps["shipping"].compensation_error)
        change(tmp_path, CHILD, "SagaStarted")
        await orchestrator.retry("parent", actor="ann", reason="it is mended")
        assert (await orchestrator.wait("parent", timeout=20)).outcome == "compensated"
    assert not any(audit(tmp_path, definition)["parent"].interruptions)


# --- fork ---


def in_a_child(work: Callable[[], object]) -> str:
    """Fork and do the work in the child; what came of it in a word."""
    child = os.fork()
    if child == 0:
        code = 3
        try:
            signal.alarm(10)  # it must not wait for ever
            work()
            code = 0
        except InvalidInput as exc:
            code = 1 if "before the process forked" in str(exc) else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return {0: "done", 1: "refused"}.get(os.waitstatus_to_exitcode(status), f"status {status}")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_an_orchestrator_that_was_open_before_a_fork_refuses_to_work_after_it(
    url: str, definition: SagaDefinition
) -> None:
    """The child of a SyncOrchestrator waited for ever, for a thread that only its parent has."""
    with asyncio.Runner() as runner:
        orchestrator = Orchestrator(url, sagas=[definition])
        runner.run(orchestrator.__aenter__())
        assert in_a_child(lambda: asyncio.run(orchestrator.start(definition, DATA, saga_id="child"))) == "refused"
        assert in_a_child(lambda: asyncio.run(orchestrator.get("child"))) == "refused"
        assert in_a_child(lambda: asyncio.run(orchestrator.close())) == "done"
        assert runner.run(orchestrator.run(definition, DATA, saga_id="parent", timeout=20)).outcome == "compensated"
        runner.run(orchestrator.close())
    with SyncOrchestrator(url, sagas=[definition]) as plain:
        assert in_a_child(lambda: plain.start(definition, DATA, saga_id="child")) == "refused"
        assert in_a_child(plain.close) == "done"
        assert plain.get("parent").state is SagaState.FAILED
        assert [saga.saga_id for saga in plain.find()] == ["parent"]
