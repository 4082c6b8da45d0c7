"""The threads in which functions that are not async run.

What must stay true: a thread that still runs never keeps its process from ending. The executors of the standard library
wait for theirs at exit, so one silent participant would hold up every Ctrl-C; a call that ends with its process is
interrupted, and the next process makes it again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
_Job = tuple["Future[Any]", Callable[[], Any]]


class DaemonThreads(Executor):
    """Runs functions in up to ``limit`` threads, which are started as they are needed and kept."""

    def __init__(self, limit: int, name: str) -> None:
        self._limit = limit
        self._name = name
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._free = 0  # threads without a job
        self._queued = 0  # jobs that wait for one of them
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._closed = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run ``fn`` as soon as a thread is free.

        Raises RuntimeError, and never runs it, after :meth:`shutdown` and where no thread at all can be started.
        """
        with self._lock:
            if self._closed:
                raise RuntimeError("these threads were shut down")
            if self._free:
                self._free -= 1
            elif not self._add_thread():
                self._queued += 1
            future: Future[T] = Future()
            self._jobs.put((future, lambda: fn(*args, **kwargs)))
            return future

    def _add_thread(self) -> bool:
        """Start a thread for the next job, if there may be one more; whether there was."""
        if len(self._threads) >= self._limit:
            return False
        name = f"{self._name}-{len(self._threads) + 1}"
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system gives us no more of them
            if not self._threads:
                raise
            return False  # one of those that we have will do it
        self._threads.append(thread)
        return True

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, call = job
            if future.set_running_or_notify_cancel():
                try:
                    result = call()
                except BaseException as exc:
                    future.set_exception(exc)
                else:
                    future.set_result(result)
                    del result
            del job, future, call  # else they would stay in memory until the next job comes
            with self._lock:
                if self._queued:
                    self._queued -= 1  # the next job is there already
                else:
                    self._free += 1

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more jobs; what runs goes on. ``cancel_futures``: what waits for a thread is not begun."""
        with self._lock:
            self._closed = True
            while cancel_futures and not self._jobs.empty():
                job = self._jobs.get()
                if job is not None:
                    job[0].cancel()
            for _ in self._threads:
                self._jobs.put(None)
        if wait:
            for thread in self._threads:
                thread.join()
