"""The processes that the acceptance tests start: listened to, signalled by their id, and always gone at the end.

What must stay true: every wait has a deadline; when the block of :class:`Processes` is left, however it is left,
nothing that was started in it runs any more, nor anything that it started itself.
"""

from __future__ import annotations

import asyncio
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

ROOT = Path(__file__).parents[2]
PATHS = [str(ROOT), str(ROOT / "stores"), str(ROOT / "adapters")]
PATIENCE = 30.0  # seconds; far more than anything needs, because the machine may be busy


def until(condition: Callable[[], object], what: str, *, seconds: float = PATIENCE) -> float:
    """Wait for a condition; how many seconds it took. Fails with ``what`` when it does not come in time."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds, f"{what}: not within {seconds:g} s"
        time.sleep(0.01)
    return time.monotonic() - begun


async def eventually(condition: Callable[[], object], what: str, *, seconds: float = PATIENCE) -> None:
    """As :func:`until`, where this process has work to do meanwhile."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds, f"{what}: not within {seconds:g} s"
        await asyncio.sleep(0.01)


class Process:
    """One process, the lines it prints, and what it wrote to its standard error."""

    def __init__(self, arguments: Sequence[str], *, folder: Path, environment: Mapping[str, str], number: int) -> None:
        self._log = folder / f"process-{number}.err"
        with self._log.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=folder,
                env=dict(environment),
                text=True,
                start_new_session=True,  # its children are in its group: they end with it
            )
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def errors(self) -> str:
        """What it wrote to its standard error so far."""
        return self._log.read_text(errors="replace")

    def _read(self, stream: IO[str]) -> None:
        for line in stream:
            if line.endswith("\n"):  # a kill can cut the last line short: what has no end was not said
                self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def line(self, seconds: float = PATIENCE) -> str | None:
        """Its next line; None once it has ended."""
        try:
            return self._lines.get(timeout=seconds)
        except queue.Empty:
            raise AssertionError(f"silent for {seconds:g} s; its errors:\n{self.errors[-2000:]}") from None

    def hear(self, expected: str) -> None:
        """Wait until it prints this line; others before it are passed over."""
        while (line := self.line()) != expected:
            assert line is not None, f"it ended before it said {expected!r}; its errors:\n{self.errors[-2000:]}"

    def say(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it with SIGKILL and wait until it is gone."""
        self._process.kill()
        self._process.wait()

    def wait(self, seconds: float = PATIENCE) -> int:
        """Wait for its end; its exit code, or the number of the signal that ended it with a minus."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it still runs after {seconds:g} s; its errors:\n{self.errors[-2000:]}") from None

    def close(self) -> None:
        """Make sure that it and all of its group are gone, and give back the pipes."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


class Processes:
    """All processes of one test; a context manager that ends them. ``folder`` is where they run and leave logs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[Process] = []

    def start(
        self, *arguments: str, paths: Sequence[str] = PATHS, environment: Mapping[str, str] | None = None
    ) -> Process:
        """Start this Python with these arguments; ``paths``: where it finds packages besides the installed ones."""
        outside = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "SAGAFSM_"))}
        inside = {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1", **(environment or {})}
        process = Process(arguments, folder=self._folder, environment={**outside, **inside}, number=len(self._started))
        self._started.append(process)
        return process

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in reversed(self._started):
            process.close()
