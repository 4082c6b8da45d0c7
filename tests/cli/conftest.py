"""A directory with a store in it, and the command in it."""

import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from sagafsm.cli.app import app

SHOP = "tests.cli.shop"
ROOT = Path(__file__).parents[2]


def environment() -> Mapping[str, str]:
    """Where a process of its own finds the command and the shop."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "stores")))}


def on_a_terminal(*words: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """Run the command as a process of its own, where a person looks at its standard error; and what that person saw."""
    line = [sys.executable, "-m", "sagafsm.cli", *words]
    ours, its = pty.openpty()
    seen = bytearray()

    def look() -> None:
        with suppress(OSError):  # nobody has the other end any more
            while piece := os.read(ours, 4096):
                seen.extend(piece)

    watcher = threading.Thread(target=look)
    try:
        with subprocess.Popen(
            line, env={**environment(), "TERM": "xterm", "COLUMNS": "80"}, stdout=subprocess.PIPE, stderr=its, text=True
        ) as process:
            os.close(its)
            watcher.start()
            try:
                out, _ = process.communicate(timeout=50)
            finally:
                process.kill()
        watcher.join()
    finally:
        os.close(ours)
    return subprocess.CompletedProcess(line, process.returncode, out), seen.decode()


class Terminal:
    """Runs the command in this process, with the exit code that is expected of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *words: str, code: int = 0, stdin: str | None = None) -> Result:
        result = CliRunner().invoke(app, words, input=stdin)
        assert result.exit_code == code, f"exit code {result.exit_code}\n{result.stdout}{result.stderr}"
        assert code == 70 or "Traceback" not in result.stderr
        return result

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self(*words, "--json", code=code).stdout)

    def error(self, *words: str, code: int, stdin: str | None = None) -> str:
        result = self(*words, code=code, stdin=stdin)
        assert result.stdout == ""
        return result.stderr

    def file(self, name: str, inputs: Iterable[Any]) -> str:
        (self.folder / name).write_text("".join(f"{json.dumps(one)}\n" for one in inputs))
        return name

    def run(self, *inputs: Any, code: int = 0, saga: str = "Order") -> Any:
        """Run a saga for each input, which carries its id."""
        return self.json(
            "run", f"{SHOP}:{saga}", "-i", self.file("inputs.jsonl", inputs), "--id-field", "id", code=code
        )

    def state(self, saga_id: str) -> tuple[str, bool, bool]:
        saga = self.json("show", saga_id)
        return saga["state"], saga["stuck"], saga["suspended"]


@pytest.fixture
def sagafsm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)
    for name in ("SAGAFSM_STORE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    return Terminal(tmp_path)
