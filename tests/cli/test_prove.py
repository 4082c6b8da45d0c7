"""``check``, ``check-compat``, ``export-test``: proofs on the command line."""

import json
import re
import subprocess
import sys

import pytest

from sagafsm.cli.proving import merged

from .conftest import SHOP

NAMES = ("test_step_1", "test_step_1", "test_a", "test_a", "test_a_2", "test_a")
ONE = """
from sagafsm import SagaDefinition, Step, WaitFor

async def act(data): ...
async def undo(data, result): ...

"""
V1 = (
    ONE
    + """
Shop = SagaDefinition(name="Shop", version=1, steps=[
    Step("pay", act, compensation=undo), WaitFor("approval", signal="approval"), Step("mail", act, compensatable=False),
])
"""
)
V2 = (
    ONE
    + """
Shop = SagaDefinition(name="Shop", version=2, steps=[
    Step("pay", act, compensation=undo), WaitFor("approval", signal="approval"), Step("note", act, compensatable=False),
    Step("mail", act, compensatable=False),
])
"""
)
SAME_VERSION = (
    ONE
    + """
Shop = SagaDefinition(name="Shop", version=1, steps=[Step("pay", act, compensation=undo)])
"""
)


@pytest.fixture
def module(sagafsm, monkeypatch):
    """Writes a module into the folder, which can be imported by its name until the test ends."""
    made = []

    def write(name, text):
        (sagafsm.folder / f"{name}.py").write_text(text)
        made.append(name)
        return name

    monkeypatch.syspath_prepend(str(sagafsm.folder))
    yield write
    for name in made:
        sys.modules.pop(name, None)


# --- check ---


def test_a_saga_is_proven(sagafsm):
    said = sagafsm("check", f"{SHOP}:Approval").stdout
    assert "Approval version 1: proven" in said
    assert "everything was explored" in said
    assert "it can end: " in said


def test_all_the_sagas_of_a_module_are_checked(sagafsm):
    found = sagafsm.json("check", SHOP, "--faults", "1")
    assert found["ok"]
    assert {saga["saga"] for saga in found["sagas"]} == {"Order", "Approval", "Bundle", "by_hand"}


def test_the_way_to_a_finding_is_shown_when_asked_for(sagafsm):
    assert "the saga begins" not in sagafsm("check", f"{SHOP}:Order", "--faults", "1").stdout
    said = sagafsm("check", f"{SHOP}:Order", "--faults", "1", "--paths").stdout
    assert "1. the saga begins" in said
    assert "STUCK: a person must act" in said


def test_a_rule_that_is_broken_is_shown_with_its_way_and_a_test_to_paste(sagafsm, module):
    module("rules", "def never_undone(saga):\n    return saga.steps['reserve'].state.value != 'compensated'\n")
    said = sagafsm("check", f"{SHOP}:Order", "--rule", "rules:never_undone", code=1).stdout
    assert "a promise is broken" in said
    assert "the rule never_undone does not hold" in said
    assert "the compensation of reserve succeeds" in said
    assert f"from {SHOP} import Order" in said
    assert "assert never_undone(saga) is not False" in said


def test_warnings_and_what_was_left_out_count_when_strict(sagafsm):
    sagafsm("check", f"{SHOP}:Order", "--faults", "1")
    sagafsm("check", f"{SHOP}:Order", "--faults", "1", "--strict", code=1)
    sagafsm("check", f"{SHOP}:Approval", "--strict")


def test_a_limit_is_said(sagafsm):
    assert "stopped at a limit" in sagafsm("check", f"{SHOP}:Order", "--states", "50").stdout


def test_the_ways_are_written_as_tests_that_run(sagafsm, module):
    module("shop", V1)
    sagafsm("check", "shop", "--tests", "test_ways.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "test_ways.py"],
        cwd=sagafsm.folder,
        env={"PYTHONPATH": str(sagafsm.folder), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout


def test_no_test_of_a_file_has_the_name_of_another():
    """Of two ways to get stuck in ``step_1`` only the last was tested: numbers at the end of a name were overlooked."""
    sources = [f"from shop import Shop\n\n\ndef {name}() -> None:\n    assert Shop\n" for name in NAMES]
    text = merged(sources)
    assert re.findall(r"def (\w+)\(", text) == [
        "test_step_1", "test_step_1_2", "test_a", "test_a_2", "test_a_2_2", "test_a_3",
    ]  # fmt: skip
    assert text.count("from shop import Shop") == 1


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["nothing_like_this"], "there is no module"),
        (["tests.cli.conftest"], "holds no saga"),
        ([f"{SHOP}:Order", "--rule", f"{SHOP}:nothing"], "names no function"),
        ([f"{SHOP}:Order", "--tests", "no/such/folder/x.py", "--faults", "1"], "cannot be written"),
    ],
)
def test_what_is_wrong_is_said(sagafsm, words, complaint):
    assert complaint in sagafsm("check", *words, code=2).stderr


# --- check-compat ---


@pytest.fixture
def live(sagafsm, module):
    """A store in which two sagas of version 1 wait for their approval."""
    module("v1", V1)
    (sagafsm.folder / "inputs.jsonl").write_text('{"id": "a"}\n{"id": "b"}\n')
    sagafsm("run", "v1:Shop", "-i", "inputs.jsonl", "--id-field", "id")
    return sagafsm


def test_code_that_was_not_changed_goes_on(live):
    said = live("check-compat", "v1").stdout
    assert "Shop version 1: as it was" in said
    assert "live sagas: 2 go on, 0 need a map, 0 must drain" in said


def test_live_sagas_that_would_be_left_alone_are_a_problem(live, module):
    module("v2", V2)
    said = live("check-compat", "v2", code=1).stdout
    assert "Shop version 1: not registered; your code has Shop version 2" in said
    assert "step note was added" in said
    assert "0 go on, 2 need a map, 0 must drain" in said
    assert "keep the old definition registered" in said


def test_a_changed_shape_under_its_old_version(live, module):
    module("same", SAME_VERSION)
    found = live.json("check-compat", "same", code=1)
    assert found["definitions"][0]["same_version"]
    assert [(group["fate"], group["count"]) for group in found["live"]] == [("must drain", 2)]
    assert "raise the version" in live("check-compat", "same", code=1).stdout


def test_a_file_of_shapes_instead_of_a_store(sagafsm, module):
    module("v1", V1)
    module("v2", V2)
    assert "1 shape written" in sagafsm("check-compat", "v1", "--write-shapes", "shapes.json").stderr
    sagafsm("check-compat", "v1", "--against", "shapes.json")
    said = sagafsm("check-compat", "v2", "--against", "shapes.json", code=1).stdout
    assert "step mail came after approval and comes after note" in said
    assert "live sagas" not in said


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (["--store", "sqlite:///none.db"], 6, "none.db does not exist"),
        (["--against", "none.json"], 2, "none.json cannot be read"),
        (["--against", "none.json", "--store", "memory://"], 2, "not with both"),
        (["--write-shapes", "no/such/x.json"], 2, "cannot be written"),
    ],
)
def test_what_is_wrong_with_a_comparison_is_said(sagafsm, words, code, complaint):
    assert complaint in sagafsm.error("check-compat", SHOP, *words, code=code)


# --- export-test ---


def test_a_stored_saga_becomes_a_test(sagafsm):
    sagafsm.run({"id": "order-7", "bad": "the card of Ann Lee"}, code=1)
    source = sagafsm("export-test", "order-7", "--app", SHOP).stdout
    assert f"from {SHOP} import Order" in source
    assert "Ann Lee" not in source
    assert "order-7" not in source
    exec(compile(source, "exported", "exec"), {})
    sagafsm("export-test", "order-7", "--app", f"{SHOP}:Order", "-o", "test_it.py", "--keep", "bad")
    assert "Ann Lee" in (sagafsm.folder / "test_it.py").read_text()


def test_a_saga_that_the_code_does_not_know(sagafsm):
    sagafsm.run({"id": "order-7"})
    assert "has no such saga" in sagafsm.error("export-test", "order-7", "--app", f"{SHOP}:Approval", code=2)
    assert "no saga 'x'" in sagafsm.error("export-test", "x", "--app", SHOP, code=4)


def test_code_of_another_shape_is_refused(live, module):
    module("same", SAME_VERSION)
    assert "the code that it was started with" in live.error("export-test", "a", "--app", "same", code=2)


def test_a_test_that_fails_with_the_code_as_it_is_is_said(live, module, monkeypatch):
    from sagafsm.testing.exporting import Exported

    monkeypatch.setattr(Exported, "differences", lambda self: ["state was 'pending' and is 'failed'"])
    result = live("export-test", "a", "--app", "v1", code=1)
    assert "the test fails with your code as it is: state was 'pending'" in result.stderr
    assert "def test_shop_pending" in result.stdout


# --- small things ---


def test_one_stuck_saga_is_one(sagafsm):
    sagafsm.run({"id": "order-1", "lost": True}, code=3)
    assert sagafsm("stuck", code=3).stderr == "1 stuck saga\n"


def test_the_id_of_a_saga_where_a_module_is_meant(sagafsm):
    assert "sagafsm diagram --saga order-1" in sagafsm.error("diagram", "order-1", code=2)


def test_all_of_it_is_json(live):
    document = json.loads(live("check-compat", "v1", "--json").stdout)
    assert document["ok"]
    assert document["live"][0]["examples"] == ["a", "b"]
