"""The benchmarks run, write the rows they should, and do the same job on both sides. Never a timing."""

from __future__ import annotations

import io
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import __main__ as command
from benchmarks.files import count_events, same_rows
from benchmarks.floors.job import run_floor
from benchmarks.floors.sqlite import SQLiteFile
from tests.servers.plugin import Servers
from tests.servers.postgresql import PostgreSQL

ROWS = {"throughput": 4, "recovery": 1, "memory": 3, "growth": 5, "startup": 4}


@pytest.mark.parametrize("question", ROWS)
def test_a_question_is_answered_and_written(question: str, tmp_path: Path) -> None:
    output = io.StringIO()
    arguments = [question, "--quick", "--folder", str(tmp_path / "work"), "--write", "--results", str(tmp_path / "out")]
    assert command.main(arguments, console=Console(file=output, width=160)) == 0
    (path,) = (tmp_path / "out").iterdir()
    machine, *rows = map(json.loads, path.read_text().splitlines())
    assert path.name.endswith(f"-{question}.jsonl")
    assert machine["machine"].keys() >= {"at", "cores", "load", "python", "sqlite", "sync_ms"}
    assert len(rows) == ROWS[question]
    assert all(row["table"] in output.getvalue() for row in rows)
    assert list((tmp_path / "work").iterdir()) == []


def test_every_question_is_tested() -> None:
    assert set(command.QUESTIONS) == set(ROWS)


@pytest.mark.parametrize(("fail", "appends", "events"), [(False, 5, 10), (True, 8, 17)])
async def test_the_floor_makes_every_append(fail: bool, appends: int, events: int, tmp_path: Path) -> None:
    run = await run_floor(SQLiteFile(tmp_path / "floor.db"), 7, 3, fail=fail)
    assert len(run.took) == 7
    with closing(sqlite3.connect(tmp_path / "floor.db")) as connection:
        found = connection.execute("SELECT count(DISTINCT append_id), count(*) FROM event").fetchone()
        states = connection.execute("SELECT DISTINCT state, due_at FROM saga").fetchall()
    assert found == (7 * appends, 7 * events)
    assert states == [("failed" if fail else "completed", None)]


async def test_another_job_is_not_compared(tmp_path: Path) -> None:
    for name, fail in (("happy", False), ("failing", True)):
        await run_floor(SQLiteFile(tmp_path / f"{name}.db"), 1, 1, fail=fail)
    happy, failing = (count_events(tmp_path / f"{name}.db", "event") for name in ("happy", "failing"))
    same_rows(happy, happy)
    with pytest.raises(RuntimeError, match="not the same job"):
        same_rows(happy, failing)
    with pytest.raises(RuntimeError, match="bytes of JSON"):
        same_rows(happy, {kind: (count, size * 2) for kind, (count, size) in happy.items()})


def test_what_is_measured_on_one_store_only_is_refused_for_another(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["growth", "throughput", "--store", "postgresql"])
    assert "'growth' is measured on sqlite only" in capsys.readouterr().err


def test_the_floor_and_the_engine_do_the_same_on_postgresql(servers: Servers, tmp_path: Path) -> None:
    servers.url(PostgreSQL)  # or this test is skipped
    output = io.StringIO()
    arguments = ["throughput", "--store", "postgresql", "--quick", "--folder", str(tmp_path)]
    assert command.main(arguments, console=Console(file=output, width=160)) == 0
    assert "engine against floor, postgresql" in output.getvalue()


def test_an_unknown_question_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["speed"])
    assert "'speed' is none of throughput" in capsys.readouterr().err
