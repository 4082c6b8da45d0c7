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
HAND_OVER = 0.001  # seconds; usually it takes a twentieth of that

Job = tuple[Callable[[], Any], "asyncio.Future[Any]"]


class ConnectionThread:
    """Runs functions one after the other on a thread of its own."""

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._unsettled = 0  # counted on the event loop
        self._begun = threading.Lock()
        self._begun.acquire()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], T], *, hand_over: bool = False) -> asyncio.Future[T]:
        """Queue a job; the future gets what it returns or raises. Cancelling the future does not stop the job.

        ``hand_over``: if the thread is idle, stand back until the job says that it has :meth:`begun`. Else a busy
        event loop keeps the interpreter's lock for up to 5 ms, and the thread cannot even start.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        idle = self._unsettled == 0
        self._unsettled += 1
        future.add_done_callback(self._settled)
        if hand_over and idle:
            self._begun.acquire(blocking=False)  # what an earlier job said, after nobody waited for it any more
            self._jobs.put((job, future))
            self._begun.acquire(timeout=HAND_OVER)
        else:
            self._jobs.put((job, future))
        return future

    def _settled(self, future: asyncio.Future[Any]) -> None:
        self._unsettled -= 1

    def begun(self) -> None:
        """Said by a job that is about to leave Python for a while."""
        with suppress(RuntimeError):  # nobody waits for it
            self._begun.release()

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
