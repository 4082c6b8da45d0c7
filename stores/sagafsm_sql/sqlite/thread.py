"""One thread that owns one connection: SQLite blocks, and the event loop must not.

What must stay true: a job that was handed in is run to its end whatever becomes of the task that awaits it, so a
cancelled commit is written wholly or not at all; jobs run one at a time, in order.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")
Job = tuple[Callable[[], Any], "asyncio.Future[Any]"]


class ConnectionThread:
    """Runs functions one after the other on a thread of its own."""

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], T]) -> asyncio.Future[T]:
        """Queue a job; the future gets what it returns or raises. Cancelling the future does not stop the job."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put((job, future))
        return future

    def stop(self) -> None:
        """Let the thread end after the jobs that are queued."""
        self._jobs.put(None)

    def join(self) -> None:
        """Wait for the thread to end."""
        self._thread.join()

    def _run(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, future = item
            try:
                answer, error = job(), None
            except BaseException as exc:
                answer, error = None, exc
            loop = future.get_loop()
            with suppress(RuntimeError):  # the loop was closed meanwhile: nobody is left to hear it
                loop.call_soon_threadsafe(_settle, future, answer, error)
            # Else the last job's batch and answer would stay in memory until the next one comes.
            del item, job, future, answer, error, loop


def _settle(future: asyncio.Future[Any], answer: Any, error: BaseException | None) -> None:
    if future.cancelled():
        return
    if error is None:
        future.set_result(answer)
    else:
        future.set_exception(error)
