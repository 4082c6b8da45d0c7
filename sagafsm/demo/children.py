"""The processes of the demo: started, listened to, and ended, each by its own id.

What must stay true: when the block is left, however it is left, no child runs any more. Should this process die
without a word, the children notice (see ``lifeline``) and end by themselves.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self


class ChildFailed(Exception):
    """A child process ended, or kept silent, when it should not have. The message holds what it last said."""


class Child:
    """One child process, and the lines it writes. ``log`` is where its standard error goes."""

    def __init__(self, module: str, arguments: Sequence[str], *, log: Path, environment: Mapping[str, str]) -> None:
        self.name = module.rpartition(".")[2]
        self._log = log
        with log.open("ab") as errors:
            self._process = subprocess.Popen(  # noqa: S603 (our own module, by this interpreter)
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.PIPE,  # its lifeline
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **environment},
                text=True,
                encoding="utf-8",  # whatever the terminal speaks
                # Ctrl-C is for the conductor alone: it ends the others in the right order.
                start_new_session=True,
            )
        assert self._process.stdout is not None  # noqa: S101 (a pipe was asked for)
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def _read(self, stream: IO[str]) -> None:
        for line in stream:
            # A kill can cut the last line short: what has no end was not said.
            if line.endswith("\n"):
                self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def line(self, timeout: float) -> str | None:
        """Its next line; None once it has ended. Raises ChildFailed after ``timeout`` seconds of silence."""
        try:
            return self._lines.get(timeout=max(0.0, timeout))
        except queue.Empty:
            raise ChildFailed(f"the {self.name} has been silent for too long. {self.last_words()}") from None

    def kill(self) -> None:
        """End it at once, with SIGKILL, and wait until it is gone."""
        self._process.kill()
        self._process.wait()

    def wait(self, timeout: float) -> int:
        """Wait for its end and return its exit code. Raises ChildFailed if it does not come in time."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ChildFailed(f"the {self.name} does not end. {self.last_words()}") from None

    def stop(self, timeout: float) -> None:
        """Ask it to end, with SIGTERM; kill it if it has not done so after ``timeout`` seconds."""
        self._process.terminate()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()

    def close(self) -> None:
        """Make sure that it is gone, and give back its pipes."""
        if self._process.poll() is None:
            self.kill()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def last_words(self) -> str:
        """The end of what it wrote to its standard error."""
        text = self._log.read_text(encoding="utf-8", errors="replace").strip()
        return f"Its last words:\n{text[-2000:]}" if text else "It left no message."


class Children:
    """All child processes of one demo; a context manager that ends them. ``folder`` is for their logs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[Child] = []

    def start(self, module: str, *arguments: str, environment: Mapping[str, str] | None = None) -> Child:
        """Start ``python -m module`` as a child."""
        log = self._folder / f"{module.rpartition('.')[2]}.log"
        child = Child(module, arguments, log=log, environment=environment or {})
        self._running.append(child)
        return child

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for child in reversed(self._running):
            child.close()


class Deadline:
    """How much of a time limit is left."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until the limit; negative when it has passed."""
        return self._end - time.monotonic()
