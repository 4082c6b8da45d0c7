"""The orchestrator: the one object that users hold. Starts sagas, runs them, and takes what operators ask.

What must stay true: an ordinary object (no global, several per process). Opening and closing are in ``session``,
operators' verbs in ``operating``, reading in ``looking``; here is what starts and runs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any, Literal

from ..core.definition import SagaDefinition
from ..core.errors import DefinitionError, InvalidInput, SagaConflict
from ..core.instance import SagaInstance
from ..core.progress import Progress
from ..declare import definition_of
from ..store import check_id
from .birth import check_tags, create_saga
from .handle import Handle
from .keeping import Keeping
from .looking import Looking
from .operating import Operating
from .outside import awaken
from .reading import patience
from .session import Definable


class Orchestrator(Operating, Looking, Keeping):
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

    def _resolve(self, saga: Definable) -> SagaDefinition:
        wanted = definition_of(saga)
        known = self._definitions.get(wanted.kind)
        if known is None:
            raise DefinitionError(
                f"{wanted.name} version {wanted.version} is not registered here; "
                f"add it: Orchestrator(…, sagas=[{wanted.name}, …])"
            )
        return known

    def _create(
        self,
        saga: Definable,
        data: Any,
        saga_id: str | None,
        correlation_id: str | None,
        tags: Mapping[str, str] | None,
        *,
        begin: bool,
    ) -> Awaitable[tuple[Progress, bool]]:
        engine = self._engine
        definition = self._resolve(saga)
        saga_id = engine.environment.saga_id() if saga_id is None else check_id(saga_id)
        if correlation_id is not None:
            check_id(correlation_id, "correlation id")
        raw = self._encode(data, f"the input of {definition.name}", definition.input)
        here = begin and self._works and engine.room > 0 and not engine.backlog and engine.lease_holds()
        return create_saga(
            engine,
            definition,
            raw,
            saga_id=saga_id,
            correlation_id=correlation_id,
            tags=check_tags(tags),
            begin=begin,
            run_here=here,
        )

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

        Raises InvalidInput, SagaConflict where the id belongs to another saga, SagaPurged where that one is gone.
        """
        progress, _ = await self._create(saga, data, saga_id, correlation_id, tags, begin=False)
        return progress.saga_id

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

        Raises InvalidInput; SagaConflict where the id belongs to another saga (with ``on_conflict="raise"`` also to an
        identical one); SagaPurged where it belonged to one that has ended and is gone, whatever ``on_conflict`` says:
        there is nothing to return. A late duplicate has ``.same`` true and can be passed over.
        """
        if on_conflict not in ("return", "raise"):
            raise InvalidInput(f"on_conflict is 'return' or 'raise', not {on_conflict!r}")
        progress, created = await self._create(saga, data, saga_id, correlation_id, tags, begin=True)
        started = progress.saga_id
        if not created:
            if on_conflict == "raise":
                raise SagaConflict(f"saga {started!r} exists already, with the same definition and input")
            await awaken(self._engine, started)
        return Handle(self, started, created=created)

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
        saga_id = handle.saga_id
        del handle  # what is kept while a saga runs is kept a thousand times
        if not self._works:
            return await self.execute(saga_id, timeout=timeout)
        return await self._reader.wait(saga_id, timeout, suspended=True)

    async def execute(self, saga_id: str, *, timeout: float | None = None) -> SagaInstance:
        """Run a saga here until it is terminal, stuck, suspended, or waits for a reply or a signal.

        Backoffs and sleeps are waited for; a saga that another worker runs is waited for. Raises SagaNotFound, and
        TimeoutError after ``timeout`` seconds: the saga stays where it is and can be taken up again.
        """
        check_id(saga_id)
        async with patience(saga_id, timeout):
            return await self._reader.execute(saga_id, self._worker)

    async def wait(self, saga_id: str, *, timeout: float | None = None) -> SagaInstance:
        """Wait until a saga is terminal or stuck, wherever it runs. Raises SagaNotFound and TimeoutError."""
        return await self._reader.wait(check_id(saga_id), timeout)
