"""The verbs that look after a store: what is stuck, what is wrong, what can go."""

import contextlib
import sqlite3

import pytest
from typer.testing import CliRunner

from sagafsm import SyncOrchestrator
from sagafsm.cli.app import app
from tests.cli.shop import Order

SHOP = "tests.cli.shop"
WHY = ("--reason", "as agreed")
STUCK = [
    {"id": "back", "bad": "no funds", "blocked": "mended"},
    {"id": "pivot", "lost": True},
    {"id": "after", "unconfirmed": "mended"},
]


@pytest.fixture
def shop(sagafsm):
    sagafsm.run(*STUCK, {"id": "done"}, code=3)
    return sagafsm


def change(*statements: str) -> None:
    with contextlib.closing(sqlite3.connect("sagas.db")) as database, database:
        for statement in statements:
            database.execute(statement)


def findings(sagafsm, *words, code=1):
    return {
        one["what"]: one for one in sagafsm.json("doctor", *words, code=code)["findings"] if one["level"] == "problem"
    }


# --- stuck ---


def test_no_saga_is_stuck(sagafsm):
    sagafsm.run({"id": "a"})
    assert sagafsm("stuck").stderr == "no stuck sagas\n"
    assert sagafsm.json("stuck") == []


def test_every_stuck_saga_is_listed_with_what_would_mend_it(shop):
    told = {saga["saga_id"]: saga for saga in shop.json("stuck", code=3)}
    assert {saga_id: [(one["verb"], one["step"]) for one in saga["remedies"]] for saga_id, saga in told.items()} == {
        "back": [("retry", None), ("skip", "reserve")],
        "pivot": [("retry", None), ("complete_step", "ship"), ("fail_step", "ship"), ("skip", "ship")],
        "after": [("retry", None), ("skip", "confirm")],
    }
    assert "the warehouse is" in told["back"]["stuck_reason"]
    result = shop("stuck", code=3)
    for line in ("sagafsm complete-step pivot ship", "sagafsm skip back reserve --reason '…'", "the carrier does not"):
        assert line in result.stdout
    assert result.stderr == "3 stuck sagas\n"
    assert shop("stuck", "--limit", "1", code=3).stderr == "1 of 3 shown; --limit 0 shows all\n"


@pytest.mark.parametrize("saga_id", ["back", "pivot", "after"])
def test_what_is_advised_is_accepted(shop, saga_id):
    """Each piece of advice, tried on a saga of its own."""
    given = next(one for one in STUCK if one["id"] == saga_id)
    remedies = shop.json("show", saga_id)["remedies"]
    shop.run(*({**given, "id": f"{saga_id}-{number}"} for number, _ in enumerate(remedies)), code=3)
    for number, remedy in enumerate(remedies):
        words = [remedy["verb"].replace("_", "-"), f"{saga_id}-{number}", *([remedy["step"]] if remedy["step"] else [])]
        extra = {"complete_step": [], "fail_step": ["--error", "e"]}.get(remedy["verb"], WHY)
        shop(*words, *extra)
        assert shop.state(f"{saga_id}-{number}")[1] is False


def test_the_commands_name_the_store_that_was_named(shop):
    out = shop("stuck", "--store", "sqlite:///sagas.db", code=3).stdout
    assert "sagafsm skip back reserve --reason '…' --store sqlite:///sagas.db\n" in out


def test_a_saga_that_cannot_be_read_is_stuck_with_advice(shop):
    change("UPDATE saga_events SET data = '{' WHERE saga_id = 'pivot' AND seq = 3")
    told = {saga["saga_id"]: saga for saga in shop.json("stuck", code=3)}
    assert "cannot be read" in told["pivot"]["stuck_reason"]
    assert "restore" in told["pivot"]["remedies"][0]["meaning"]


# --- purge ---


def test_purge_deletes_what_ended_long_ago(shop):
    shop.run({"id": "new"})
    change("UPDATE sagas SET created_at = created_at - 1e6, finished_at = finished_at - 1e6 WHERE id != 'new'")
    assert shop("purge", "--older-than", "20d").stdout == "0 deleted\n"
    assert shop("purge", "--older-than", "1d", "--dry-run").stdout == "1 would be deleted\n"
    assert shop.json("purge", "--older-than", "10d", "--dry-run") == {"purged": 0, "found": 1, "dry_run": True}
    assert shop.json("purge", "--older-than", "10d") == {"purged": 1, "found": 1, "dry_run": False}
    assert sorted(shop("ls", "--ids").stdout.split()) == ["after", "back", "new", "pivot"]


def test_purge_in_small_bites(sagafsm):
    sagafsm.run(*({"id": f"o-{n}"} for n in range(5)))
    assert sagafsm("purge", "--older-than", "0", "--limit", "2", "--dry-run").stdout == "2 would be deleted\n"
    assert sagafsm("purge", "--older-than", "0", "--limit", "2").stdout == "2 deleted\n"
    assert sagafsm("purge", "--older-than", "0").stdout == "3 deleted\n"


def test_purge_needs_a_span_of_time(shop):
    assert "'soon' is no span of time" in shop.error("purge", "--older-than", "soon", code=2)
    shop("purge", code=2)


# --- doctor ---


def test_all_is_well(sagafsm):
    sagafsm.run({"id": "a"})
    told = sagafsm.json("doctor", "--app", SHOP)
    assert told["ok"] is True
    assert told["facts"]["sagas"] == {"completed": 1}
    assert {"python", "sagafsm", "sqlalchemy"} <= set(told["facts"]["versions"])
    assert told["facts"]["settings"]["namespace"] == "default"
    assert told["facts"]["store"]["synced"] is True
    assert sagafsm("doctor").stdout.endswith("all is well\n")


def test_stuck_sagas_are_a_problem_and_suspended_ones_are_told(shop):
    shop.run({"id": "w"}, saga="Approval")
    shop("suspend", "w", *WHY)
    assert "3 wait for a person" in findings(shop)
    out = shop("doctor", code=1).stdout
    assert "✗ sagas: 3 wait for a person\n    sagafsm stuck lists them" in out
    assert "· sagas: 1 is suspended" in out
    assert out.endswith("1 to mend\n")


def test_sagas_that_the_code_cannot_run_are_found(sagafsm):
    sagafsm.run({"id": "w"}, saga="Approval")
    (what,) = findings(sagafsm, "--app", f"{SHOP}:BY_HAND")
    assert what.startswith("1 unfinished of Approval@1#")
    assert "which your code does not have" in what
    (sagafsm.folder / "changed.py").write_text(
        "from sagafsm import *\nclass Approval(Saga[dict]):\n    approval = wait_for('approval')\n    more = sleep(1)\n"
    )
    (what,) = findings(sagafsm, "--app", "changed")
    assert "whose steps changed but not its version" in what
    assert findings(sagafsm, code=0) == {}


def test_sagas_that_nobody_takes_up_are_found(sagafsm):
    sagafsm.run({"id": "w"}, {"id": "v"}, saga="Approval")
    change("UPDATE sagas SET due_at = due_at - 1e5 WHERE id = 'w'", "UPDATE sagas SET owner = 'gone' WHERE id = 'v'")
    found = findings(sagafsm)
    assert any("1 of Approval@1#" in what and "nobody takes them up" in what for what in found)
    change("INSERT INTO saga_workers VALUES ('alive:1', 9e9)")
    assert any("alive do not have it" in one["mend"] for one in findings(sagafsm).values())
    assert {worker["worker_id"]: worker["alive"] for worker in sagafsm.json("doctor", code=1)["facts"]["workers"]} == {
        "alive:1": True
    }


def test_sagas_of_a_worker_that_is_gone_are_found(sagafsm):
    sagafsm.run({"id": "v"}, saga="Approval")
    change("UPDATE sagas SET owner = 'gone'", "INSERT INTO saga_workers VALUES ('gone', 1)")
    (what,) = findings(sagafsm)
    assert "belong to a worker that is gone" in what
    (worker,) = sagafsm.json("doctor", code=1)["facts"]["workers"]
    assert (worker["alive"], worker["sagas"]) == (False, 1)


def test_a_definition_that_the_store_forgot_is_found(sagafsm):
    sagafsm.run({"id": "v"}, saga="Approval")
    change("DELETE FROM saga_definitions")
    (what,) = findings(sagafsm)
    assert "a definition that the store does not remember" in what


def test_sagas_that_were_never_started_are_told(sagafsm):
    with SyncOrchestrator("sqlite:///sagas.db", sagas=[Order], worker=False) as orchestrator:
        orchestrator.create(Order, {}, saga_id="later")
    assert "1 was created and never started" in sagafsm("doctor").stdout


def test_a_store_that_cannot_be_opened_is_a_finding(sagafsm):
    told = sagafsm.json("doctor", code=1)
    assert "does not exist" in told["findings"][0]["what"]
    assert "sagafsm migrate" in told["findings"][0]["mend"]
    assert "versions" in told["facts"]
    assert not list(sagafsm.folder.iterdir())
    assert "✗ store:" in sagafsm("doctor", code=1).stdout


@pytest.mark.parametrize("words", [["doctor"], ["doctor", "--json"], ["ls"], ["stuck"], ["migrate"]])
def test_secrets_are_never_shown(sagafsm, monkeypatch, words):
    monkeypatch.setenv("SAGAFSM_STORE", "postgresql://ann:s3cret@127.0.0.1:1/db")
    result = CliRunner().invoke(app, words)
    assert result.exit_code in (1, 2, 6)
    assert "s3cret" not in result.stdout + result.stderr
    assert "doctor" not in words or "postgresql://***@127.0.0.1:1/db" in result.stdout


def test_a_store_that_forgets_is_a_problem(sagafsm):
    assert "an acknowledged write can be lost when the power fails" in findings(sagafsm, "--store", "memory://")


# --- migrate ---


def test_migrate_makes_a_store(sagafsm):
    assert "up to date" in sagafsm("migrate", "--store", "sqlite:///new.db").stdout
    assert sagafsm.json("ls", "--store", "sqlite:///new.db") == []
    assert sagafsm.json("migrate", "--store", "sqlite:///new.db")["schema"] == "up to date"


def test_a_store_of_another_version_is_left_alone(sagafsm):
    sagafsm.run({"id": "a"})
    change("UPDATE saga_meta SET value = '99' WHERE key = 'schema_version'")
    assert "upgrade sagafsm" in sagafsm.error("ls", code=7)
    assert "upgrade sagafsm" in sagafsm.error("migrate", code=7)
