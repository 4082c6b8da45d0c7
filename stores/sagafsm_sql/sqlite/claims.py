"""Takes sagas for a worker.

What must stay true: the cost depends on how many sagas are taken, and on how many kinds and owners there are, never on
how many sagas are in flight, asleep or finished: per owner and kind the index is asked for what is due.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from sagafsm.store import Claim

from ..queries import SIZES, Queries
from .records import pack, read_saga, unpack


class Claims:
    """Claims through one connection; the caller begins and commits."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    def claim(
        self,
        cursor: sqlite3.Cursor,
        now: float,
        worker_id: str,
        kinds: Sequence[str],
        limit: int,
        saga_ids: Sequence[str] | None,
    ) -> Claim:
        until, attention, owners = cursor.execute(self._queries["owners"], (worker_id,)).fetchone()
        if until is None or until <= now:
            return Claim(sagas=(), attention=(), next_due=None, now=now)
        leases: dict[str | None, float] = {None: 0.0}
        leases.update((owner, float(lease)) for owner, lease in unpack(owners) if owner != worker_id)
        if saga_ids is not None:
            values = (pack(list(dict.fromkeys(saga_ids))), pack(kinds), worker_id, now)
            free = unpack(cursor.execute(self._queries["named"], values).fetchone()[0])
        else:
            free = self._due(cursor, now, [owner for owner, lease in leases.items() if lease <= now], kinds, limit)
        taken = pack(free[: max(limit, 0)])
        sagas = []
        if free and limit > 0:
            cursor.execute(self._queries["take"], (worker_id, taken))
            sagas = [read_saga(row) for row in unpack(cursor.execute(self._queries["load"], (taken, 1)).fetchone()[0])]
        next_due = self._next_due(cursor, leases, kinds)
        return Claim(
            sagas=sagas,
            attention=unpack(attention),
            next_due=None if next_due is None else max(next_due - now, 0.0),
            now=now,
        )

    def _due(
        self, cursor: sqlite3.Cursor, now: float, owners: Sequence[str | None], kinds: Sequence[str], limit: int
    ) -> list[str]:
        pairs = [(owner, kind, now, max(limit, 0)) for owner in owners for kind in dict.fromkeys(kinds)]
        found: list[tuple[float, str]] = []
        for statement, values in self._pieces("due", pairs, (None, "", 0.0, 0)):
            rows = unpack(cursor.execute(statement, values).fetchone()[0])
            found += [(float(due_at), saga_id) for due_at, saga_id in rows]
        return [saga_id for _, saga_id in sorted(found)]

    def _next_due(self, cursor: sqlite3.Cursor, leases: dict[str | None, float], kinds: Sequence[str]) -> float | None:
        pairs = [(owner, kind, lease) for owner, lease in leases.items() for kind in dict.fromkeys(kinds)]
        times = [
            cursor.execute(statement, values).fetchone()[0]
            for statement, values in self._pieces("next_due", pairs, (None, "", 0.0))
        ]
        return min((time for time in times if time is not None), default=None)

    def _pieces(
        self, name: str, rows: Sequence[tuple[Any, ...]], filler: tuple[Any, ...]
    ) -> list[tuple[str, list[Any]]]:
        """Statements over all rows, few of them, filled up to a size that is prepared with rows that find nothing."""
        pieces = []
        for start in range(0, len(rows), SIZES[0]):
            piece = list(rows[start : start + SIZES[0]])
            size = min(size for size in SIZES if size >= len(piece))
            piece += [filler] * (size - len(piece))
            pieces.append((self._queries.many(name, size), [value for row in piece for value in row]))
        return pieces
