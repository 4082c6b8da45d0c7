"""The tasks in which the driver of a saga works: one for each call under way, and for each look at it beside.

What must stay true: whatever a task may fail of is told to whoever began it; what ends well tells nobody. Whoever
leaves cuts off those that are left, so none goes on behind its back. A function of a step is not called beside another
one of the same step, within reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextvars import copy_context
from typing import Any


class Strands(set["asyncio.Task[None]"]):
    """Those that have not ended."""

    __slots__ = ("_calling", "_cut", "_gone")

    def __init__(self) -> None:
        super().__init__()
        self._calling: dict[str, tuple[asyncio.Task[None], ...]] = {}  # by step: who calls a function of it
        self._cut: set[asyncio.Task[None]] | None = None  # whose call is being cut short; hardly ever anybody's
        self._gone: dict[asyncio.Task[None], asyncio.Future[None]] | None = None  # done when the call has ended; rare

    def begin(self, work: Coroutine[Any, Any, None], name: str, ended: Callable[[asyncio.Task[None]], object]) -> None:
        """Do something in a task of its own. ``ended`` is told of its end and takes it out, unless it came to ``end``.

        So it hears of what is cancelled before it begins, too.
        """
        context = copy_context()  # the same one for its end: else that would get a copy of its own
        task = asyncio.get_running_loop().create_task(work, name=name, context=context)
        self.add(task)
        task.add_done_callback(ended, context=context)

    def end(self, task: asyncio.Task[None], ended: Callable[[asyncio.Task[None]], object]) -> None:
        """The task that runs, which asks, ends well, and nobody need be called for that.

        It must wait for nothing more. If it was just cancelled as well, that comes too late to matter.
        """
        self.discard(task)
        task.remove_done_callback(ended)

    def calls(self, task: asyncio.Task[None], step: str) -> asyncio.Future[Any] | None:
        """From now on the task calls a function of this step.

        Done when those that call one already have ended: they were overtaken by a reply. None: there are none.
        """
        others = self._calling.get(step, ())
        self._calling[step] = (*others, task)
        return self._all_gone(others) if others else None

    def cut_short(self, step: str) -> asyncio.Future[Any] | None:
        """Cancel what calls a function of this step, but not the one that asks; done when all of it has ended.

        None: there is nothing to cut.
        """
        current = asyncio.current_task()
        cut = [task for task in self._calling.get(step, ()) if not self.is_cut(task) and task is not current]
        self._cut = (self._cut or set()).union(cut)
        for task in cut:
            task.cancel()
        return self._all_gone(cut) if cut else None

    def is_cut(self, task: asyncio.Task[None]) -> bool:
        """Whether its call is being cut short."""
        return self._cut is not None and task in self._cut

    def call_ended(self, task: asyncio.Task[None], step: str) -> None:
        """It calls it no more."""
        callers = self._calling.pop(step)
        if len(callers) > 1:
            self._calling[step] = tuple([other for other in callers if other is not task])
        if self._cut is not None:
            self._cut.discard(task)
        gone = None if self._gone is None else self._gone.pop(task, None)
        if gone is not None and not gone.done():
            gone.set_result(None)

    def _all_gone(self, tasks: Sequence[asyncio.Task[None]]) -> asyncio.Future[Any]:
        if self._gone is None:
            self._gone = {}
        loop = asyncio.get_running_loop()
        return asyncio.gather(*[self._gone.setdefault(task, loop.create_future()) for task in tasks])

    def cancel_others(self) -> None:
        """Cancel all but the one that asks, if it is one of them."""
        current = asyncio.current_task()
        for task in self:
            if task is not current:
                task.cancel()

    async def drain(self, timeout: float) -> None:
        """Let them end for so many seconds."""
        if self and timeout > 0:
            await asyncio.wait(list(self), timeout=timeout)

    async def cut_off(self, grace: float) -> None:
        """Cancel those that are left, and give them so many seconds for that."""
        tasks = list(self)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=grace)
