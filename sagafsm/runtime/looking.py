"""Looking at sagas: one, many, all of them in numbers.

What must stay true: looking changes nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from ..core.codec import describe
from ..core.definition import SagaDefinition
from ..core.errors import InvalidInput, SagaNotFound
from ..core.events import Event
from ..core.instance import SagaInstance
from ..core.lifecycle import SagaState
from ..store import Filter, check_id
from . import inspection
from .birth import check_tags
from .diagnosis import Diagnosis, diagnose
from .health import Health, closed, health_of
from .session import Session


class Looking(Session):
    """The verbs that read."""

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
        for name, text in (("saga_type", saga_type), ("correlation_id", correlation_id)):
            if text is not None and not isinstance(text, str):
                raise InvalidInput(f"{name} is a text, got {text!r}")
        for name, flag in (("stuck", stuck), ("suspended", suspended)):
            if flag is not None and not isinstance(flag, bool):
                raise InvalidInput(f"{name} is True, False or None, got {flag!r}")
        _check_number("older_than", older_than, (int, float))
        _check_number("limit", limit, int)
        where = Filter(
            state=_state(state),
            saga_type=saga_type,
            stuck=stuck,
            suspended=suspended,
            tags=check_tags(tags),
            correlation_id=correlation_id,
            older_than=None if older_than is None else self._engine.clock() - older_than,
        )
        return self._reader.find(where, limit)

    async def definition_for(self, saga_id: str) -> SagaDefinition:
        """The definition that a saga runs by; without functions where only the store remembers it."""
        return await inspection.definition_of_saga(self._engine, check_id(saga_id))

    async def stats(self) -> inspection.Stats:
        """How many sagas there are, by definition, state and flags."""
        return await inspection.stats(self._engine)

    async def remedies(self, saga: SagaInstance) -> list[inspection.Remedy]:
        """What a person can do about a stuck saga."""
        return await inspection.remedies(self._engine, saga)

    def health(self) -> Health:
        """How this process is doing, for whoever watches over it. Asks nobody and waits for nothing."""
        if self._leaving is not None:
            return health_of(*self._leaving)
        if self._engine_ is None or self._worker_ is None:
            return closed(self._settings.concurrency)
        return health_of(self._engine_, self._worker_)

    async def doctor(self) -> Diagnosis:
        """What is wrong with the store, its workers and its sagas, and how to mend it. Changes nothing."""
        return await diagnose(self._engine)


def _check_number(name: str, value: float | None, kinds: type | tuple[type, ...]) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, kinds) or not value >= 0):
        raise InvalidInput(f"{name} is a number from 0 up, got {value!r}")


def _state(state: SagaState | str | None) -> str | None:
    if state is None:
        return None
    try:
        found: str = SagaState(state).value
    except ValueError:
        known = ", ".join(known.value for known in SagaState)
        raise InvalidInput(f"{state!r} is no state of a saga; the states are: {known}") from None
    return found
