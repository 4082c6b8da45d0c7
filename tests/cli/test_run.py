"""``sagafsm run``: many inputs, what they come to, and going on after an interruption."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sagafsm.demo.children import ChildFailed
from tests.acceptance.processes import until
from tests.cli.conftest import SHOP, environment, on_a_terminal

# A shell lets the jobs in its background ignore Ctrl-C, and their children too.
IN_FRONT = """
import signal
from sagafsm.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""


def test_one_saga_per_line_and_a_summary(sagafsm):
    inputs = sagafsm.file("orders.jsonl", [{"id": f"o-{n}"} for n in range(30)])
    out = sagafsm("run", f"{SHOP}:Order", "--input", inputs, "--id-field", "id", "--concurrency", "7").stdout
    assert "30  completed" in out
    assert out.splitlines()[-1].startswith("30 of 30 in ")
    assert len(sagafsm("ls", "--ids").stdout.split()) == 30


@pytest.mark.parametrize(
    ("trouble", "code", "outcome"),
    [
        ({}, 0, "completed"),
        ({"bad": "no funds"}, 1, "failed (compensated)"),
        ({"lost": True}, 3, "stuck"),
        ({"bad": "x", "blocked": "never"}, 3, "stuck"),
    ],
)
def test_the_exit_code_tells_of_the_worst(sagafsm, trouble, code, outcome):
    told = sagafsm.run({"id": "fine"}, {"id": "other", **trouble}, code=code)
    assert told["outcomes"][outcome] >= 1
    assert told["ended"] == told["total"] == 2
    assert [one["saga_id"] for one in told["not_completed"]] == (["other"] if code else [])


def test_stuck_is_more_urgent_than_failed(sagafsm):
    sagafsm.run({"id": "a", "bad": "no"}, {"id": "b", "lost": True}, code=3)


def test_run_again_starts_nothing_twice(sagafsm):
    inputs = [{"id": "a"}, {"id": "b", "bad": "no funds"}]
    assert sagafsm.run(*inputs, code=1)["existed"] == 0
    before = sagafsm.json("history", "a"), sagafsm.json("history", "b")
    again = sagafsm.run(*inputs, code=1)
    assert (again["existed"], again["outcomes"]) == (2, {"completed": 1, "failed (compensated)": 1})
    assert (sagafsm.json("history", "a"), sagafsm.json("history", "b")) == before


def test_another_input_under_the_same_id_is_refused_and_the_others_go_on(sagafsm):
    sagafsm.run({"id": "a"})
    told = sagafsm.run({"id": "a", "lost": True}, {"id": "b"}, code=5)
    assert told["outcomes"] == {"refused": 1, "completed": 1}
    assert "'a'" in told["not_completed"][0]["error"]
    assert told["not_completed"][0]["line"] == 1


def test_ids_are_made_of_the_file_and_the_line(sagafsm):
    (sagafsm.folder / "my orders.jsonl").write_text('{}\n\n  \n{"bad": "no"}')
    sagafsm("run", f"{SHOP}:Order", "-i", "my orders.jsonl", code=1)
    assert sagafsm("ls", "--ids").stdout.split() == ["Order-my-orders-1", "Order-my-orders-4"]


def test_standard_input_needs_a_name_for_its_ids(sagafsm):
    assert "--id-prefix" in sagafsm.error("run", f"{SHOP}:Order", "-i", "-", code=2, stdin="{}\n")
    sagafsm("run", f"{SHOP}:Order", "-i", "-", "--id-prefix", "in-", stdin="{}\n{}\n")
    assert sagafsm("ls", "--ids").stdout.split() == ["in-1", "in-2"]


def test_every_line_is_checked_before_anything_starts(sagafsm):
    lines = [
        '{"id": "a"}', "{", '{"id": "a"}', '{"id": "not this"}', '{"lost": true}', '{"id": "e", "lost": 7}',
        '{"id": "f"}', "3", '{"id": true}',
    ]  # fmt: skip
    (sagafsm.folder / "bad.jsonl").write_text("\n".join(lines))
    said = sagafsm.error("run", f"{SHOP}:Order", "-i", "bad.jsonl", "--id-field", "id", code=2)
    assert "nothing was started, 7 lines cannot be used" in said
    for complaint in (
        "line 2 is no JSON",
        "line 3 has the id of line 1: a",
        "line 4: saga id 'not this'",
        "line 5 has no text or whole number in 'id'",
        "line 6 is no input of Order",
        "line 8 is no input of Order",
        "line 9 is no input of Order",
    ):
        assert complaint in said
    assert not (sagafsm.folder / "sagas.db").exists()


def test_only_the_first_of_many_bad_lines_are_told(sagafsm):
    (sagafsm.folder / "bad.jsonl").write_text("{\n" * 1000)
    said = sagafsm.error("run", f"{SHOP}:Order", "-i", "bad.jsonl", code=2)
    assert "1000 lines" in said
    assert "… and 990 more" in said
    assert len(said.splitlines()) == 12


def test_no_inputs_are_a_mistake(sagafsm):
    (sagafsm.folder / "none.jsonl").write_text("\n \n")
    assert "no inputs" in sagafsm.error("run", f"{SHOP}:Order", "-i", "none.jsonl", code=2)


def test_a_saga_that_waits_for_others_is_left_waiting(sagafsm):
    assert sagafsm.run({"id": "w"}, saga="Approval")["outcomes"] == {"waiting": 1}
    sagafsm("suspend", "w", "--reason", "holidays")
    assert sagafsm.run({"id": "w"}, saga="Approval", code=3)["outcomes"] == {"suspended": 1}


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        ("no.such.module:Order", "there is no module 'no.such.module'"),
        ("shop.py:Order", "write it as in an import"),
        (":Order", "is no MODULE[:NAME]"),
        (f"{SHOP}:Nothing", "its sagas: Order, Approval, Bundle, BY_HAND"),
        (f"{SHOP}", "say which saga of tests.cli.shop is meant"),
        (f"{SHOP}:NUMBER", "got 7"),
        (f"{SHOP}:Base", "abstract"),
        ("raises", "raises cannot be imported: ValueError: at [import]"),
        ("lacks", "lacks cannot be imported: No module named 'not_installed'"),
        ("leaves", "leaves cannot be imported: SystemExit: 0 ("),
        ("leaves", "leaves.py, line 2)"),
        ("misreads", "misreads cannot be imported: JSONDecodeError: "),
        ("misreads", "misreads.py, line 3)"),
    ],
)
def test_what_is_wrong_with_a_saga_is_said(sagafsm, target, complaint):
    (sagafsm.folder / "raises.py").write_text("raise ValueError('at [import]')")
    (sagafsm.folder / "lacks.py").write_text("import not_installed")
    (sagafsm.folder / "misreads.py").write_text("import json\n\njson.loads('{')\n")
    (sagafsm.folder / "leaves.py").write_text("import sys\nsys.exit(0)")  # all seemed well, and nothing was run
    assert complaint in sagafsm.error("run", target, "-i", sagafsm.file("i.jsonl", [{}]), code=2)


def test_a_saga_can_be_named_by_its_own_name(sagafsm):
    sagafsm("run", f"{SHOP}:by_hand", "-i", sagafsm.file("i.jsonl", [1, "two", None]))


def test_inputs_may_come_through_a_pipe(sagafsm):
    """``-i <(zcat orders.gz)``: what can be read only once was refused, as an illegal seek."""
    os.mkfifo(sagafsm.folder / "pipe")
    writer = threading.Thread(target=(sagafsm.folder / "pipe").write_text, args=('{"id": "a"}\n{"id": "b"}\n',))
    writer.start()
    sagafsm("run", f"{SHOP}:Order", "-i", "pipe", "--id-field", "id")
    writer.join()
    assert sagafsm("ls", "--ids").stdout.split() == ["a", "b"]


def test_an_error_while_sagas_run_is_not_taken_for_one_of_the_file(sagafsm, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sagafsm.cli.running._show", full)
    result = sagafsm("run", f"{SHOP}:Order", "-i", sagafsm.file("orders.jsonl", [{}]), code=70)
    assert "cannot be read" not in result.stderr
    assert "No space left on device" in result.stderr


def test_a_missing_file_is_said(sagafsm):
    assert "gone.jsonl cannot be read: No such file" in sagafsm.error(
        "run", f"{SHOP}:Order", "-i", "gone.jsonl", code=2
    )


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_goes_on_where_it_was(sagafsm, how, code):
    """Ctrl-C while calls run: they end, the rest stays in the store, and the same command does the rest."""
    hold = str(sagafsm.folder / "go")
    inputs = sagafsm.file("orders.jsonl", [{"id": f"o-{n}", "hold": hold} for n in range(20)])
    words = ["run", f"{SHOP}:Order", "-i", inputs, "--id-field", "id", "--json", "--concurrency", "5"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", IN_FRONT, *words], env=environment(), text=True, **pipes) as process:
        try:
            held = sagafsm.folder.glob
            until(lambda: len(list(held("*.held"))) == 5 or process.poll() is not None, "five calls run")
            assert process.poll() is None
            process.send_signal(how)
            assert process.stderr is not None
            assert process.stderr.readline().startswith("stopping: ")
            Path(hold).touch()
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
    told = json.loads(out)
    assert (process.returncode, told["interrupted"]) == (code, True)
    assert told["ended"] == 0
    assert "run the same command again" in err
    under_way = sagafsm.json("ls", "--state", "pending")
    assert [saga["steps"]["reserve"]["state"] for saga in under_way] == ["succeeded"] * 5
    again = sagafsm.json("run", f"{SHOP}:Order", "-i", inputs, "--id-field", "id")
    assert again["outcomes"] == {"completed": 20}
    for saga in under_way:  # what had been reserved was not reserved again
        attempts = [one for one in sagafsm.json("history", saga["saga_id"]) if one["type"] == "AttemptStarted"]
        assert [one["step"] for one in attempts] == ["reserve", "charge", "ship", "confirm"]


def test_the_progress_is_shown_on_a_terminal_and_nowhere_else(sagafsm):
    inputs = sagafsm.file("orders.jsonl", [{"id": f"o-{n}"} for n in range(3)])
    done, shown = on_a_terminal("run", f"{SHOP}:Order", "-i", inputs, "--id-field", "id", "--json")
    assert done.returncode == 0
    assert "3/3" in shown
    assert json.loads(done.stdout)["outcomes"] == {"completed": 3}
    assert sagafsm("run", f"{SHOP}:Order", "-i", inputs, "--id-field", "id").stderr == ""


def test_a_locked_store_ends_the_run_and_loses_nothing(sagafsm, monkeypatch):
    sagafsm("migrate")
    monkeypatch.setenv("SAGAFSM_STORE_PATIENCE", "0.05")
    inputs = sagafsm.file("orders.jsonl", [{"id": f"o-{n}"} for n in range(3)])
    words = ["run", f"{SHOP}:Order", "-i", inputs, "--id-field", "id", "--store", "sqlite:///sagas.db?timeout=0.05"]
    with contextlib.closing(sqlite3.connect("sagas.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        said = sagafsm.error(*words, code=6)
    assert "locked by another process" in said
    assert "0 of 3 have ended; run the same command again" in said
    assert sagafsm.json(*words)["outcomes"] == {"completed": 3}


# --- the demo ---


def test_the_demo_is_run_with_what_was_asked_for(sagafsm):
    out = sagafsm("demo", "--orders", "6", "--no-kill", "--seed", "3", "--keep", "kept").stdout
    assert "6 orders: " in out
    assert "kill and restart" not in out
    assert "--seed 3 repeats it" in " ".join(out.split())
    assert sagafsm.json("stats", "--store", "sqlite:///kept/sagas.db")["total"] == 6
    assert "error: the demo could not be run: kept is not empty" in sagafsm.error("demo", "--keep", "kept", code=2)


def test_a_store_that_cannot_be_reached_ends_the_demo_before_it_begins(sagafsm):
    """The traceback of its job was printed."""
    words = ("demo", "--store", "postgresql://ann:hun7ter2@127.0.0.1:1/db?timeout=1", "--keep", "kept")
    said = sagafsm.error(*words, code=6)
    assert said.startswith("error: ")
    assert "127.0.0.1:1" in said
    assert "hun7ter2" not in said
    assert said.splitlines()[1:] == [
        "Is --store right, and does its server run? Without --store the demo makes a file of its own."
    ]
    assert not list((sagafsm.folder / "kept").iterdir())
    assert "no store for 'oracle://' is installed" in sagafsm.error("demo", "--store", "oracle://host", code=2)


def test_a_demo_that_comes_to_no_end_is_a_problem_and_no_wrong_usage(sagafsm, monkeypatch):
    def fails(**_: object) -> int:
        raise ChildFailed("the job ended. Its last words:\nno answer from redis://:hun7ter2@host")

    monkeypatch.setattr("sagafsm.demo.demo.run_demo", fails)
    said = sagafsm.error("demo", code=1)
    assert said.startswith("error: the demo came to no end: the job ended. Its last words:\n")
    assert "hun7ter2" not in said


def test_the_demo_says_what_it_needs(sagafsm, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("sagafsm.demo.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "httpx", None)
    assert "pip install 'sagafsm[demo]'" in sagafsm.error("demo", code=2)
