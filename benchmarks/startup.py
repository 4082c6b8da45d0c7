"""How long it takes to begin: importing, opening a store, and the command line's first answer."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from .children import ROOT
from .files import fresh, sqlite_url
from .options import Options
from .result import Row, Table

QUESTION = "startup"
OPEN = """
import sagafsm
class Trip(sagafsm.Saga[dict]):
    book = sagafsm.wait_for("booked")
with sagafsm.SyncOrchestrator({url!r}, sagas=[Trip]):
    pass
"""


def measure(options: Options) -> list[Table]:
    """Each command in turns, in a fresh process; and how many modules it loads."""
    with fresh(options.place.folder, "startup") as path:
        commands = {
            "python alone": ["-c", "pass"],
            "import sagafsm": ["-c", "import sagafsm"],
            "import, open a SQLite file, close it": ["-c", OPEN.format(url=sqlite_url(path))],
            "sagafsm --help": ["-m", "sagafsm.cli", "--help"],
        }
        for arguments in commands.values():
            _milliseconds(arguments, path.parent)  # writes the bytecode, creates the database
        samples: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(options.count(4 * options.pairs, 1)):
            for name, arguments in commands.items():
                samples[name].append(_milliseconds(arguments, path.parent))
    alone = statistics.median(samples["python alone"])
    rows = [
        Row(
            {
                "command": name,
                "ms": statistics.median(took),
                "lowest": min(took),
                "ms above python alone": statistics.median(took) - alone,
                "modules": _modules(commands[name]),
            },
            {"ms": took},
        )
        for name, took in samples.items()
    ]
    return [Table(QUESTION, "startup, a process each", rows, "modules: how many are loaded at the end")]


def _milliseconds(arguments: list[str], folder: Path) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=folder, stdout=subprocess.DEVNULL, timeout=60, check=True)
    return (time.perf_counter() - began) * 1000


def _modules(arguments: list[str]) -> int:
    """Run it once more with a line for each import on its standard error."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=60,
        check=True,
    )
    return sum(line.startswith(b"import time:") for line in done.stderr.splitlines()) - 1
