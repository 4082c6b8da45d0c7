"""What holds for every verb: exit codes, errors in a line, help, and how soon the command is there."""

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

import sagafsm as library
from sagafsm.cli import looking
from sagafsm.cli.app import PANELS, app
from sagafsm.cli.exits import MEANINGS, Exit, exit_of_error
from sagafsm.core import errors

ROOT = Path(__file__).parents[2]
VERBS = [verb for verbs in PANELS.values() for verb in verbs]
SCRIPTED = set(get_command(app).commands) - {"check", "demo", "diagram", "schema", "worker"}  # type: ignore[attr-defined]


def test_every_exit_code_has_a_meaning():
    assert set(MEANINGS) == set(Exit)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.SagaNotFound("x"), 4),
        (errors.SagaConflict("x"), 5),
        (errors.SagaPurged("x", same=True), 5),
        (errors.SagaMoved("x"), 5),
        (errors.SagaFinished("x"), 5),
        (errors.PastPivot("x"), 5),
        (errors.SagaFailed("x"), 1),
        (errors.SagaStuck("x"), 3),
        (errors.StoreUnavailable("x"), 6),
        (errors.OutcomeUnknown("x"), 6),
        (errors.StoreError("x"), 6),
        (errors.StoreCorrupt("x"), 7),
        (errors.StoreTooNew("x"), 7),
        (errors.DefinitionError("x"), 2),
        (errors.InvalidInput("x"), 2),
        (errors.ResultNotStorable("x"), 2),
        (errors.SettingsError("x"), 2),
    ],
)
def test_every_error_has_its_exit_code(error, code):
    assert exit_of_error(error) == code


def test_no_error_was_forgotten():
    told = next(mark for mark in test_every_error_has_its_exit_code.pytestmark).args[1]  # type: ignore[attr-defined]
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.SagaError)}
    assert {type(error) for error, _ in told} == kinds - {errors.SagaError}


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.__name__)
def test_every_verb_is_a_public_method_first(verb):
    """The docstring of a verb names what it calls."""
    named = re.search(r"Public (?:method|function)s?: (.*)\.$", inspect.getdoc(verb) or "", re.MULTILINE)
    assert named is not None
    for name in re.split(r", | and ", named[1]):
        path = name.partition("(")[0]
        owner, _, member = path.rpartition(".")
        if owner.startswith("sagafsm"):
            assert callable(getattr(__import__(owner, fromlist=["_"]), member))
        else:
            assert callable(getattr(getattr(library, owner), member))
            if owner == "Orchestrator":
                assert callable(getattr(library.SyncOrchestrator, member))


@pytest.mark.parametrize("name", sorted(SCRIPTED))
def test_a_script_can_have_json(name):
    command = get_command(app).commands[name]  # type: ignore[attr-defined]
    options = {option for parameter in command.params for option in parameter.opts}
    assert {"--json", "--store"} - ({"--store"} if name == "copy" else set()) <= options  # copy names two stores


@pytest.mark.parametrize("name", sorted(get_command(app).commands))  # type: ignore[attr-defined]
def test_every_verb_has_help(sagafsm, name):
    assert "Usage: " in sagafsm(name, "--help").stdout


def test_the_version(sagafsm):
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*\n", sagafsm("--version").stdout)


def test_wrong_usage(sagafsm):
    assert "No such command" in sagafsm("sohw", code=2).stderr
    assert "No such option" in sagafsm("ls", "--colour", code=2).stderr
    assert "Missing argument" in sagafsm("show", code=2).stderr


@pytest.mark.parametrize("words", [["--debug", "show", "x"], ["show", "x", "--debug"]])
def test_a_traceback_is_shown_where_it_is_asked_for(tmp_path, words):
    done = command(*words, "--store", "sqlite:///none.db", folder=tmp_path)
    assert done.returncode == 6
    assert "Traceback" in done.stderr
    assert "does not exist" in done.stderr


def test_debug_behind_two_dashes_is_an_argument(sagafsm):
    sagafsm("migrate")
    assert "no saga '--debug'" in sagafsm.error("show", "--", "--debug", code=4)


def test_a_bug_is_told_from_a_failed_saga(sagafsm, monkeypatch):
    sagafsm("migrate")
    monkeypatch.setattr(looking, "timeline", None, raising=False)
    monkeypatch.setattr("sagafsm.cli.opening.with_store", lambda *_: 1 / 0)
    result = sagafsm("stats", code=70)
    assert "ZeroDivisionError" in result.stderr
    assert "bug in sagafsm" in result.stderr


def command(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the command as a process of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "stores")))}
    line = [sys.executable, "-m", "sagafsm.cli", *words]
    return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, timeout=30, check=False)


def test_help_loads_no_driver(tmp_path):
    """Whoever asks for help does not wait for a database library."""
    code = (
        "import sys\nfrom sagafsm.cli import main\nsys.argv = ['sagafsm', '--help']\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print([name for name in ('sqlalchemy', 'httpx', 'sqlite3', 'pydantic', 'yaml') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_reader_that_has_enough_is_no_error(sagafsm):
    """``sagafsm ls --ids | head -1``."""
    sagafsm.run(*({"id": f"o-{n:04}-{'x' * 180}"} for n in range(500)))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "stores")))}
    line = [sys.executable, "-m", "sagafsm.cli", "ls", "--ids", "--limit", "0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(line, env=environment, text=True, **pipes) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("o-0")
        process.stdout.close()
        said = process.stderr.read()
    assert (process.wait(), said) == (0, "")


def test_ctrl_c_in_a_verb_is_told(sagafsm, monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sagafsm.cli.opening.with_store", interrupted)
    assert sagafsm.error("stats", code=130) == "error: interrupted\n"


def test_the_person_at_a_terminal_is_asked_why(sagafsm, monkeypatch):
    sagafsm.run({"id": "w"}, saga="Approval")
    monkeypatch.setattr("sagafsm.cli.options.interactive", lambda: True)
    sagafsm("suspend", "w", stdin="because\n")
    assert sagafsm.json("history", "w")[-1]["data"]["reason"] == "because"


def test_the_typer_app_is_public():
    assert isinstance(app, typer.Typer)


@pytest.mark.parametrize("words", [[], ["--debug"]])
def test_no_error_shows_a_password(sagafsm, monkeypatch, words):
    monkeypatch.setenv("SAGAFSM_STORE", "sqlite://ann:hun/ter@2@host/sagas.db?nosuch=1")
    result = CliRunner().invoke(app, [*words, "show", "x"])
    assert result.exit_code == 2
    assert "sqlite://***@host/sagas.db" in result.stderr
    assert "hun/ter" not in result.output + result.stderr
