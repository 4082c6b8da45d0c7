"""The types of the public API, as mypy and pyright see them: strict, and with the mistakes that they must find."""

import json
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


MISTAKES = """
from __future__ import annotations

from dataclasses import dataclass

from sagafsm import Saga, SagaDefinition, Step, StepContext, sleep, step, wait_for


@dataclass
class Order:
    id: str


class Mistakes(Saga[Order]):
    version = "1"  # wrong
    on_compensation_failure = "ignore"  # wrong

    @step(compensatable=False)
    async def charge(self, order: Order, ctx: StepContext) -> int:
        return 1

    @step(timeout="5s")  # wrong
    async def ship(self, order: Order) -> None: ...

    @step(on_unknown="retry")  # wrong
    async def pack(self, order: Order) -> None: ...

    @step(retries=3)  # wrong
    async def send(self, order: Order) -> None: ...

    approval = wait_for("approved", on_timeout="skip")  # wrong
    pause = sleep("1h")  # wrong


saga = Mistakes()
saga.charge("order")  # wrong
Mistakes.charge(saga)  # wrong
print(saga.charge.compensaton)  # wrong
Step("a", 3)  # wrong
Step("a", print, on_unknown="retry")  # wrong
SagaDefinition(name="x", steps=[print])  # wrong
SagaDefinition(name="x", steps=[], version="2")  # wrong
"""


def tool(*command: str) -> str:
    program = str(Path(sys.executable).with_name(command[0]))
    return subprocess.run([program, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False).stdout


def mypy(path: Path) -> Collection[tuple[int, str]]:
    """The errors that mypy finds in one file, by line."""
    found = tool("mypy", "--strict", "--no-error-summary", "--output", "json", str(path))
    errors = [json.loads(line) for line in found.splitlines()]
    return {(one["line"], one["message"]) for one in errors if one["severity"] == "error" and path.name in one["file"]}


def pyright(path: Path, tmp_path: Path) -> Collection[tuple[int, str]]:
    """The errors that pyright finds in one file, by line."""
    settings = {
        "include": [str(path)],
        "extraPaths": [str(ROOT)],
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
    }
    settings |= {"venvPath": str(Path(sys.prefix).parent), "venv": Path(sys.prefix).name}
    settings |= {"reportUnknownLambdaType": "none", "reportUnusedExpression": "none", "reportUnknownMemberType": "none"}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    found = json.loads(tool("basedpyright", "--outputjson", "--project", str(tmp_path)))
    errors = [one for one in found["generalDiagnostics"] if one["severity"] == "error"]
    return {(one["range"]["start"]["line"] + 1, one["message"]) for one in errors}


def errors_in(path: Path, checker: str, tmp_path: Path) -> Collection[tuple[int, str]]:
    return mypy(path) if checker == "mypy" else pyright(path, tmp_path)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_declarations_have_the_types_that_they_seem_to_have(checker: str, tmp_path: Path):
    assert errors_in(HERE / "declaring.py", checker, tmp_path) == set()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_mistakes_are_found_by_a_type_checker(checker: str, tmp_path: Path):
    path = tmp_path / "mistakes.py"
    path.write_text(MISTAKES)
    wrong = {number for number, line in enumerate(MISTAKES.splitlines(), 1) if line.endswith("# wrong")}
    assert {line for line, _ in errors_in(path, checker, tmp_path)} == wrong
