"""What the benchmarks ask of a store's floor and of the place where the databases of a measurement lie.

To add a store: a module ``benchmarks/floors/<store>.py`` with a context manager ``open_place(folder)`` that starts what
has to be started (a server in that folder, with the settings that durability needs, the same for floor and engine).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

Event = tuple[str, dict[str, Any]]
Rows = dict[str, tuple[int, int]]
"""Of each type of event: how many there are, and the bytes of JSON in them."""

STORES = ("sqlite", "postgresql", "redis", "mongodb")


class Floor(Protocol):
    """What somebody would write who needs this one job, knows the database well, and needs nothing else."""

    async def append(self, saga_id: str, version: int, events: Sequence[Event], *, state: str, fence: int = 1) -> int:
        """One durable append; the version after it. Raises where another has written."""
        ...

    async def close(self) -> None:
        """Write what is left, and give everything back."""
        ...


class Database(Protocol):
    """An empty database: for the floor, or for an engine."""

    @property
    def url(self) -> str:
        """The store URL for the engine."""
        ...

    async def open_floor(self) -> Floor:
        """A floor in this database; its tables are made before anything is measured, as an engine's are."""
        ...

    def count_floor(self) -> Rows:
        """The event rows that the floor has written."""
        ...

    def count_engine(self) -> Rows:
        """The event rows that the engine has written."""
        ...


class Place(Protocol):
    """Where databases are made."""

    def fresh(self, name: str) -> AbstractContextManager[Database]:
        """A database with nothing in it, gone after the block."""
        ...


def open_place(store: str, folder: Path) -> AbstractContextManager[Place]:
    """The place for the databases of a store, one of ``STORES``."""
    module = import_module(f".{store}", __package__)
    return cast("AbstractContextManager[Place]", module.open_place(folder))
