"""The tasks and handles of a loop on virtual time.

What must stay true: tasks are walked in the same order in every run, wherever asyncio keeps them in sets; a loop holds
its tasks weakly, as asyncio does, so that one which the code under test has lost is lost here too.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Mapping
from contextvars import Context, ContextVar
from typing import Any

import msgspec

PROCESS: ContextVar[str] = ContextVar("sagafsm_process", default="")
MANY = 2_000


class Task(asyncio.Task[Any]):
    """A task that says where it belongs in a set: sets of tasks are then walked in the same order in every run.

    The tasks of different loops have the same hashes, so that a loop that is closed has to take all of its own out of
    asyncio's one set of tasks: else that grows slow while loop follows upon loop.
    """

    __slots__ = ("context", "number")
    number: int
    context: Context

    def __hash__(self) -> int:
        return self.number


class Handle(msgspec.Struct, eq=False):
    """What asyncio's own handle is, made and run with less ado: there are millions in a simulation.

    ``_call``: the callback and its arguments. ``process``: whose it is.
    """

    _call: tuple[Any, ...]
    _context: Context
    process: str
    _cancelled: bool = False

    def cancel(self) -> None:
        """It is not to run."""
        self._cancelled = True

    def cancelled(self) -> bool:
        """Whether it is not to run."""
        return self._cancelled


class Timer(Handle, eq=False):
    """A handle whose time comes later. ``forgotten``: what its loop wants to hear once it is cancelled."""

    _when: float = 0.0
    forgotten: Callable[[], object] | None = None

    def cancel(self) -> None:
        """It is not to run."""
        if not self._cancelled:
            self._cancelled = True
            if self.forgotten is not None:
                self.forgotten()
                self.forgotten = None

    def when(self) -> float:
        """The time for which it was set."""
        return self._when


class Tasks:
    """The tasks of one loop, in the order in which they were made."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._count = 0
        self._made: list[weakref.ref[Task]] = []

    def make(self, coro: Any, name: str | None, context: Context, options: Mapping[str, Any]) -> Task:
        """A new one."""
        task = Task.__new__(Task)
        self._count = task.number = self._count + 1  # before asyncio puts it into a set
        self._made.append(weakref.ref(task))
        if len(self._made) > MANY:
            self._made = [weakref.ref(one) for one in self.live()]
        task.context = context
        task.__init__(coro, loop=self._loop, name=name, context=context, **options)  # type: ignore[misc]
        return task

    def live(self, process: str | None = None) -> list[Task]:
        """Those that have not ended; ``process``: only those of one."""
        found = [task for task in self._all() if not task.done()]
        return found if process is None else [task for task in found if task.context.get(PROCESS, "") == process]

    def forget_all(self) -> list[Task]:
        """Take all of them out of asyncio's own list; those that have not ended."""
        tasks = self._all()
        self._made.clear()
        for task in tasks:
            asyncio._unregister_task(task)
        return [task for task in tasks if not task.done()]

    def _all(self) -> list[Task]:
        return [task for reference in self._made if (task := reference()) is not None]


class _Gone(SystemExit):
    """What the coroutines of a loop that is closed end with: nobody takes it for an error of a step."""


def end(task: asyncio.Task[Any]) -> None:
    """End the coroutine of a dead process now, or the collector does later and reports what its clean-up raises.

    Not by its own ``close``: where a clean-up waits, that drops what waits inside, for the collector to complain of.
    """
    coroutine: Any = task.get_coro()
    for _ in range(100):  # a clean-up that waits takes several rounds, and one that never ends is left
        try:
            coroutine.throw(_Gone())
        except BaseException:  # the dead complain to nobody
            return


def forget(task: asyncio.Task[Any]) -> None:
    """The task is dropped on purpose: asyncio need not report it."""
    task._log_destroy_pending = False  # type: ignore[attr-defined]
