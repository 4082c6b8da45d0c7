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
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeAlias, TypeVar

from .severed import Handle, SeveredLoop, Task

PROCESS: ContextVar[str] = ContextVar("sagafsm_process", default="")

T = TypeVar("T")
MANY_TASKS = 2_000
AnyHandle: TypeAlias = Any  # a Handle, or one of asyncio's timers
Ready = Sequence[tuple[AnyHandle, str]]


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
        self._choose = choose
        self._pick = pick
        self._now = start
        self._ready: deque[tuple[AnyHandle, str]] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle, str]] = []
        self._count = 0  # timers set so far: those of one instant stay in this order
        self._idle: list[asyncio.Future[float | None]] = []
        self._dead: set[str] = set()
        self._frozen: dict[str, list[AnyHandle]] = {}
        self._alarms: list[tuple[int, int, Callable[[str], object]]] = []
        self._held: list[asyncio.Task[Any]] = []  # of dead processes: never run, never closed before the loop is
        self._tasks = 0
        self._alive: list[weakref.ref[Task]] = []
        self._generators: weakref.WeakSet[AsyncGenerator[Any, Any]] = weakref.WeakSet()
        self._running = self._stopping = self._closed = False
        self.owners: list[str] | None = None  # whose each step was, where somebody wants to know
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
                _forget(task)
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
        self._limit = min(self.max_steps, self.steps + self._max_at_once)
        try:
            while not until():
                self._step()
        finally:
            self._running = False
            asyncio._set_running_loop(None)
            sys.set_asyncgen_hooks(*hooks)

    def _step(self) -> None:
        ready = self._ready
        if not ready:
            self._nothing_ready()
            return
        count = len(ready)
        if count > 1 and (self._choose is not None or self._pick is not None):
            place = self._choose(count) if self._choose is not None else self._pick(ready)  # type: ignore[misc]
            ready.rotate(-place)
            handle, process = ready.popleft()
            ready.rotate(place)
        else:
            handle, process = ready.popleft()
        if handle._cancelled or process in self._dead:
            return
        if self._frozen and process in self._frozen:
            self._frozen[process].append(handle)
            return
        self.steps += 1
        if self.owners is not None:
            self.owners.append(process)
        if self._alarms and self._alarms[0][0] <= self.steps and not self._survives_alarms(handle, process):
            return
        if self.steps > self._limit:
            if self._limit < self.max_steps:
                raise Livelock(f"{self._max_at_once} steps were made and time stands still (at {self._now:g} s)")
            raise Livelock(f"{self.max_steps} steps were made and the end is not in sight (time {self._now:g} s)")
        try:
            handle._context.run(handle._callback, *handle._args)
        except (SystemExit, KeyboardInterrupt) as exc:
            if self.on_exit is None or not process:
                raise
            self.on_exit(process, exc)
        except BaseException as exc:
            self.call_exception_handler(
                {"message": f"Exception in callback {handle._callback!r}", "exception": exc, "handle": handle}
            )

    def _survives_alarms(self, handle: AnyHandle, process: str) -> bool:
        """Ring; whether the callback is still to run now."""
        while self._alarms and self._alarms[0][0] <= self.steps:
            heapq.heappop(self._alarms)[2](process)
        if process in self._frozen:
            self._frozen[process].append(handle)
        return process not in self._frozen and process not in self._dead

    def _nothing_ready(self) -> None:
        next_timer = self.next_timer()
        if self._idle:
            idle, self._idle = self._idle, []
            for future in idle:
                if not future.done():
                    future.set_result(next_timer)
        elif next_timer is None:
            raise Deadlock(f"nothing is ready and no timer is set at {self._now:g} s: all wait for one another")
        else:
            if next_timer > self._now:
                self._now = next_timer
                self._limit = min(self.max_steps, self.steps + self._max_at_once)
            while self._timers and self._timers[0][0] <= self._now:
                _, _, timer, process = heapq.heappop(self._timers)
                timer._scheduled = False  # type: ignore[attr-defined]
                self._ready.append((timer, process))

    def next_timer(self) -> float | None:
        """When time next moves to, if nobody sets an earlier timer; None where no timer is set."""
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    async def idle(self) -> float | None:
        """Wait until nothing more happens at this instant; then :meth:`next_timer`."""
        future: asyncio.Future[float | None] = self.create_future()
        self._idle.append(future)
        return await future

    def at_step(self, step: int, alarm: Callable[[str], object]) -> None:
        """Call ``alarm`` just before the callback that is the ``step``-th, with the process that would run it."""
        self._count += 1
        heapq.heappush(self._alarms, (step, self._count, alarm))

    def noted(self) -> None:
        """The process that runs now has done something that others can see."""
        if self.owners is not None:
            self.deeds.append((self.steps, PROCESS.get()))

    # --- processes ---

    def kill(self, process: str) -> None:
        """End everything that runs in a context where ``PROCESS`` is this, without a last word.

        What runs at this moment goes on until it next waits.
        """
        self._dead.add(process)
        for task in self.tasks(process):
            _forget(task)
            asyncio._unregister_task(task)  # else whoever cleans up would wait for it
            self._held.append(task)
        self._frozen.pop(process, None)
        self._ready = deque(entry for entry in self._ready if entry[1] != process)
        self._timers = [entry for entry in self._timers if entry[3] != process]
        heapq.heapify(self._timers)

    def freeze(self, process: str) -> None:
        """Let nothing of a process run until :meth:`thaw`: its time goes on without it, as while it is stopped."""
        if process not in self._dead:
            self._frozen.setdefault(process, [])

    def thaw(self, process: str) -> None:
        """Let a frozen process go on; everything that became ready for it meanwhile is ready now."""
        self._ready.extend((handle, process) for handle in self._frozen.pop(process, ()))

    def tasks(self, process: str | None = None) -> list[Task]:
        """The tasks that have not ended, in the order in which they were made; ``process``: only those of one.

        Not asyncio's own list: that is one for all loops, and long where many loops were run.
        """
        found = [task for reference in self._alive if (task := reference()) is not None and not task.done()]
        return found if process is None else [task for task in found if _process(task.context) == process]

    # --- scheduling ---

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.Handle:  # type: ignore[override]
        """Run a callback once those that are ready have had their turn, or as ``choose`` says."""
        if self._closed:
            raise RuntimeError("this loop is closed")
        if context is None:
            context = copy_context()
        handle = Handle(callback, args, context)
        self._ready.append((handle, context.get(PROCESS, "")))
        return handle  # type: ignore[return-value]

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run a callback in ``delay`` seconds of virtual time."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Run a callback at a virtual time."""
        if self._closed:
            raise RuntimeError("this loop is closed")
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        timer._scheduled = True  # type: ignore[attr-defined]
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, timer, _process(context)))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are dropped when their turn comes, or here when most are."""
        self._cancelled += 1
        if self._cancelled > 100 and self._cancelled > len(self._timers) // 2:
            self._timers = [entry for entry in self._timers if not entry[2].cancelled()]
            heapq.heapify(self._timers)
            self._cancelled = 0

    _cancelled = 0

    def time(self) -> float:
        """The virtual time, in seconds."""
        return self._now

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Any, *, name: str | None = None, context: Context | None = None, **options: Any
    ) -> asyncio.Task[Any]:
        """A task of this loop, in the process that makes it."""
        context = copy_context() if context is None else context
        task = Task.__new__(Task)
        self._tasks = task.number = self._tasks + 1  # before asyncio puts it into a set
        self._alive.append(weakref.ref(task))
        if len(self._alive) > MANY_TASKS:
            self._alive = [weakref.ref(one) for one in self.tasks()]
        task.context = context
        task.__init__(coro, loop=self, name=name, context=context, **options)  # type: ignore[misc]
        return task

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
                left = [*self._held, *self.tasks()]
                self._alive.clear()
                self._held.clear()
                if not left:
                    break
                for task in left:
                    _forget(task)
                    asyncio._unregister_task(task)
                    _close(task)
        finally:
            asyncio._set_running_loop(before)
        self._closed = True
        self._ready.clear()
        self._timers.clear()
        self._frozen.clear()

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


def _process(context: Context | None) -> str:
    return PROCESS.get() if context is None else context.get(PROCESS, "")


class _Gone(SystemExit):
    """What the coroutines of a loop that is closed end with: nobody takes it for an error of a step."""


def _close(task: asyncio.Task[Any]) -> None:
    """End the coroutine of a dead process now, or the collector does later and reports what its clean-up raises.

    Not by its own ``close``: where a clean-up waits, that drops what waits inside, for the collector to complain of.
    """
    coroutine: Any = task.get_coro()
    for _ in range(100):  # a clean-up that waits takes several rounds, and one that never ends is left
        try:
            coroutine.throw(_Gone())
        except BaseException:  # the dead complain to nobody
            return


def _forget(task: asyncio.Task[Any]) -> None:
    """The task is dropped on purpose: asyncio need not report it."""
    task._log_destroy_pending = False  # type: ignore[attr-defined]
