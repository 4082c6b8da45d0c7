"""Fresh processes: for what is to be killed, and for what must not see the memory and the imports of another run.

What must stay true: no child outlives the call that started it, however that ends.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).parents[1]
PATIENCE = 600.0  # seconds; longer than anything takes that does not hang
READY = "ready"


def ask(question: str, *arguments: object) -> dict[str, Any]:
    """Run one of this package's modules to its end; what it printed, one JSON object."""
    done = subprocess.run(_command(question, arguments), cwd=ROOT, stdout=subprocess.PIPE, timeout=PATIENCE, check=True)
    answer: dict[str, Any] = msgspec.json.decode(done.stdout)
    return answer


@contextmanager
def killed(question: str, *arguments: object) -> Iterator[None]:
    """Run one of this package's modules until it says that it is ready, and end it with SIGKILL."""
    process = subprocess.Popen(_command(question, arguments), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        with process.stdout as output:
            if output.readline().strip() != READY:
                raise RuntimeError(f"{question} {arguments} ended before it was ready")
    finally:
        process.kill()
        process.wait()
    yield


def together(question: str, arguments: Sequence[Sequence[object]]) -> list[dict[str, Any]]:
    """Run a module once for each, let them begin when all have said that they are ready; what each printed then."""
    with ExitStack() as stack:
        processes: list[subprocess.Popen[str]] = []
        for each in arguments:
            command = _command(question, tuple(each))
            process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            processes.append(stack.enter_context(process))
            stack.callback(process.kill)  # before the wait that leaving the context of the process is
        for process in processes:
            assert process.stdout is not None
            if process.stdout.readline().strip() != READY:
                raise RuntimeError(f"{question} {arguments} ended before it was ready")
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        found = [process.communicate(timeout=PATIENCE)[0] for process in processes]
        return [msgspec.json.decode(line) for line in found]


def answer(**values: object) -> None:
    """Print what :func:`ask` returns."""
    print(msgspec.json.encode(values).decode(), flush=True)


def _command(question: str, arguments: tuple[object, ...]) -> list[str]:
    return [sys.executable, "-m", f"benchmarks.{question}", *map(str, arguments)]
