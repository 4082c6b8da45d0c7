"""A deterministic event loop on virtual time: every order of what is ready can be chosen, and no test sleeps.

What must stay true: time moves only when nothing is ready, and then it jumps to the next timer; who runs next is
decided by ``choose`` and by nothing else, so the same choices give the same run; nothing outside this thread is
waited for. Where the real loop would hang, this one raises: Deadlock when nobody can go on, Livelock when nobody stops.

It carries whole engines: every task belongs to a *process* (a context variable that tasks hand down), and a process
can be killed, which is not a cancellation: its tasks just never run again; or frozen, as by SIGSTOP, and thawed.
"""

from __future__ import annotations

import asyncio
import heapq
import sys
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextvars import Context, copy_context
from typing import Any, TypeVar

from .severed import SeveredLoop
from .tasks import PROCESS, Handle, Task, Tasks, Timer, end, forget

__all__ = ["PROCESS", "Deadlock", "Livelock", "Ready", "VirtualLoop", "running_loop"]

T = TypeVar("T")
Ready = Sequence[Handle]


class Deadlock(AssertionError):
    """Nothing is ready and no timer is set, but what is run has not ended: it would wait for ever."""


class Livelock(AssertionError):
    """More steps than allowed were made: something goes round in circles."""


class VirtualLoop(SeveredLoop):
    """Runs coroutines on virtual time, in one thread.

    ``choose(n)`` picks which of ``n`` ready callbacks runs next, from 0 to n-1 (default: the one that waits longest);
    ``pick`` does the same and is shown them, each with its process. ``start``: the time at the beginning, in seconds.
    ``max_steps``: callbacks after which Livelock is raised; ``max_at_once``: how many of them without time moving on.
    """

    def __init__(
        self,
        choose: Callable[[int], int] | None = None,
        *,
        pick: Callable[[Ready], int] | None = None,
        start: float = 0.0,
        max_steps: int = 50_000_000,
        max_at_once: int | None = None,
    ) -> None:
        super().__init__()
        self.steps = 0
        self.max_steps = max_steps
        self._max_at_once = max_steps if max_at_once is None else max_at_once
        self._limit = max_steps
        self._attend_at = max_steps + 1  # the next step before which there is more to do than to make it
        self._choose = choose
        self._pick = pick
        self.now = start  # the virtual time, in seconds
        self._ready: deque[Handle] = deque()
        self._timers: list[tuple[float, int, Timer]] = []
        self._count = 0  # timers set so far: those of one instant stay in this order
        self._idle: list[asyncio.Future[float | None]] = []
        self._silent: dict[str, list[Handle] | None] = {}  # dead processes; of frozen ones also what has become ready
        self._alarms: list[tuple[int, int, Callable[[str], object]]] = []
        self._held: list[asyncio.Task[Any]] = []  # of dead processes: never run, never closed before the loop is
        self._tasks = Tasks(self)
        self._generators: weakref.WeakSet[AsyncGenerator[Any, Any]] = weakref.WeakSet()
        self._running = self._stopping = self._closed = False
        self.owners: list[str] | None = None  # whose each step was, after :meth:`watch`
        self.deeds: list[tuple[int, str]] = []  # the steps in which a process did what others can see
        self.on_exit: Callable[[str, BaseException], object] | None = None  # who hears that code would end its process

    # --- running ---

    def run_until_complete(self, future: Awaitable[T]) -> T:  # type: ignore[override]
        """Run until this is done, and return its result. Raises Deadlock and Livelock."""
        task = asyncio.ensure_future(future, loop=self)
        try:
            self._run(task.done)
        except BaseException:
            if isinstance(task, asyncio.Task):
                forget(task)
            raise
        return task.result()

    def run_forever(self) -> None:
        """Run until :meth:`stop`."""
        self._stopping = False
        self._run(lambda: self._stopping)

    def stop(self) -> None:
        """End :meth:`run_forever` after the callback that runs now."""
        self._stopping = True

    def _run(self, until: Callable[[], bool]) -> None:
        if self._closed:
            raise RuntimeError("this loop is closed")
        if asyncio._get_running_loop() is not None:
            raise RuntimeError("another event loop runs in this thread; run this one in a thread of its own")
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=self._generators.add, finalizer=self._finalize)
        asyncio._set_running_loop(self)
        self._running = True
        self._time_moved()
        try:
            self._go_on(until)
        finally:
            self._running = False
            asyncio._set_running_loop(None)
            sys.set_asyncgen_hooks(*hooks)

    def _go_on(self, until: Callable[[], bool]) -> None:
        ready, silent, choose, pick = self._ready, self._silent, self._choose, self._pick
        in_order = choose is None and pick is None
        while not until():
            if not ready:
                self._nothing_ready()
                continue
            if in_order or len(ready) == 1:
                handle = ready.popleft()
            else:
                place = choose(len(ready)) if pick is None else pick(ready)  # type: ignore[misc]
                handle = ready[place]
                del ready[place]
            if handle._cancelled:
                continue
            if handle.process in silent:
                self._keep(handle)
                continue
            self.steps = step = self.steps + 1
            if step >= self._attend_at and not self._attended(handle):
                continue
            try:
                handle._context.run(*handle._call)
            except BaseException as exc:
                self._raised(handle, exc)

    def _keep(self, handle: Handle) -> None:
        kept = self._silent[handle.process]
        if kept is not None:
            kept.append(handle)

    def _attended(self, handle: Handle) -> bool:
        """Do what is to be done before a step; whether it is still to be made."""
        if self.owners is not None:
            self.owners.append(handle.process)
        while self._alarms and self._alarms[0][0] <= self.steps:
            heapq.heappop(self._alarms)[2](handle.process)
        if self.steps > self.max_steps:
            raise Livelock(f"{self.max_steps} steps were made and the end is not in sight (time {self.now:g} s)")
        if self.steps > self._limit:
            raise Livelock(f"{self._max_at_once} steps were made and time stands still (at {self.now:g} s)")
        self._attend()
        if handle.process in self._silent:
            self._keep(handle)
            return False
        return True

    def _attend(self) -> None:
        alarm = self._alarms[0][0] if self._alarms else self.max_steps
        self._attend_at = 0 if self.owners is not None else min(alarm, self._limit + 1)

    def _time_moved(self) -> None:
        self._limit = min(self.max_steps, self.steps + self._max_at_once)
        self._attend()

    def _raised(self, handle: Handle, error: BaseException) -> None:
        if isinstance(error, (SystemExit, KeyboardInterrupt)):
            if self.on_exit is None or not handle.process:
                raise error
            self.on_exit(handle.process, error)
        else:
            self.call_exception_handler(
                {"message": f"Exception in callback {handle._call[0]!r}", "exception": error, "handle": handle}
            )

    def _nothing_ready(self) -> None:
        next_timer = self.next_timer()
        if self._idle:
            idle, self._idle = self._idle, []
            for future in idle:
                if not future.done():
                    future.set_result(next_timer)
        elif next_timer is None:
            raise Deadlock(f"nothing is ready and no timer is set at {self.now:g} s: all wait for one another")
        else:
            if next_timer > self.now:
                self.now = next_timer
                if self._max_at_once < self.max_steps:
                    self._time_moved()
            now, timers = self.now, self._timers
            while timers and timers[0][0] <= now:
                timer = heapq.heappop(timers)[2]
                timer.forgotten = None
                self._ready.append(timer)

    def next_timer(self) -> float | None:
        """When time next moves to, if nobody sets an earlier timer; None where no timer is set."""
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
        return timers[0][0] if timers else None

    async def idle(self) -> float | None:
        """Wait until nothing more happens at this instant; then :meth:`next_timer`."""
        future: asyncio.Future[float | None] = self.create_future()
        self._idle.append(future)
        return await future

    def at_step(self, step: int, alarm: Callable[[str], object]) -> None:
        """Call ``alarm`` just before the callback that is the ``step``-th, with the process that would run it."""
        self._count += 1
        heapq.heappush(self._alarms, (step, self._count, alarm))
        self._attend()

    def watch(self) -> list[str]:
        """Note from now on whose each step is, in the list that is returned, and the ``deeds``."""
        self.owners = []
        self._attend()
        return self.owners

    def noted(self) -> None:
        """The process that runs now has done something that others can see."""
        if self.owners is not None:
            self.deeds.append((self.steps, PROCESS.get()))

    # --- processes ---

    def kill(self, process: str) -> None:
        """End everything that runs in a context where ``PROCESS`` is this, without a last word.

        What runs at this moment goes on until it next waits.
        """
        for task in self.tasks(process):
            forget(task)
            asyncio._unregister_task(task)  # else whoever cleans up would wait for it
            self._held.append(task)
        self._silent[process] = None  # only now: what was kept for it while it was frozen held its tasks
        others = [handle for handle in self._ready if handle.process != process]
        self._ready.clear()
        self._ready.extend(others)
        self._timers = [entry for entry in self._timers if entry[2].process != process]
        heapq.heapify(self._timers)

    def freeze(self, process: str) -> None:
        """Let nothing of a process run until :meth:`thaw`: its time goes on without it, as while it is stopped."""
        self._silent.setdefault(process, [])

    def thaw(self, process: str) -> None:
        """Let a frozen process go on; everything that became ready for it meanwhile is ready now."""
        kept = self._silent.get(process)
        if kept is not None:
            del self._silent[process]
            self._ready.extend(kept)

    def tasks(self, process: str | None = None) -> list[Task]:
        """The tasks that have not ended, in the order in which they were made; ``process``: only those of one.

        Not asyncio's own list: that is one for all loops, and long where many loops were run.
        """
        return self._tasks.live(process)

    # --- scheduling ---

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.Handle:  # type: ignore[override]
        """Run a callback once those that are ready have had their turn, or as ``choose`` says."""
        if self._closed:
            raise RuntimeError("this loop is closed")
        if context is None:
            context = copy_context()
        handle = Handle((callback, *args), context, context.get(PROCESS, ""))
        self._ready.append(handle)
        return handle  # type: ignore[return-value]

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run a callback in ``delay`` seconds of virtual time."""
        return self._plan(self.now + delay, (callback, *args), context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run a callback at a virtual time."""
        return self._plan(when, (callback, *args), context)

    def _plan(self, when: float, call: tuple[Any, ...], context: Context | None) -> asyncio.TimerHandle:
        if self._closed:
            raise RuntimeError("this loop is closed")
        if context is None:
            context = copy_context()
        timer = Timer(call, context, context.get(PROCESS, ""), False, when, self._timer_cancelled)
        self._count = count = self._count + 1
        heapq.heappush(self._timers, (when, count, timer))
        return timer  # type: ignore[return-value]

    def _timer_cancelled(self) -> None:
        """Cancelled timers are dropped when their turn comes, or here when most are."""
        self._cancelled += 1
        if self._cancelled > 100 and self._cancelled > len(self._timers) // 2:
            self._timers = [entry for entry in self._timers if not entry[2]._cancelled]
            heapq.heapify(self._timers)
            self._cancelled = 0

    _cancelled = 0

    def time(self) -> float:
        """The virtual time, in seconds."""
        return self.now

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Any, *, name: str | None = None, context: Context | None = None, **options: Any
    ) -> asyncio.Task[Any]:
        """A task of this loop, in the process that makes it."""
        return self._tasks.make(coro, name, copy_context() if context is None else context, options)

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """Call a function here and now: a thread would run on a time of its own, in an order of its own."""
        future: asyncio.Future[T] = self.create_future()
        asyncio._set_running_loop(None)  # in its thread the function would not see this loop either
        try:
            future.set_result(func(*args))
        except BaseException as error:
            future.set_exception(error)
        finally:
            asyncio._set_running_loop(self)
        return future

    # --- the rest of a loop ---

    def is_running(self) -> bool:
        """Whether it runs now."""
        return self._running

    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def close(self) -> None:
        """Drop everything that is still planned. Only now do the coroutines of killed processes end."""
        if self._running:
            raise RuntimeError("a loop that runs cannot be closed")
        if self._closed:
            return
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(self)  # what cleans up may well begin a task; it is closed like the others
        try:
            for _ in range(10):
                left = [*self._held, *self._tasks.forget_all()]
                self._held.clear()
                if not left:
                    break
                for task in left:
                    forget(task)
                    end(task)
        finally:
            asyncio._set_running_loop(before)
        self._closed = True
        self._ready.clear()
        self._timers.clear()
        self._silent.clear()

    def _finalize(self, generator: AsyncGenerator[Any, Any]) -> None:
        self._generators.discard(generator)
        if not self._closed:
            self.create_task(generator.aclose())

    async def shutdown_asyncgens(self) -> None:
        """Close the asynchronous generators that were not run to their end."""
        for generator in list(self._generators):
            await generator.aclose()


def running_loop() -> VirtualLoop:
    """The virtual loop that runs here. Raises RuntimeError where none does."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualLoop):
        raise RuntimeError("the event loop that runs here is a real one, not a VirtualLoop")
    return loop
