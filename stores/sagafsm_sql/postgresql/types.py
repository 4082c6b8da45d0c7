"""What the driver has to know of types that are not built into it, asked for once and not by each connection.

What must stay true: asyncpg would ask with three statements on every new connection, and switch JIT off and on for the
session meanwhile; behind a pooler those may be three sessions. If a later asyncpg asks in another way, ours is
not called and everything still works, only slower.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any

import asyncpg  # type: ignore[import-untyped]

Looked = tuple[Sequence[Any], Any]


class KnownTypes:
    """The types of one database, shared by the connections to it; ``connection_class`` is for asyncpg.connect."""

    def __init__(self) -> None:
        rows: list[Any] = []

        class Connection(asyncpg.Connection):  # type: ignore[misc]
            """Remembers what others have learned."""

            __slots__ = ()

            async def _introspect_types(
                self, typeoids: Iterable[int], timeout: float | None
            ) -> tuple[Sequence[Any], Any]:
                asked = set(typeoids)
                if asked <= {row["oid"] for row in rows}:
                    # The name says that nothing was asked, so what was just prepared is still there.
                    return rows, SimpleNamespace(name="remembered")
                found, statement = await super()._introspect_types(asked, timeout)
                rows[:] = found
                return found, statement

        self.connection_class: type[Any] = Connection
