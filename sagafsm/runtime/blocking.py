"""The orchestrator for code without ``await``: Flask, Django, scripts, the REPL.

What must stay true: a facade. One background thread runs an ordinary :class:`Orchestrator`; each method here is the
one of the same name there, waited for. Nothing is decided here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent import futures
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from ..core.commands import Delivery
from ..core.definition import SagaDefinition
from ..core.errors import InvalidInput
from ..core.events import Event
from ..core.instance import SagaInstance
from ..core.lifecycle import SagaState
from ..core.retry import RetryPolicy
from ..moving import Archived
from ..store import Store
from .diagnosis import Diagnosis
from .handle import SyncHandle
from .health import Health
from .inspection import Remedy, Stats
from .logs import LOGGER
from .orchestrator import Orchestrator
from .session import Definable, refuse_fork
from .settings import DRAIN_TIMEOUT, LEASE, POLL_INTERVAL, Settings

T = TypeVar("T")
LOOK_UP = 0.2  # seconds
ENDED = "the thread of this orchestrator has ended: it was closed just now, or a step ended it with SystemExit"


class SyncOrchestrator:
    """:class:`Orchestrator` without ``await``. Use it as ``with SyncOrchestrator(…) as orchestrator``.

    Takes the same arguments. Can be used from several threads at once. Raises InvalidInput when it is not open.
    """

    def __init__(
        self,
        store: str | Store,
        *,
        sagas: Iterable[Definable],
        worker: bool = True,
        lease: float = LEASE,
        poll_interval: float = POLL_INTERVAL,
        drain_timeout: float = DRAIN_TIMEOUT,
        retry: RetryPolicy | None = None,
        compensation_retry: RetryPolicy | None = None,
        hooks: Sequence[Any] = (),
        settings: Settings | None = None,
        migrate: bool = True,
    ) -> None:
        self._orchestrator = Orchestrator(
            store,
            sagas=sagas,
            worker=worker,
            lease=lease,
            poll_interval=poll_interval,
            drain_timeout=drain_timeout,
            retry=retry,
            compensation_retry=compensation_retry,
            hooks=hooks,
            settings=settings,
            migrate=migrate,
        )
        self._pid = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._thread is not None:
            raise InvalidInput("this orchestrator is open already; make another one")
        self._pid = os.getpid()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="sagafsm", daemon=True)
        self._thread.start()
        ready.wait()
        try:
            self._wait(self._orchestrator.__aenter__())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """See :meth:`Orchestrator.close`."""
        if self._thread is None:
            return
        if os.getpid() != self._pid:  # after a fork: all that is open is the other process's
            self._loop = self._thread = None
            return
        try:
            self._wait(self._orchestrator.close())
        finally:
            self._stop()

    def _run(self, ready: threading.Event) -> None:
        try:
            with asyncio.Runner() as runner:
                self._loop = runner.get_loop()
                self._loop.call_soon(ready.set)
                self._loop.run_forever()
        except (KeyboardInterrupt, SystemExit) as exc:
            LOGGER.error("a step wants the process to end (%r): its orchestrator's thread has ended instead", exc)

    def _stop(self) -> None:
        if self._loop is not None and self._thread is not None:
            with contextlib.suppress(RuntimeError):  # a step ended the process, or so it thought: the thread is gone
                self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop = self._thread = None

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop is None or self._thread is None:
            work.close()
            raise InvalidInput(
                "the orchestrator is not open: use it inside 'with SyncOrchestrator(…) as orchestrator:'"
            )
        try:
            refuse_fork(self._pid)  # else it would wait for ever, for a thread that only the other process has
        except InvalidInput:
            work.close()
            raise
        if threading.current_thread() is self._thread:
            work.close()
            raise InvalidInput(
                "a step or a hook on the orchestrator's own thread must not wait for it; make the step a plain function"
            )
        thread = self._thread
        try:
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:  # its loop is closed
            work.close()
            raise InvalidInput(ENDED) from None
        try:
            # Looks up now and then: a Ctrl-C that comes just before a thread falls asleep does not wake it, and on
            # Windows none does. And the thread may have ended without a word to us.
            while not futures.wait((future,), timeout=LOOK_UP).done:
                if not thread.is_alive() and not future.done():
                    raise InvalidInput(ENDED)
            return future.result()
        except futures.CancelledError:
            raise InvalidInput(ENDED) from None
        except BaseException:
            future.cancel()
            raise

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._orchestrator.settings

    @property
    def definitions(self) -> Mapping[str, SagaDefinition]:
        """The definitions this process knows, by kind."""
        return self._orchestrator.definitions

    # --- the same verbs ---

    def create(
        self,
        saga: Definable,
        data: Any = None,
        *,
        saga_id: str | None = None,
        correlation_id: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """See :meth:`Orchestrator.create`."""
        return self._wait(
            self._orchestrator.create(saga, data, saga_id=saga_id, correlation_id=correlation_id, tags=tags)
        )

    def start(
        self,
        saga: Definable,
        data: Any = None,
        *,
        saga_id: str | None = None,
        correlation_id: str | None = None,
        tags: Mapping[str, str] | None = None,
        on_conflict: Literal["return", "raise"] = "return",
    ) -> SyncHandle:
        """See :meth:`Orchestrator.start`."""
        work = self._orchestrator.start(
            saga, data, saga_id=saga_id, correlation_id=correlation_id, tags=tags, on_conflict=on_conflict
        )
        return SyncHandle(self, self._wait(work))

    def run(
        self,
        saga: Definable,
        data: Any = None,
        *,
        timeout: float | None = None,
        saga_id: str | None = None,
        correlation_id: str | None = None,
        tags: Mapping[str, str] | None = None,
        on_conflict: Literal["return", "raise"] = "return",
    ) -> SagaInstance:
        """See :meth:`Orchestrator.run`."""
        work = self._orchestrator.run(
            saga,
            data,
            timeout=timeout,
            saga_id=saga_id,
            correlation_id=correlation_id,
            tags=tags,
            on_conflict=on_conflict,
        )
        return self._wait(work)

    def execute(self, saga_id: str, *, timeout: float | None = None) -> SagaInstance:
        """See :meth:`Orchestrator.execute`."""
        return self._wait(self._orchestrator.execute(saga_id, timeout=timeout))

    def wait(self, saga_id: str, *, timeout: float | None = None) -> SagaInstance:
        """See :meth:`Orchestrator.wait`."""
        return self._wait(self._orchestrator.wait(saga_id, timeout=timeout))

    def resume(self, saga_id: str, *, actor: str | None = None, reason: str | None = None) -> SagaInstance:
        """See :meth:`Orchestrator.resume`."""
        return self._wait(self._orchestrator.resume(saga_id, actor=actor, reason=reason))

    def resume_all(self) -> list[str]:
        """See :meth:`Orchestrator.resume_all`."""
        return self._wait(self._orchestrator.resume_all())

    def abort(
        self, saga_id: str, reason: str, *, actor: str | None = None, cut: bool = False, compensate: bool = True
    ) -> SagaInstance:
        """See :meth:`Orchestrator.abort`."""
        return self._wait(self._orchestrator.abort(saga_id, reason, actor=actor, cut=cut, compensate=compensate))

    def compensate(self, saga_id: str, reason: str) -> SagaInstance:
        """See :meth:`Orchestrator.compensate`."""
        return self._wait(self._orchestrator.compensate(saga_id, reason))

    def retry(self, saga_id: str, *, actor: str, reason: str) -> SagaInstance:
        """See :meth:`Orchestrator.retry`."""
        return self._wait(self._orchestrator.retry(saga_id, actor=actor, reason=reason))

    def skip(self, saga_id: str, step: str, *, actor: str, reason: str) -> SagaInstance:
        """See :meth:`Orchestrator.skip`."""
        return self._wait(self._orchestrator.skip(saga_id, step, actor=actor, reason=reason))

    def suspend(self, saga_id: str, *, actor: str, reason: str) -> SagaInstance:
        """See :meth:`Orchestrator.suspend`."""
        return self._wait(self._orchestrator.suspend(saga_id, actor=actor, reason=reason))

    def signal(self, saga_id: str, name: str, payload: Any = None, *, message_id: str | None = None) -> Delivery:
        """See :meth:`Orchestrator.signal`."""
        return self._wait(self._orchestrator.signal(saga_id, name, payload, message_id=message_id))

    def complete_step(
        self,
        saga_id: str,
        step: str,
        result: Any = None,
        *,
        attempt: int | None = None,
        message_id: str | None = None,
        compensation: bool = False,
    ) -> Delivery:
        """See :meth:`Orchestrator.complete_step`."""
        work = self._orchestrator.complete_step(
            saga_id, step, result, attempt=attempt, message_id=message_id, compensation=compensation
        )
        return self._wait(work)

    def fail_step(
        self,
        saga_id: str,
        step: str,
        error: str | BaseException,
        *,
        retryable: bool = False,
        attempt: int | None = None,
        message_id: str | None = None,
        compensation: bool = False,
    ) -> Delivery:
        """See :meth:`Orchestrator.fail_step`."""
        work = self._orchestrator.fail_step(
            saga_id,
            step,
            error,
            retryable=retryable,
            attempt=attempt,
            message_id=message_id,
            compensation=compensation,
        )
        return self._wait(work)

    def get(self, saga_id: str) -> SagaInstance:
        """See :meth:`Orchestrator.get`."""
        return self._wait(self._orchestrator.get(saga_id))

    def history(self, saga_id: str) -> list[Event]:
        """See :meth:`Orchestrator.history`."""
        return self._wait(self._orchestrator.history(saga_id))

    def find(
        self,
        *,
        state: SagaState | str | None = None,
        saga_type: str | None = None,
        stuck: bool | None = None,
        suspended: bool | None = None,
        tags: Mapping[str, str] | None = None,
        correlation_id: str | None = None,
        older_than: float | None = None,
        limit: int | None = None,
    ) -> Iterator[SagaInstance]:
        """See :meth:`Orchestrator.find`."""
        sagas = self._orchestrator.find(
            state=state,
            saga_type=saga_type,
            stuck=stuck,
            suspended=suspended,
            tags=tags,
            correlation_id=correlation_id,
            older_than=older_than,
            limit=limit,
        )
        while (saga := self._wait(_next(sagas))) is not None:
            yield saga

    def purge(
        self,
        *,
        finished_before: float,
        limit: int | None = None,
        dry_run: bool = False,
        keep_ids: float | None = None,
    ) -> int:
        """See :meth:`Orchestrator.purge`."""
        return self._wait(
            self._orchestrator.purge(finished_before=finished_before, limit=limit, dry_run=dry_run, keep_ids=keep_ids)
        )

    def archive(
        self,
        *,
        finished_before: float,
        to: str | Path,
        limit: int | None = None,
        keep_ids: float | None = None,
        compress: bool = False,
        progress: Callable[[Archived], None] | None = None,
    ) -> Archived:
        """See :meth:`Orchestrator.archive`. ``progress`` is called in another thread."""
        return self._wait(
            self._orchestrator.archive(
                finished_before=finished_before,
                to=to,
                limit=limit,
                keep_ids=keep_ids,
                compress=compress,
                progress=progress,
            )
        )

    def definition_for(self, saga_id: str) -> SagaDefinition:
        """See :meth:`Orchestrator.definition_for`."""
        return self._wait(self._orchestrator.definition_for(saga_id))

    def stats(self) -> Stats:
        """See :meth:`Orchestrator.stats`."""
        return self._wait(self._orchestrator.stats())

    def remedies(self, saga: SagaInstance) -> list[Remedy]:
        """See :meth:`Orchestrator.remedies`."""
        return self._wait(self._orchestrator.remedies(saga))

    def health(self) -> Health:
        """See :meth:`Orchestrator.health`."""
        return self._orchestrator.health()

    def doctor(self) -> Diagnosis:
        """See :meth:`Orchestrator.doctor`."""
        return self._wait(self._orchestrator.doctor())


async def _next(sagas: AsyncIterator[SagaInstance]) -> SagaInstance | None:
    return await anext(sagas, None)
