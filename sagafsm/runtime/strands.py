"""The tasks in which the driver of a saga works: one for each call under way, and for each look at it beside.

What must stay true: whatever a task may fail of is told to whoever began it; what ends well tells nobody. Whoever
leaves cuts off those that are left, so none goes on behind its back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any


class Strands(dict["asyncio.Task[None]", str | None]):
    """Those that have not ended, each with the step that it calls a function of, while it does."""

    __slots__ = ()

    def begin(self, work: Coroutine[Any, Any, None], name: str, ended: Callable[[asyncio.Task[None]], object]) -> None:
        """Do something in a task of its own. ``ended`` is told of its end and takes it out, unless it came to ``end``.

        So it hears of what is cancelled before it begins, too.
        """
        context = copy_context()  # the same one for its end: else that would get a copy of its own
        task = asyncio.get_running_loop().create_task(work, name=name, context=context)
        self[task] = None
        task.add_done_callback(ended, context=context)

    def end(self, task: asyncio.Task[None], ended: Callable[[asyncio.Task[None]], object]) -> None:
        """The task that runs, which asks, ends well, and nobody need be called for that.

        It must wait for nothing more. If it was just cancelled as well, that comes too late to matter.
        """
        self.pop(task, None)
        task.remove_done_callback(ended)

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
