"""The heartbeat: renews the worker's lease, whether or not the event loop is free to do it.

What must stay true: a step that holds the event loop up for a while costs no lease; a loop that does not answer for
``hang_timeout`` seconds loses it, for its sagas would otherwise be nobody's. After :meth:`Heart.stop` nothing beats.

Where the store can be reached from another thread (:class:`~sagafsm.supports.SupportsTwin`) the heart has a thread, an
event loop and a connection of its own. Else, and on virtual time, it beats in the loop of the sagas.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING

from ..supports import SupportsTwin
from .logs import LOGGER

if TYPE_CHECKING:
    from ..store import Store
    from .engine import Engine

AGAIN = 1 / 15  # of the lease: how soon a heartbeat that failed is tried again


class Heart:
    """Beats from :meth:`start` to :meth:`stop`; the first beat is the caller's."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._task: asyncio.Task[None] | None = None
        self._thread: _Thread | None = None

    def start(self) -> None:
        """Begin to beat, a third of a lease from now."""
        store = self._engine.store
        twin = store.twin() if self._engine.environment.threads and isinstance(store, SupportsTwin) else None
        if twin is not None:
            self._thread = _Thread(self._engine, twin)
        else:
            self._task = asyncio.get_running_loop().create_task(self._beat(), name="sagafsm heartbeat")

    async def stop(self) -> None:
        """Beat no more; a beat that is under way is waited for."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        if self._thread is not None:
            await self._thread.stop()

    async def _beat(self) -> None:
        pause = self._engine.lease / 3
        while True:
            await asyncio.sleep(pause)
            try:
                await self._engine.beat()
                pause = self._engine.lease / 3
            except Exception as exc:  # whatever it is, the heart goes on
                pause = self._engine.lease * AGAIN
                _say_failed(exc)


class _Thread:
    """A daemon thread with an event loop of its own, which beats through the store's twin."""

    def __init__(self, engine: Engine, twin: Store) -> None:
        self._engine = engine
        self._twin = twin
        self._monotonic = engine.environment.monotonic
        self._patience = engine.settings.hang_timeout
        self._sagas = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._sagas.create_future()
        self._asked = self._answered = self._monotonic()
        self._given_up = False
        self._told = threading.Event()  # to stop
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None
        self._work: asyncio.Task[None] | None = None
        threading.Thread(target=self._run, name="sagafsm-heartbeat", daemon=True).start()

    async def stop(self) -> None:
        """Wait for the thread's end; a store that does not answer is not waited for for ever."""
        self._told.set()
        for nudge in (self._nudge, self._cut):
            if self._loop is not None:
                with contextlib.suppress(RuntimeError):  # it has ended meanwhile
                    self._loop.call_soon_threadsafe(nudge)
            await asyncio.wait({self._ended}, timeout=self._engine.settings.grace_period)
            if self._ended.done():
                return
        LOGGER.warning("the heartbeat does not end: the store does not answer; its thread is left behind")

    # --- in the thread ---

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except Exception as exc:
            LOGGER.error("the heartbeat ended, the lease will run out: internal error", exc_info=exc)
        with contextlib.suppress(RuntimeError):  # the loop of the sagas was closed without a word
            self._sagas.call_soon_threadsafe(self._tell_ended)

    def _tell_ended(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    def _nudge(self) -> None:
        if self._wake is not None:
            self._wake.set()

    def _cut(self) -> None:
        if self._work is not None:
            self._work.cancel()

    async def _main(self) -> None:
        self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        self._work = asyncio.current_task()
        try:
            await self._beat(self._wake)
        except asyncio.CancelledError:
            return
        finally:
            await self._twin.close()

    async def _beat(self, wake: asyncio.Event) -> None:
        lease, pause, opened = self._engine.lease, self._engine.lease / 3, False
        while not self._told.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await wake.wait()
            if self._told.is_set():
                return
            pause = lease / 3
            if not self._answers():
                continue
            try:
                if not opened:
                    await self._twin.setup(migrate=False)
                    opened = True
                before = self._monotonic()
                worker = await self._twin.heartbeat(self._engine.worker_id, lease)
                self._engine.renewed(before, worker.until)
            except Exception as exc:  # whatever it is, the heart goes on
                pause = lease * AGAIN
                _say_failed(exc)

    def _answers(self) -> bool:
        """Whether the loop of the sagas is there, as far as anybody can tell; and ask it again."""
        now = self._monotonic()
        if self._answered >= self._asked:
            if self._given_up:
                LOGGER.warning("the event loop answers again, and the lease is taken again")
                self._given_up = False
            try:
                self._asked = now
                self._sagas.call_soon_threadsafe(self._answer)
            except RuntimeError:  # it was closed without a word
                self._told.set()
                return False
            return True
        if now - self._asked < self._patience:
            return True
        if not self._given_up:
            self._given_up = True
            LOGGER.error(
                "the event loop has not answered for %.0f s (a step holds it up): the lease is given up, and other "
                "workers take over its sagas; let such a step be a plain function, which runs in a thread",
                now - self._asked,
            )
        return False

    def _answer(self) -> None:
        self._answered = self._monotonic()


def _say_failed(error: Exception) -> None:
    LOGGER.warning("heartbeat failed, no call is begun once the lease has run out: %s", error)
