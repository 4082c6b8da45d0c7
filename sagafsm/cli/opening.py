"""Opening the store that a command is about.

What must stay true: a command that looks at sagas, or acts on them, never creates a store and never migrates one: a
typing error in a URL makes no database, and a newer command does not lock out the older processes that use it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import attrs

from ..core.definition import SagaDefinition
from ..core.errors import SagaError, StoreUnavailable
from ..runtime.orchestrator import Orchestrator
from ..runtime.settings import Settings, redact
from ..store import Store
from .code import load_code

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Place:
    """Which store, with which settings and which code. ``shown`` is the store as it may be printed."""

    store: str | Store
    shown: str
    settings: Settings
    definitions: tuple[SagaDefinition, ...] = ()

    @classmethod
    def of(cls, store: str | None, app: str | None = None, *definitions: SagaDefinition) -> Place:
        """From the options of a command. Raises SettingsError and InvalidInput."""
        code = None if app is None else load_code(app)
        made = None if code is None else code.orchestrator
        settings = Settings.from_env() if made is None else made.settings
        if code is not None:
            definitions += code.definitions
        if store is None and made is not None:
            return cls(store=made.store, shown=f"the store of {app}", settings=settings, definitions=definitions)
        settings = settings if store is None else attrs.evolve(settings, store=store)
        return cls(store=settings.store, shown=redact(settings.store), settings=settings, definitions=definitions)


@asynccontextmanager
async def opened(place: Place, *, worker: bool = False, migrate: bool = False) -> AsyncIterator[Orchestrator]:
    """An orchestrator on the store, closed afterwards."""
    orchestrator = Orchestrator(
        place.store, sagas=place.definitions, worker=worker, migrate=migrate, settings=place.settings
    )
    try:
        await orchestrator.__aenter__()
    except StoreUnavailable as exc:
        if not migrate:
            exc.add_note(f"Is {place.shown} the right store (--store, SAGAFSM_STORE)?")
            exc.add_note("`sagafsm migrate` makes a new one, or brings its schema up to date.")
        raise
    try:
        yield orchestrator
    finally:
        await orchestrator.close()


def with_store(place: Place, work: Callable[[Orchestrator], Awaitable[T]]) -> T:
    """Do something with an orchestrator that runs nothing by itself."""

    async def main() -> T:
        async with opened(place) as orchestrator:
            return await work(orchestrator)

    return asyncio.run(main())


def error_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error behind a group of them: what sagafsm says, if it is there."""
    found = list(group.exceptions)
    return next((one for one in found if isinstance(one, SagaError)), found[0])
