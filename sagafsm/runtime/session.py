"""An orchestrator's session with its store: what is registered, what is open, how it is left.

What must stay true: nothing is shared with another session of the same process; whatever was opened is closed, also
when opening fails half-way.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import attrs
import msgspec

from ..core.definition import SagaDefinition
from ..core.errors import DefinitionError, InvalidInput, SettingsError
from ..core.limit import check_limits
from ..core.payload import NotReadable, NotStorable, decode, encode
from ..core.retry import RetryPolicy
from ..declare import Saga, definition_of
from ..store import Store, open_store
from ..supports import SupportsLimits
from .engine import Engine
from .environment import Environment
from .logs import hide_secrets
from .reading import Reader
from .settings import DRAIN_TIMEOUT, LEASE, POLL_INTERVAL, Settings, nearest
from .worker import Worker

Definable = type[Saga[Any]] | SagaDefinition


def refuse_fork(pid: int) -> None:
    """Raise InvalidInput unless this is still the process ``pid``: tasks, threads and connections are not inherited."""
    if os.getpid() != pid:
        raise InvalidInput(
            "this orchestrator was opened before the process forked and cannot be used after it; "
            "open one in the new process"
        )


def _opened(url: str, settings: Settings) -> Store:
    try:
        return open_store(settings.url_with_options(url))
    except SettingsError as exc:
        if settings.store_options:
            said = ", ".join(settings.store_options)
            exc.add_note(f"Of these options, store_options (sagafsm.toml, SAGAFSM_STORE_OPTIONS) may add: {said}.")
        raise


class Session:
    """Opens and closes; the verbs build on it."""

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
        environment: Environment | None = None,
        migrate: bool = True,
    ) -> None:
        for name, value in (("lease", lease), ("poll_interval", poll_interval)):
            if not value > 0:
                raise InvalidInput(f"{name} must be above 0 seconds, got {value!r}")
        if not drain_timeout >= 0:
            raise InvalidInput(f"drain_timeout is in seconds and not negative, got {drain_timeout!r}")
        hide_secrets()
        self._settings = settings or Settings()
        self._retry = retry or self._settings.retry
        self._compensation_retry = compensation_retry or self._settings.compensation_retry
        if isinstance(store, str):
            self._store: Store = _opened(store, self._settings)
        else:
            self._store = store
        self._definitions = self._registered(sagas)
        check_limits(self._definitions.values())
        limited = next((one for one in self._definitions.values() if one.limited), None)
        if limited is not None and not isinstance(self._store, SupportsLimits):
            raise DefinitionError(
                f"{limited.name} has limits, and this store ({type(self._store).__name__}) cannot count calls for all "
                "workers; use a store that can, or drop limit= from its steps"
            )
        self._latest: dict[str, SagaDefinition] = {}
        for definition in self._definitions.values():
            known = self._latest.get(definition.name)
            if known is None or known.version < definition.version:
                self._latest[definition.name] = definition
        self._lease = nearest(lease, self._settings.lease)
        self._poll_interval = nearest(poll_interval, self._settings.poll_interval)
        self._drain_timeout = nearest(drain_timeout, self._settings.drain_timeout)
        self._hooks = tuple(hooks)
        self._works = worker
        self._migrate = migrate
        self._environment = environment or Environment()
        self._pid = os.getpid()
        self._engine_: Engine | None = None
        self._worker_: Worker | None = None
        self._leaving: tuple[Engine, Worker] | None = None  # what is being closed

    def _registered(self, sagas: Iterable[Definable]) -> dict[str, SagaDefinition]:
        """Every definition by its kind, sub-sagas included, with the policies that apply to it here."""
        given: object = sagas
        if isinstance(given, (type, SagaDefinition, str)) or not isinstance(given, Iterable):
            raise DefinitionError(f"sagas= takes a list, such as sagas=[OrderFulfillment]; got {given!r}")
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
        self._pid = os.getpid()
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
            await self._store.setup(migrate=self._migrate)
            if self._settings.require_durable:
                await self._refuse_forgetful()
            engine.clock.set(await self._store.now())
            known = await self._store.definitions()
            for kind, definition in self._definitions.items():
                if kind not in known:
                    await self._store.save_definition(kind, msgspec.json.encode(definition.shape))
            self._engine_, self._worker_ = engine, worker
            await worker.start()
        except BaseException:
            self._engine_ = self._worker_ = None
            try:
                await worker.retire()
            finally:
                await self._store.close()
            raise
        return self

    async def _refuse_forgetful(self) -> None:
        """Raise SettingsError where the store could lose what it has acknowledged."""
        durability = await self._store.check()
        if not durability.synced:
            why = "; ".join(durability.warnings) or durability.description
            raise SettingsError(f"setting require_durable: this store can lose an acknowledged write: {why}")

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
        if os.getpid() != self._pid:
            return  # after a fork: all that is open is the other process's
        engine.draining = True
        self._leaving = engine, worker
        try:
            try:
                await worker.stop()
            finally:
                await engine.close(self._drain_timeout)
        finally:
            try:
                await worker.retire()
            finally:
                self._leaving = None
                await self._store.close()

    @property
    def _engine(self) -> Engine:
        if self._engine_ is None:
            raise InvalidInput(
                "the orchestrator is not open: use it inside 'async with Orchestrator(…) as orchestrator:'"
            )
        refuse_fork(self._pid)
        return self._engine_

    @property
    def _worker(self) -> Worker:
        self._engine  # noqa: B018 - raises where it is not open
        assert self._worker_ is not None  # noqa: S101 - set and cleared together with the engine
        return self._worker_

    @property
    def _reader(self) -> Reader:
        return self._engine.reader

    def _adjust(
        self, *, worker: bool | None = None, concurrency: int | None = None, drain_timeout: float | None = None
    ) -> None:
        """Other values than it was made with; for tools, and only before it is opened."""
        if self._engine_ is not None:
            raise InvalidInput("this orchestrator is open already; adjust it before that")
        if worker is not None:
            self._works = worker
        if concurrency is not None:
            self._settings = attrs.evolve(self._settings, concurrency=concurrency)
        if drain_timeout is not None:
            self._drain_timeout = drain_timeout

    @property
    def drain_timeout(self) -> float:
        """Seconds that running calls are given to end when leaving."""
        return self._drain_timeout

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

    def _encode(self, value: Any, what: str, wanted: Any = Any) -> msgspec.Raw:
        try:
            raw = encode(value, what=what, limit=self._settings.payload_limit, kind=wanted)
            if wanted is not Any:
                decode(raw, wanted, what=what)
        except (NotStorable, NotReadable) as exc:
            raise InvalidInput(str(exc)) from exc
        return raw
