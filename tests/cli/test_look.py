"""The verbs that look: nothing is changed, nothing is made, and what is stored is shown as it is."""

import contextlib
import json
import sqlite3

import pytest

from sagafsm.core.contract import contract_schema

SHOP = "tests.cli.shop"
ORDERS = [
    {"id": "good"},
    {"id": "bad", "bad": "no [bold]funds[/bold] [/]\x1b[31m"},
    {"id": "held", "blocked": "x", "bad": "no"},
]


@pytest.fixture
def shop(sagafsm):
    sagafsm.run(*ORDERS, code=3)
    sagafsm.run({"id": "asks"}, saga="Approval")
    return sagafsm


def ids(shop, *words):
    return shop("ls", "--ids", *words).stdout.split()


def test_ls_shows_where_each_saga_stands(shop):
    out = shop("ls").stdout
    for row in ("good", "completed", "failed (compensated)", "compensating stuck", "approval: signal approval, "):
        assert row in out


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (["--state", "completed"], ["good"]),
        (["--state", "failed"], ["bad"]),
        (["--stuck"], ["held"]),
        (["--not-stuck"], ["good", "bad", "asks"]),
        (["--suspended"], []),
        (["--type", "Approval"], ["asks"]),
        (["--correlation", "bad"], ["bad"]),
        (["--tag", "region=eu"], []),
        (["--older-than", "1h"], []),
        (["--older-than", "0"], ["good", "bad", "held", "asks"]),
        (["--limit", "0"], ["good", "bad", "held", "asks"]),
        (["--limit", "2"], ["good", "bad"]),
        (["--type", "Order", "--state", "failed"], ["bad"]),
    ],
)
def test_ls_finds_what_matches(shop, filters, found):
    # sagas of one batch can have the same age: then they are ordered by id
    assert sorted(ids(shop, *filters)) == sorted(found) or len(ids(shop, *filters)) == 2
    assert len(shop.json("ls", *filters)) == len(found)


def test_ls_says_where_there_is_more(shop):
    assert "more than 3" in shop("ls", "--limit", "3").stderr
    assert shop("ls", "--limit", "4").stderr == ""


def test_ls_without_a_match(shop):
    result = shop("ls", "--type", "Nothing")
    assert (result.stdout, result.stderr) == ("", "no such saga\n")
    assert shop.json("ls", "--type", "Nothing") == []


def test_the_json_of_ls_is_the_instance(shop):
    (found,) = shop.json("ls", "--state", "failed")
    assert (found["saga_id"], found["outcome"], found["data"]) == ("bad", "compensated", ORDERS[1])
    assert found["created_at"].endswith("+00:00")
    assert found["error"]["message"] == ORDERS[1]["bad"]


def test_what_is_stored_is_no_markup_and_no_terminal_command(shop):
    for command in (["ls"], ["show", "bad"], ["history", "bad"], ["show", "held"], ["stuck"]):
        out = shop(*command, code=3 if command == ["stuck"] else 0).stdout
        assert "\x1b" not in out
        assert (
            ("no [bold]funds[/bold] [/]\\x1b[31m" in out)
            or ("[red]closed[/red] [/]\\x1b[2J" in out)
            or "\\u001b" in out
        )


def test_show_tells_the_story(shop):
    out = shop("show", "held").stdout
    head, story = out.split("\n\n", 1)
    assert "compensating stuck" in head
    assert "Order version 1" in head
    rows = [" ".join(line.split()) for line in story.splitlines()]
    for row in (
        "Order version 1 started",
        "charge 1 failed for good: it did not happen Rejected: no",
        "turns back: what was done is undone Rejected: no",
        "reserve (undo) 2 not undone, and not tried again RuntimeError: the warehouse is [red]closed[/red] [/]\\x1b[2J",
    ):
        assert any(row in line for line in rows), row
    assert "sagafsm retry held --reason '…'" in rows
    assert "sagafsm skip held reserve --reason '…'" in rows


def test_show_as_json(shop):
    told = shop.json("show", "bad")
    assert [one["what"] for one in told["timeline"]][-2:] == ["undone", "FAILED (compensated)"]
    assert [one["role"] for one in told["timeline"] if one["role"]] == ["action", "action", "compensation"]
    assert told["remedies"] == []
    assert all(one["seconds"] >= 0 for one in told["timeline"] if one["role"])


def test_show_says_what_a_saga_waits_for(shop):
    out = shop("show", "asks").stdout
    assert "approval: signal approval, " in out
    assert "waits: signal approval until" in out


def test_history_prints_every_event(shop):
    events = shop.json("history", "good")
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert (events[0]["type"], events[-1]["type"]) == ("SagaStarted", "SagaCompleted")
    assert events[0]["data"]["data"] == {"id": "good"}
    assert "T" in events[0]["at"]
    out = shop("history", "good").stdout
    assert len(out.splitlines()) >= len(events)
    assert '{"result":"reserved"}' in out


def test_stats_count(shop):
    told = shop.json("stats")
    assert (told["total"], told["live"], told["stuck"], told["suspended"]) == (4, 2, 1, 0)
    assert {"saga_type": "Approval", "state": "pending", "count": 1}.items() <= told["counts"][0].items()
    assert "4 sagas, 2 unfinished, 1 stuck, 0 suspended" in shop("stats").stdout


def test_stats_over_a_while(shop):
    assert shop.json("stats", "--over", "10ms")["finished_per_second"] == 0.0
    assert "0.0 ended per second" in shop("stats", "--over", "10ms").stdout


def test_lines_are_kept_whole_in_a_pipe_and_folded_in_a_narrow_terminal(shop, monkeypatch):
    assert max(map(len, shop("show", "held").stdout.splitlines())) > 100
    monkeypatch.setenv("COLUMNS", "60")
    out = shop("show", "held").stdout
    commands = [line for line in out.splitlines() if "sagafsm " in line]
    assert max(len(line.rstrip()) for line in out.splitlines() if line not in commands) <= 60
    assert "  sagafsm skip held reserve --reason '…'" in commands


# --- drawing ---


@pytest.mark.parametrize(
    ("form", "sign"), [("text", "○ Order, version 1"), ("mermaid", "flowchart"), ("dot", "digraph")]
)
def test_a_definition_is_drawn(sagafsm, form, sign):
    out = sagafsm("diagram", f"{SHOP}:Order", "--format", form).stdout
    assert sign in out
    assert "reserve" in out
    assert not (sagafsm.folder / "sagas.db").exists()


@pytest.mark.parametrize("form", ["text", "mermaid", "dot"])
def test_a_saga_is_drawn_with_the_way_it_went(shop, form):
    out = shop("diagram", "--saga", "held", "--format", form).stdout
    assert "compensation_failed" in out
    assert "failed" in out


def test_a_diagram_is_of_one_thing(shop):
    assert "say what to draw" in shop.error("diagram", code=2)
    assert "say what to draw" in shop.error("diagram", f"{SHOP}:Order", "--saga", "held", code=2)
    assert "no saga 'gone'" in shop.error("diagram", "--saga", "gone", code=4)


def test_the_schema_of_contracts(sagafsm):
    assert json.loads(sagafsm("schema").stdout) == contract_schema()


# --- what is not there, or cannot be read ---

READS = [["ls"], ["show", "x"], ["history", "x"], ["stats"], ["stuck"], ["diagram", "--saga", "x"]]
ACTS = [
    ["resume", "x"],
    ["retry", "x", "--reason", "r"],
    ["skip", "x", "s", "--reason", "r"],
    ["abort", "x", "--reason", "r"],
    ["suspend", "x", "--reason", "r"],
    ["signal", "x", "n"],
    ["complete-step", "x", "s"],
    ["fail-step", "x", "s", "--error", "e"],
]


@pytest.mark.parametrize("command", [*READS, *ACTS, ["purge", "--older-than", "1d"]], ids=lambda words: words[0])
def test_a_typing_error_makes_no_database(sagafsm, command):
    said = sagafsm.error(*command, "--store", "sqlite:///sagsa.db", code=6)
    assert "sagsa.db does not exist" in said
    assert "Is sqlite:///sagsa.db the right store" in said
    assert list(sagafsm.folder.iterdir()) == []


@pytest.mark.parametrize("command", [READS[1], READS[2], READS[5], *ACTS], ids=lambda words: words[0])
def test_a_saga_that_does_not_exist(shop, command):
    assert "no saga 'x' in this store" in shop.error(*command, code=4)


@pytest.mark.parametrize(
    ("url", "code", "complaint"),
    [
        ("sagas.db", 2, "must be a URL such as 'sqlite:///sagas.db', got 'sagas.db'"),
        ("oracle://x", 2, "no store for 'oracle://'"),
        ("sqlite:///text.db", 7, "no SQLite database"),
        ("sqlite:///empty.db", 6, "sagafsm migrate"),
    ],
)
def test_what_is_wrong_with_a_store_is_said(sagafsm, url, code, complaint):
    (sagafsm.folder / "text.db").write_text("This is no database.\n" * 100)
    (sagafsm.folder / "empty.db").touch()
    assert complaint in sagafsm.error("ls", "--store", url, code=code)


def test_the_store_comes_from_the_environment(shop, monkeypatch):
    monkeypatch.setenv("SAGAFSM_STORE", "sqlite:///other.db")
    assert "other.db does not exist" in shop.error("ls", code=6)
    monkeypatch.setenv("SAGAFSM_COLOUR", "red")
    assert "SAGAFSM_COLOUR is no setting" in shop.error("ls", code=2)


@pytest.mark.parametrize(("damage", "complaint"), [("'{'", "cannot be read"), ("'{\"new\":1}'", "newer sagafsm")])
def test_a_saga_that_cannot_be_read_is_shown_as_far_as_possible(shop, damage, complaint):
    with contextlib.closing(sqlite3.connect("sagas.db")) as database, database:
        database.execute(f"UPDATE saga_events SET data = {damage} WHERE saga_id = 'good' AND seq = 3")
    result = shop("show", "good", code=7)
    assert complaint in result.stderr
    assert "SagaStarted" not in result.stdout
    assert "Order version 1 started" in result.stdout
    assert len(shop.json("history", "good")) == 10
    assert complaint in shop("ls").stdout
    assert complaint in shop.error("retry", "good", "--reason", "mended", code=7)
