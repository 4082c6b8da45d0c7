"""The orchestrator: the one object that users hold. Starts sagas, runs them, and takes what operators ask.

What must stay true: an ordinary object (no global, several per process); every verb is checked before anything is
stored; a verb returns when its event is stored and does not wait for the work that follows.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self

import msgspec

from ..core import commands as c
from ..core.codec import describe
from ..core.commands import Delivery
from ..core.definition import SagaDefinition
from ..core.errors import DefinitionError, InvalidInput, SagaConflict, SagaNotFound
from ..core.events import NULL, Event, Failure
from ..core.instance import SagaInstance
from ..core.lifecycle import SagaState
from ..core.payload import NotReadable, NotStorable, decode, encode
from ..core.retry import RetryPolicy
from ..declare import Saga, definition_of
from ..store import Filter, Store, check_id, open_store
from . import inspection
from .birth import check_tags, create_saga
from .diagnosis import Diagnosis, diagnose
from .engine import Engine
from .environment import Environment
from .handle import Handle
from .invoke import failure_of
from .outside import read, tell, unpark
from .reading import Reader
from .settings import Settings
from .worker import Worker

Definable = type[Saga[Any]] | SagaDefinition


class Orchestrator:
    """Runs sagas on a store.

    ``store``: a URL (``sqlite:///sagas.db``, ``memory://``, …) or a Store. ``sagas``: the definitions this process
    knows; older versions of one may stand beside it. ``worker`` false: only submit, leave the work to others.
    ``lease``: seconds for which a process that has vanished keeps its sagas. ``poll_interval``: seconds between two
    looks for work. ``drain_timeout``: seconds that running calls are given to end when leaving. ``retry`` and
    ``compensation_retry``: for sagas that name none. ``hooks``: objects with ``before_step(ctx)``,
    ``after_step(ctx, outcome)``, ``on_transition(instance, event)``. ``migrate`` false: raise StoreUnavailable where
    the store does not exist or its schema is not up to date, instead of making it so.

    Use it as ``async with Orchestrator(…) as orchestrator``; entering opens the store and starts the worker.
    """

    def __init__(
        self,
        store: str | Store,
        *,
        sagas: Iterable[Definable],
        worker: bool = True,
        lease: float = 30.0,
        poll_interval: float = 1.0,
        drain_timeout: float = 10.0,
        retry: RetryPolicy | None = None,
        compensation_retry: RetryPolicy | None = None,
        hooks: Sequence[Any] = (),
        settings: Settings | None = None,
        environment: Environment | None = None,
        migrate: bool = True,
    ) -> None:
        for name, value in (("lease", lease), ("poll_interval", poll_interval)):
            if not value > 0:
                raise InvalidInput(f"{name} must be above 0 seconds, got {value!r}")
        self._settings = settings or Settings()
        self._retry = retry or self._settings.retry
        self._compensation_retry = compensation_retry or self._settings.compensation_retry
        self._store: Store = open_store(store) if isinstance(store, str) else store
        self._definitions = self._registered(sagas)
        self._latest: dict[str, SagaDefinition] = {}
        for definition in self._definitions.values():
            known = self._latest.get(definition.name)
            if known is None or known.version < definition.version:
                self._latest[definition.name] = definition
        self._lease = lease
        self._poll_interval = poll_interval
        self._drain_timeout = drain_timeout
        self._hooks = tuple(hooks)
        self._works = worker
        self._migrate = migrate
        self._environment = environment or Environment()
        self._engine_: Engine | None = None
        self._worker_: Worker | None = None

    def _registered(self, sagas: Iterable[Definable]) -> dict[str, SagaDefinition]:
        """Every definition by its kind, sub-sagas included, with the policies that apply to it here."""
        found: dict[str, SagaDefinition] = {}
        queue = [definition_of(saga) for saga in sagas]
        for definition in queue:  # grows by the sub-sagas
            twin = next(
                (d for d in found.values() if (d.name, d.version) == (definition.name, definition.version)), None
            )
            if twin is not None and twin.fingerprint != definition.fingerprint:
                raise DefinitionError(
                    f"two different definitions are both {definition.name} version {definition.version} "
                    f"({twin.where or 'the first'} and {definition.where or 'the second'}); give one another version"
                )
            if twin is None:
                found[definition.kind] = definition.with_defaults(self._retry, self._compensation_retry)
                queue.extend(step.child for step in definition.steps.values() if step.child is not None)
        return found

    async def __aenter__(self) -> Self:
        if self._engine_ is not None:
            raise InvalidInput("this orchestrator is open already; make another one")
        await self._store.setup(migrate=self._migrate)
        engine = Engine(
            self._store,
            self._definitions,
            self._settings,
            self._environment,
            self._hooks,
            lease=self._lease,
            hold=min(self._poll_interval, self._lease / 10),
        )
        worker = Worker(engine, poll_interval=self._poll_interval, polling=self._works)
        try:
            engine.clock.set(await self._store.now())
            known = await self._store.definitions()
            for kind, definition in self._definitions.items():
                if kind not in known:
                    await self._store.save_definition(kind, msgspec.json.encode(definition.shape))
            self._engine_, self._worker_ = engine, worker
            await worker.start()
        except BaseException:
            self._engine_ = self._worker_ = None
            await self._store.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Leave: claim nothing more, let running calls end, cut off the rest, release what is owned."""
        engine, worker = self._engine_, self._worker_
        if engine is None or worker is None:
            return
        self._engine_ = self._worker_ = None
        try:
            engine.draining = True
            await worker.stop()
            await engine.close(self._drain_timeout)
            await worker.retire()
        finally:
            await self._store.close()

    @property
    def _engine(self) -> Engine:
        if self._engine_ is None:
            raise InvalidInput(
                "the orchestrator is not open: use it inside 'async with Orchestrator(…) as orchestrator:'"
            )
        return self._engine_

    @property
    def _worker(self) -> Worker:
        self._engine  # noqa: B018 - raises where it is not open
        assert self._worker_ is not None  # noqa: S101 - set and cleared together with the engine
        return self._worker_

    @property
    def _reader(self) -> Reader:
        return Reader(self._engine)

    @property
    def store(self) -> Store:
        """The store, for tools."""
        return self._store

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._settings

    @property
    def definitions(self) -> Mapping[str, SagaDefinition]:
        """The definitions this process knows, by kind."""
        return self._definitions

    # --- starting and running ---

    def _resolve(self, saga: Definable) -> SagaDefinition:
        wanted = definition_of(saga)
        known = self._definitions.get(wanted.kind)
        if known is None:
            raise DefinitionError(
                f"{wanted.name} version {wanted.version} is not registered here; "
                f"add it: Orchestrator(…, sagas=[{wanted.name}, …])"
            )
        return known

    def _encode(self, value: Any, what: str, wanted: Any = Any) -> msgspec.Raw:
        try:
            raw = encode(value, what=what, limit=self._settings.payload_limit)
            if wanted is not Any:
                decode(raw, wanted)
        except NotStorable as exc:
            raise InvalidInput(str(exc)) from exc
        except NotReadable as exc:
            raise InvalidInput(f"{what} does not fit {getattr(wanted, '__name__', wanted)}: {exc}") from exc
        return raw

    async def _create(
        self,
        saga: Definable,
        data: Any,
        saga_id: str | None,
        correlation_id: str | None,
        tags: Mapping[str, str] | None,
        *,
        begin: bool,
    ) -> tuple[str, bool]:
        engine = self._engine
        definition = self._resolve(saga)
        saga_id = engine.environment.saga_id() if saga_id is None else check_id(saga_id)
        if correlation_id is not None:
            check_id(correlation_id, "correlation id")
        raw = self._encode(data, f"the input of {definition.name}", definition.input)
        room = len(engine.drivers) < self._settings.concurrency
        here = begin and self._works and room and engine.lease_holds()
        if begin and self._works and not room:
            engine.backlog = True
        _, created = await create_saga(
            engine,
            definition,
            raw,
            saga_id=saga_id,
            correlation_id=correlation_id,
            tags=check_tags(tags),
            begin=begin,
            run_here=here,
        )
        return saga_id, created

    async def create(
        self,
        saga: Definable,
        data: Any = None,
        *,
        saga_id: str | None = None,
        correlation_id: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Store a saga as ``started`` and run nothing; return its id. It waits for ``execute`` or ``start``.

        Raises InvalidInput, SagaConflict where the id belongs to another saga.
        """
        created, _ = await self._create(saga, data, saga_id, correlation_id, tags, begin=False)
        return created

    async def start(
        self,
        saga: Definable,
        data: Any = None,
        *,
        saga_id: str | None = None,
        correlation_id: str | None = None,
        tags: Mapping[str, str] | None = None,
        on_conflict: Literal["return", "raise"] = "return",
    ) -> Handle:
        """Store a saga and run it in the background. The same id, definition and input: the saga that exists.

        Raises InvalidInput, and SagaConflict where the id belongs to another saga (with ``on_conflict="raise"`` also
        to an identical one).
        """
        if on_conflict not in ("return", "raise"):
            raise InvalidInput(f"on_conflict is 'return' or 'raise', not {on_conflict!r}")
        started, created = await self._create(saga, data, saga_id, correlation_id, tags, begin=True)
        if not created:
            if on_conflict == "raise":
                raise SagaConflict(f"saga {started!r} exists already, with the same definition and input")
            await self._begin_created(started)
        return Handle(self, started, created=created)

    async def _begin_created(self, saga_id: str) -> None:
        """A saga that was only created is to run now."""
        stored = await read(self._engine, saga_id)
        if stored.record.state == SagaState.STARTED.value and stored.record.due_at is None and self._works:
            await self._worker.take([saga_id])

    async def run(
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
        """Start a saga and wait until it is terminal, stuck or suspended; does not raise for any of these.

        Raises TimeoutError after ``timeout`` seconds; the saga goes on.
        """
        handle = await self.start(
            saga, data, saga_id=saga_id, correlation_id=correlation_id, tags=tags, on_conflict=on_conflict
        )
        if not self._works:
            return await self.execute(handle.saga_id, timeout=timeout)
        return await self._reader.wait(handle.saga_id, timeout, suspended=True)

    async def execute(self, saga_id: str, *, timeout: float | None = None) -> SagaInstance:
        """Run a saga here until it is terminal, stuck, suspended, or waits for a reply or a signal.

        Backoffs and sleeps are waited for; a saga that another worker runs is waited for. Raises SagaNotFound, and
        TimeoutError after ``timeout`` seconds: the saga stays where it is and can be taken up again.
        """
        check_id(saga_id)
        async with asyncio.timeout(timeout):
            return await self._reader.execute(saga_id, self._worker)

    async def wait(self, saga_id: str, *, timeout: float | None = None) -> SagaInstance:
        """Wait until a saga is terminal or stuck, wherever it runs. Raises SagaNotFound and TimeoutError."""
        return await self._reader.wait(check_id(saga_id), timeout)

    # --- operators ---

    async def resume(self, saga_id: str, *, actor: str | None = None, reason: str | None = None) -> SagaInstance:
        """Lift a suspension and take the saga up now. Changes nothing on a finished or a stuck one."""
        _, instance = await tell(self._engine, check_id(saga_id), c.ResumeAsked(actor=actor, reason=reason))
        if self._works and not (instance.state.terminal or instance.stuck):
            await self._worker.take([saga_id])
        return instance

    async def resume_all(self) -> list[str]:
        """One sweep: take up everything that is due and owned by nobody alive; return the ids taken up."""
        await self._worker.ensure_lease()
        return await self._worker.sweep_all()

    async def abort(
        self, saga_id: str, reason: str, *, actor: str | None = None, cut: bool = False, compensate: bool = True
    ) -> SagaInstance:
        """Stop forward work, undo what was done, end ``failed`` with outcome ``aborted``.

        ``cut`` also cancels running calls (their outcome is then unknown). ``compensate`` false undoes nothing: every
        compensation due is recorded as waived by ``actor``, and the outcome is ``forced``. Changes nothing on a saga
        that compensates or has failed. Raises SagaFinished, PastPivot, InvalidInput.
        """
        asked = c.AbortAsked(reason=_text(reason, "reason"), actor=actor, cut=cut, compensate=compensate)
        return (await tell(self._engine, check_id(saga_id), asked))[1]

    async def compensate(self, saga_id: str, reason: str) -> SagaInstance:
        """Undo a running saga: as :meth:`abort`, but the outcome is ``compensated``."""
        asked = c.AbortAsked(reason=_text(reason, "reason"), outcome="compensated")
        return (await tell(self._engine, check_id(saga_id), asked))[1]

    async def retry(self, saga_id: str, *, actor: str, reason: str) -> SagaInstance:
        """Grant new attempts to what is stuck, and only to that. Changes nothing on a saga that is not stuck."""
        asked = c.RetryAsked(actor=_text(actor, "actor"), reason=_text(reason, "reason"))
        engine = self._engine
        stored = await read(engine, check_id(saga_id))
        if stored.record.problem is not None:
            engine.progress_of(stored)  # still unreadable: the error says why
            await unpark(engine, stored.record)
            return await self.get(saga_id)
        progress = engine.progress_of(stored)
        if progress.stuck and progress.stuck_child is not None:
            await self.retry(progress.stuck_child, actor=actor, reason=reason)
            return await self.get(saga_id)
        return (await tell(engine, saga_id, asked))[1]

    async def skip(self, saga_id: str, step: str, *, actor: str, reason: str) -> SagaInstance:
        """Waive a stuck compensation, or pass over a stuck step after the pivot (its result is then None).

        Raises InvalidInput where that step is not stuck, or lies before the pivot.
        """
        asked = c.SkipAsked(step=step, actor=_text(actor, "actor"), reason=_text(reason, "reason"))
        return (await tell(self._engine, check_id(saga_id), asked))[1]

    async def suspend(self, saga_id: str, *, actor: str, reason: str) -> SagaInstance:
        """Pause a saga: running calls end and are recorded, nothing new starts until :meth:`resume`."""
        asked = c.SuspendAsked(actor=_text(actor, "actor"), reason=_text(reason, "reason"))
        return (await tell(self._engine, check_id(saga_id), asked))[1]

    # --- messages ---

    async def signal(self, saga_id: str, name: str, payload: Any = None, *, message_id: str | None = None) -> Delivery:
        """Deliver an outside event; the same ``message_id`` twice counts once. Raises SagaNotFound, InvalidInput."""
        raw = self._encode(payload, f"the payload of signal {name!r}")
        given = c.SignalArrived(name=_text(name, "name"), payload=raw, message_id=_message_id(message_id))
        return (await tell(self._engine, check_id(saga_id), given))[0]

    async def complete_step(
        self,
        saga_id: str,
        step: str,
        result: Any = None,
        *,
        attempt: int | None = None,
        message_id: str | None = None,
        compensation: bool = False,
    ) -> Delivery:
        """The reply to a step (or its compensation) that awaits one: it is done. No ``attempt``: the current one."""
        given = c.ReplyArrived(
            step=step,
            kind=c.OutcomeKind.SUCCEEDED,
            backward=compensation,
            attempt=attempt,
            result=self._encode(result, f"the result of step {step!r}") if result is not None else NULL,
            message_id=_message_id(message_id),
        )
        return (await tell(self._engine, check_id(saga_id), given))[0]

    async def fail_step(
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
        """The reply to a step that awaits one: it did not happen, and (unless ``retryable``) will not."""
        now = self._engine.clock()
        if isinstance(error, BaseException):
            failure = failure_of(error, step, now)
        else:
            failure = Failure(type="Rejected", message=_text(error, "error"), step=step, at=now)
        given = c.ReplyArrived(
            step=step,
            kind=c.OutcomeKind.FAILED if retryable else c.OutcomeKind.REJECTED,
            backward=compensation,
            attempt=attempt,
            error=failure,
            message_id=_message_id(message_id),
        )
        return (await tell(self._engine, check_id(saga_id), given))[0]

    # --- reading ---

    async def get(self, saga_id: str) -> SagaInstance:
        """A saga as it stands. Raises SagaNotFound; StoreCorrupt or StoreTooNew where its log cannot be read."""
        return await self._reader.get(check_id(saga_id))

    async def history(self, saga_id: str) -> list[Event]:
        """Every event of a saga, in order. Raises SagaNotFound."""
        events = await self._engine.store.events(check_id(saga_id))
        if not events:
            raise SagaNotFound(saga_id)
        return [describe(saga_id, stored) for stored in events]

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
    ) -> AsyncIterator[SagaInstance]:
        """Sagas, oldest first. ``older_than``: created more than so many seconds ago. Raises InvalidInput."""
        where = Filter(
            state=_state(state),
            saga_type=saga_type,
            stuck=stuck,
            suspended=suspended,
            tags=dict(tags or {}),
            correlation_id=correlation_id,
            older_than=None if older_than is None else self._engine.clock() - older_than,
        )
        return self._reader.find(where, limit)

    async def purge(self, *, finished_before: float, limit: int | None = None, dry_run: bool = False) -> int:
        """Delete sagas that ended more than ``finished_before`` seconds ago, each whole; return how many.

        ``dry_run`` only counts them.
        """
        if dry_run:
            return await inspection.purgeable(self._engine, finished_before, limit)
        return await self._reader.purge(finished_before, limit)

    async def definition_for(self, saga_id: str) -> SagaDefinition:
        """The definition that a saga runs by; without functions where only the store remembers it."""
        return await inspection.definition_of_saga(self._engine, check_id(saga_id))

    async def stats(self) -> inspection.Stats:
        """How many sagas there are, by definition, state and flags."""
        return await inspection.stats(self._engine)

    async def remedies(self, saga: SagaInstance) -> list[inspection.Remedy]:
        """What a person can do about a stuck saga."""
        return await inspection.remedies(self._engine, saga)

    async def doctor(self) -> Diagnosis:
        """What is wrong with the store, its workers and its sagas, and how to mend it. Changes nothing."""
        return await diagnose(self._engine)


def _text(value: str, what: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InvalidInput(f"{what} must be a text that says something, got {value!r}")
    if len(value) > 2000:
        raise InvalidInput(f"{what} is too long: {len(value)} characters, at most 2000")
    return value.encode("utf-8", "replace").decode()


def _message_id(value: str | None) -> str | None:
    return None if value is None else check_id(value, "message id")


def _state(state: SagaState | str | None) -> str | None:
    if state is None:
        return None
    try:
        return SagaState(state).value
    except ValueError:
        known = ", ".join(known.value for known in SagaState)
        raise InvalidInput(f"{state!r} is no state of a saga; the states are: {known}") from None
