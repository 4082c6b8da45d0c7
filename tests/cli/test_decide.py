"""The verbs by which a person decides, most of them without the code of the saga."""

import contextlib
import getpass
import re
import sqlite3

import pytest

SHOP = "tests.cli.shop"
WHY = ("--reason", "as agreed")


def events(sagafsm, saga_id, kind):
    return [event["data"] for event in sagafsm.json("history", saga_id) if event["type"] == kind]


@pytest.fixture
def asks(sagafsm):
    """A saga that waits for a signal."""
    sagafsm.run({"id": "asks"}, saga="Approval")
    return sagafsm


@pytest.fixture
def shop(sagafsm):
    """One saga is stuck going back, one does not know whether its pivot happened, one is stuck after its pivot."""
    sagafsm.run(
        {"id": "back", "bad": "no funds", "blocked": "mended"},
        {"id": "pivot", "lost": True},
        {"id": "after", "unconfirmed": "mended"},
        {"id": "done"},
        code=3,
    )
    return sagafsm


def test_suspend_and_resume(asks):
    assert "suspended" in asks("suspend", "asks", *WHY).stdout
    assert asks.state("asks") == ("pending", False, True)
    assert "nothing to do" in asks("suspend", "asks", *WHY).stdout
    assert "whoever runs it goes on by it" in asks("resume", "asks").stdout
    assert asks.state("asks") == ("pending", False, False)
    assert "nothing to do" in asks("resume", "asks").stdout


def test_who_decided_and_why_are_stored(asks):
    asks("suspend", "asks", "--actor", "ann", "--reason", "[holidays]")
    asks("resume", "asks", "--actor", "bob", "--reason", "back")
    assert events(asks, "asks", "SagaSuspended") == [{"actor": "ann", "reason": "[holidays]"}]
    assert events(asks, "asks", "SagaResumed") == [{"actor": "bob", "reason": "back"}]
    assert "suspended by ann: [holidays]" in asks("show", "asks").stdout
    asks("suspend", "asks", *WHY)
    assert events(asks, "asks", "SagaSuspended")[1]["actor"] == getpass.getuser()


@pytest.mark.parametrize(
    "verb", [["retry", "back"], ["skip", "back", "reserve"], ["abort", "back"], ["suspend", "back"]]
)
def test_a_reason_is_asked_for(shop, verb):
    before = shop.json("history", "back")
    assert "--reason" in shop.error(*verb, code=2)
    assert "reason must be a text that says something" in shop.error(*verb, "--reason", " ", code=2)
    assert shop.json("history", "back") == before


def test_abort_without_the_code_is_stored_for_whoever_runs_it(asks):
    asks("abort", "asks", *WHY)
    assert asks.state("asks")[0] == "pending"
    assert events(asks, "asks", "AbortRequested")[0]["reason"] == "as agreed"
    assert "failed (aborted)" in asks("resume", "asks", "--app", SHOP, code=1).stdout


def test_abort_with_the_code_is_carried_out(asks):
    assert "failed (aborted)" in asks("abort", "asks", "--app", f"{SHOP}:BOTH", *WHY).stdout


def test_abort_without_undoing(shop):
    shop.run({"id": "asks"}, saga="Approval")
    shop("abort", "asks", "--no-compensate", "--cut", "--app", SHOP, *WHY)
    assert events(shop, "asks", "AbortRequested") == [
        {"reason": "as agreed", "actor": getpass.getuser(), "compensate": False, "cut": True}
    ]


def test_what_a_saga_does_not_allow_is_refused(shop):
    assert "completed: nothing is left to abort" in shop.error("abort", "done", *WHY, code=5)
    assert "past its point of no return" in shop.error("abort", "after", *WHY, code=5)
    assert "not stuck, so there is nothing to skip" in shop.error("skip", "done", "ship", *WHY, code=2)
    assert "has no step 'sell'" in shop.error("skip", "back", "sell", *WHY, code=2)


def test_retry_without_the_code_only_lifts_what_is_stuck(shop):
    assert shop.json("retry", "after", *WHY)["changed"] is True
    assert shop.state("after") == ("pending", False, False)
    assert shop.json("retry", "after", *WHY)["changed"] is False
    assert shop.json("retry", "done", *WHY)["changed"] is False


def test_retry_with_the_code_goes_on_to_the_end(shop):
    assert "the mail server is down" in shop("retry", "after", "--app", SHOP, *WHY, code=3).stdout
    (shop.folder / "mended").touch()
    assert "completed" in shop("retry", "after", "--app", SHOP, *WHY).stdout
    # that the saga fails once it can be undone is what was asked for
    assert "failed (compensated)" in shop("retry", "back", "--app", f"{SHOP}:app", *WHY).stdout


def test_skip_waives_or_passes_over(shop):
    shop("skip", "back", "reserve", *WHY)
    shop("skip", "after", "confirm", *WHY)
    taken = shop.json("resume", "--all", "--app", SHOP, code=1)
    assert {saga["saga_id"]: (saga["state"], saga["outcome"]) for saga in taken} == {
        "back": ("failed", "forced"),
        "after": ("completed", None),
    }
    assert events(shop, "back", "CompensationWaived") == [{"actor": getpass.getuser(), "reason": "as agreed"}]


def test_resume_all_takes_up_what_is_due(shop):
    assert "needs the code" in shop.error("resume", "--all", code=2)
    assert "takes no id" in shop.error("resume", "back", "--all", "--app", SHOP, code=2)
    assert "say which saga" in shop.error("resume", code=2)
    assert shop("resume", "--all", "--app", SHOP).stderr == "nothing is due\n"
    shop("retry", "back", *WHY)
    assert "back" in shop("resume", "--all", "--app", SHOP, code=3).stdout
    (shop.folder / "mended").touch()
    for saga_id in ("back", "after"):
        shop("retry", saga_id, *WHY)
    assert "completed" in shop("resume", "--all", "--app", SHOP, code=1).stdout


def test_a_stuck_sub_saga_is_mended_by_way_of_its_parent(sagafsm):
    sagafsm.run({"id": "all", "bad": "no", "blocked": "mended"}, saga="Bundle", code=3)
    (remedy, *_) = next(saga["remedies"] for saga in sagafsm.json("stuck", code=3) if saga["saga_id"] == "all")
    assert (remedy["verb"], remedy["saga_id"]) == ("retry", "all:order")
    (sagafsm.folder / "mended").touch()
    assert "failed" in sagafsm("retry", "all", "--app", SHOP, *WHY, code=1).stdout
    assert sagafsm.state("all:order")[0] == "failed"


# --- messages ---


def test_a_signal_is_delivered_once(asks):
    assert asks.json("signal", "asks", "approval", '{"by": "ann"}', "--message-id", "m1") == {"delivery": "accepted"}
    assert asks("signal", "asks", "approval", "--message-id", "m1").stdout == "duplicate\n"
    assert "no step of it waits for that" in asks("signal", "asks", "no-such-signal", code=5).stderr
    assert asks.json("resume", "asks", "--app", SHOP)["results"]["file"] == {"by": "ann"}
    assert asks("signal", "asks", "approval", code=5).stdout == "late\n"


def test_a_value_must_be_json(asks):
    assert "a text needs its own quotes" in asks.error("signal", "asks", "approval", "yes", code=2)


@pytest.mark.parametrize(
    ("verb", "state"),
    [
        (["complete-step", "pivot", "ship", '"T-1"'], "completed"),
        (["fail-step", "pivot", "ship", "--error", "the carrier has no such parcel"], "failed"),
    ],
)
def test_what_nobody_knew_is_settled_by_who_found_out(shop, verb, state):
    assert shop.json(*verb) == {"delivery": "accepted"}
    shop("resume", "pivot", "--app", SHOP, code=0 if state == "completed" else 1)
    told = shop.json("show", "pivot")
    assert (told["state"], told["stuck"]) == (state, False)
    assert told["results"].get("ship") == ("T-1" if state == "completed" else None)


def test_a_saga_that_cannot_be_read_does_not_hide_what_became_of_the_others(shop):
    """Only its error was told, and whatever still ran was cut off."""
    (shop.folder / "mended").touch()
    for saga_id in ("back", "after"):
        shop("retry", saga_id, *WHY)
    with contextlib.closing(sqlite3.connect("sagas.db")) as database, database:
        database.execute("UPDATE saga_events SET data = '{' WHERE saga_id = 'back' AND seq = 3")
    result = shop("resume", "--all", "--app", SHOP, code=7)
    assert "error: saga back, event 3 (StepSucceeded) cannot be read" in result.stderr
    assert re.search(r"after +completed", result.stdout)
    assert "back" not in result.stdout


# --- where the code is ---


@pytest.mark.parametrize(
    ("app", "complaint"),
    [
        ("no_such_module", "there is no module"),
        (f"{SHOP}:NUMBER", "is neither a saga, nor a list of sagas"),
        (f"{SHOP}:broken", "broken() raised RuntimeError: no [config]"),
        (f"{SHOP}:nothing", "has no 'nothing'"),
        ("json", "json holds no saga"),
    ],
)
def test_what_is_wrong_with_the_code_is_said(shop, app, complaint):
    assert complaint in shop.error("resume", "back", "--app", app, code=2)


@pytest.mark.parametrize("name", ["", ":BOTH", ":Order", ":app", ":BY_HAND"])
def test_the_code_can_be_named_in_many_ways(shop, name):
    code = 2 if name == ":BY_HAND" else 0
    (shop.folder / "mended").touch()
    shop("retry", "back", *WHY)
    result = shop("doctor", "--app", f"{SHOP}{name}", code=1)
    assert ("which your code does not have" in result.stdout) == bool(code)


OTHER_STEPS = """
from sagafsm import Saga, wait_for

class Approval(Saga[dict]):
    consent = wait_for("consent")
"""


@pytest.mark.parametrize(
    ("module", "complaint"),
    [
        (f"{SHOP}:BY_HAND", "is of Approval version 1, which this code does not have; name the module that has it"),
        ("other_steps", "was started with other steps of Approval version 1 than this code has"),
    ],
)
def test_code_that_cannot_run_the_saga_is_refused_and_nothing_is_decided(asks, monkeypatch, module, complaint):
    """The command waited for ever, for a process that has the code."""
    monkeypatch.syspath_prepend(str(asks.folder))
    (asks.folder / "other_steps.py").write_text(OTHER_STEPS)
    before = asks.json("history", "asks")
    for verb in (("resume", "asks"), ("abort", "asks", *WHY)):
        assert complaint in asks.error(*verb, "--app", module, code=2)
    assert asks.json("history", "asks") == before


def test_a_batch_does_not_wait_for_sagas_that_were_started_with_other_steps(asks, monkeypatch):
    monkeypatch.syspath_prepend(str(asks.folder))
    (asks.folder / "other_steps.py").write_text(OTHER_STEPS)
    inputs = asks.file("inputs.jsonl", [{"id": "asks"}])
    told = asks.json("run", "other_steps:Approval", "-i", inputs, "--id-field", "id", code=5)
    assert told["outcomes"] == {"refused": 1}
    assert "other steps of Approval version 1" in told["not_completed"][0]["error"]
