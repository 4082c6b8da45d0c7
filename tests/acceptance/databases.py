"""The databases of the acceptance tests: a file, or a server of the test's own that may be killed and started again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path

import attrs

from tests.servers.base import Server
from tests.servers.mongodb import MongoDB
from tests.servers.plugin import Servers
from tests.servers.postgresql import PostgreSQL
from tests.servers.redis import Redis

SERVERS: dict[str, type[Server]] = {"postgresql": PostgreSQL, "redis": Redis, "mongodb": MongoDB}
KINDS = ["sqlite", *sorted(SERVERS.keys() & {entry.name for entry in entry_points(group="sagafsm.stores")})]


@attrs.frozen
class Database:
    """One empty database. ``server`` None: a file, in which nothing can be restarted."""

    url: str
    server: Server | None = None


@contextmanager
def database(kind: str, servers: Servers, folder: Path) -> Iterator[Database]:
    """A database of this kind; its server is gone when the block is left."""
    if kind == "sqlite":
        yield Database(f"sqlite:///{folder / 'sagas.db'}?timeout=20")
        return
    with servers.another(SERVERS[kind]) as server:
        yield Database(server.url, server)
