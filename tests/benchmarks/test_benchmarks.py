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
from benchmarks import peers
from benchmarks.files import count_events, same_rows
from benchmarks.floors.base import STORES
from benchmarks.floors.job import run_floor
from benchmarks.floors.sqlite import SQLiteFile, open_database
from benchmarks.options import Options
from benchmarks.result import Row, Skipped, Table
from benchmarks.targets import TARGETS
from tests.servers.base import Server
from tests.servers.mongodb import MongoDB
from tests.servers.plugin import Servers
from tests.servers.postgresql import PostgreSQL
from tests.servers.redis import Redis

ROWS = {"throughput": 2, "workers": 1, "recovery": 1, "growth": 4, "memory": 3, "startup": 4, "peers": 2}
SERVERS: dict[str, type[Server]] = {"postgresql": PostgreSQL, "redis": Redis, "mongodb": MongoDB}
ASKED = [(question, store) for store in STORES for question in ROWS if store in command.ONLY_ON.get(question, STORES)]


@pytest.mark.timeout(180)  # seconds alone; many short processes, which a busy machine starts slowly
@pytest.mark.parametrize(("question", "store"), ASKED)
def test_a_question_is_answered_and_written(
    question: str, store: str, servers: Servers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if store in SERVERS:
        url = servers.url(SERVERS[store])  # or this test is skipped
        if store == "mongodb":
            monkeypatch.setenv("SAGAFSM_TEST_MONGODB_URL", url)
    output = io.StringIO()
    arguments = [question, "--store", store, "--quick", "--folder", str(tmp_path / "work")]
    arguments += ["--write", "--results", str(tmp_path / "out")]
    done = command.main(arguments, console=Console(file=output, width=160))
    if f"skipped: {question} on {store}" in output.getvalue():
        pytest.skip(output.getvalue())
    assert done == 0, output.getvalue()
    (path,) = (tmp_path / "out").iterdir()
    machine, *rows = map(json.loads, path.read_text().splitlines())
    assert path.name.endswith(f"-{store}-{question}.jsonl")
    assert machine["machine"].keys() >= {"at", "cores", "busy", "python", "server", "sync_ms"}
    assert len(rows) == ROWS[question]
    assert all(row["table"] in output.getvalue() for row in rows)
    assert {target.cell for target in TARGETS if target.question == question} <= {
        cell for row in rows for cell in row["cells"]
    }
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
        command.main(["memory", "throughput", "--store", "postgresql"])
    assert "'memory' is measured on sqlite only" in capsys.readouterr().err


def test_figures_that_mean_nothing_do_not_come_among_the_results(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["startup", "--quick", "--write"])
    assert "its figures mean nothing" in capsys.readouterr().err


def test_an_unknown_question_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["speed"])
    assert "'speed' is none of throughput" in capsys.readouterr().err


def test_all_goes_on_after_a_question_that_cannot_be_asked_and_one_that_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def no_peer(_: Options) -> list[Table]:
        raise Skipped("no peer here")

    def broken(_: Options) -> list[Table]:
        raise RuntimeError("not the same job")

    def fine(_: Options) -> list[Table]:
        return [Table("memory", "memory", [Row({"a": 1})])]

    output = io.StringIO()
    arguments = ["all", "--store", "sqlite", "--folder", str(tmp_path)]
    monkeypatch.setattr(command, "QUESTIONS", {"peers": no_peer, "memory": fine})
    assert command.main(arguments, console=Console(file=output, width=160)) == 0
    assert "skipped: peers on sqlite: no peer here" in output.getvalue()
    monkeypatch.setattr(command, "QUESTIONS", {"recovery": broken, "memory": fine})
    assert command.main(arguments, console=Console(file=output, width=160)) == 1
    assert "failed: recovery on sqlite" in output.getvalue()
    assert output.getvalue().count("memory on SQLite") == 2


def test_a_question_that_was_named_and_cannot_be_asked_is_no_success(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(peers, "OLDEST_SQLITE", (99, 0))
    output = io.StringIO()
    assert command.main(["peers", "--folder", str(tmp_path)], console=Console(file=output, width=160)) == 1
    assert "DBOS needs SQLite" in output.getvalue()


def test_the_floor_on_sqlite_opens_while_others_open_it_too(tmp_path, monkeypatch):
    """Four processes at once, and now and then one of them was told that the database is locked."""
    refusals = ["database is locked"] * 2

    class Crowded(sqlite3.Connection):
        def execute(self, sql, *values):
            if "journal_mode" in sql and refusals:
                raise sqlite3.OperationalError(refusals.pop())
            return super().execute(sql, *values)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **kwargs: connect(*args, **kwargs, factory=Crowded))
    with closing(open_database(tmp_path / "floor.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert not refusals
