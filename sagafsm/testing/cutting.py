"""Calls that are cancelled at a chosen point: at every point, one after the other, where a task can be cancelled.

What must stay true: the cancellation is that of asyncio, as a timeout or a task group brings it; what a call awaits is
cancelled with it. How often a call waits is counted, not how long, so a busy machine changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")


class Cut(Generic[T]):
    """What became of a call that was to be cancelled. ``reached``: it waited as often as that."""

    def __init__(self, reached: bool, task: asyncio.Task[T]) -> None:
        self.reached = reached
        self.cancelled = task.cancelled()
        self.error = None if task.cancelled() else task.exception()
        self.answer = None if task.cancelled() or self.error is not None else task.result()


async def cut_short(call: Callable[[], Awaitable[T]], wait: int, *, turns: int = 0) -> Cut[T]:
    """Make a call, and cancel it at the ``wait``-th time that it waits (1: the first), ``turns`` of the loop later.

    By counting up until it is not ``reached`` any more, a call is cancelled at every point where it can be.
    """
    counted = _Counted(call, wait, turns)
    task: asyncio.Task[T] = asyncio.get_running_loop().create_task(counted.run())
    await asyncio.wait({task})
    return Cut(counted.waits >= wait, task)


class _Counted(Generic[T]):
    """Counts how often a call waits, and cancels its task where it is to be cut."""

    def __init__(self, call: Callable[[], Awaitable[T]], cut_at: int, turns: int) -> None:
        self.waits = 0
        self._call = call
        self._cut_at = cut_at
        self._turns = turns

    async def run(self) -> T:
        return await self

    def __await__(self) -> Generator[Any, None, T]:
        waiting = self._call().__await__()
        steps = cast("Generator[Any, None, T]", waiting)  # those of futures and coroutines all have send and throw
        step: Callable[[], Any] = partial(steps.send, None)
        while True:
            try:
                waited_for = step()
            except StopIteration as done:
                return cast(T, done.value)
            self.waits += 1
            if self.waits == self._cut_at:
                _cancel_after(self._turns, asyncio.current_task())
            try:
                yield waited_for
                step = partial(steps.send, None)
            except BaseException as exc:
                step = partial(steps.throw, exc)


def _cancel_after(turns: int, task: asyncio.Task[Any] | None) -> None:
    if task is None or task.done():
        return
    if turns == 0:
        task.cancel()
    else:
        asyncio.get_running_loop().call_soon(_cancel_after, turns - 1, task)
