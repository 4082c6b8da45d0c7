"""What the benchmarks ask of a store's floor and of the place where the databases of a measurement lie.

To add a store: a module ``benchmarks/floors/<store>.py`` with a context manager ``open_place(folder)`` that starts what
has to be started (a server, with the settings that durability needs, the same for floor and engine), and a function
``find(url)`` by which another process comes to a database of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

Event = tuple[str, dict[str, Any]]
Rows = dict[str, tuple[int, int]]
"""Of each type of event: how many there are, and the bytes of JSON in them."""

STORES = ("sqlite", "postgresql", "redis", "mongodb")
OWNER = "me"
"""Who owns the sagas of a floor."""
HEIR = "you"
"""Who has taken them over."""


class Floor(Protocol):
    """What somebody would write who needs this one job, knows the database well, and needs nothing else."""

    async def append(self, saga_id: str, version: int, events: Sequence[Event], *, state: str, fence: int = 1) -> int:
        """One durable append; the version after it. Raises where another has written."""
        ...

    async def take_over(self) -> Mapping[str, Sequence[dict[str, Any]]]:
        """Claim every saga that is due for a new owner, with the next fence; the decoded events of each, in order."""
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

    def settle(self) -> None:
        """Do now what the database would do later by itself after much was written: not in what is measured."""
        ...


class Place(Protocol):
    """Where databases are made. ``about``: the server and its version; ``folder``: where its files lie."""

    @property
    def about(self) -> str: ...

    @property
    def folder(self) -> Path: ...

    def fresh(self, name: str) -> AbstractContextManager[Database]:
        """A database with nothing in it, gone after the block. Several may be there, each of another name."""
        ...


def open_place(store: str, folder: Path) -> AbstractContextManager[Place]:
    """The place for the databases of a store, one of ``STORES``. Raises NotHere where the server cannot be had."""
    return cast("AbstractContextManager[Place]", _module(store).open_place(folder))


def find(store: str, url: str) -> Database:
    """A database that another process has made."""
    return cast("Database", _module(store).find(url))


def _module(store: str) -> Any:
    return import_module(f".{store}", __package__)
