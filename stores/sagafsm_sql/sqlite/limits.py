"""Counts calls under limits, for all processes that share the file.

What must stay true: what is granted is decided and written in one transaction; its cost depends on how many permits are
asked for, never on how many keys there were or how many permits are held under other names.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from sagafsm.rate import next_grant
from sagafsm.supports import CROWDED, Permit

from ..queries import Queries
from .records import pack, unpack

KEPT = 60.0  # seconds for which a rate that is no longer filled is kept: it may well be used again


class _Name:
    """What is known of one limit while a request is decided."""

    def __init__(self, filled_until: float | None, count: int, held: set[str]) -> None:
        self.filled_until = filled_until
        self.count = count
        self.held = held


class Limits:
    """Grants permits through one connection; the caller begins and commits."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    def acquire(self, cursor: sqlite3.Cursor, now: float, permits: Sequence[Permit]) -> list[float]:
        """Per permit 0.0 (granted) or the seconds until asking again makes sense."""
        wanted = list(dict.fromkeys(permit.name for permit in permits))
        tokens, workers = [permit.token for permit in permits], list({permit.worker_id for permit in permits})
        values = (pack(wanted), pack(tokens), pack(workers), now)
        found, known = cursor.execute(self._queries["limits"], values).fetchone()
        alive = set(unpack(found))
        names = {
            name: _Name(None if filled is None else float(filled), count, set(held))
            for name, filled, count, held in unpack(known)
        }
        holds: list[tuple[str, str, str]] = []
        filled: set[str] = set()
        waits = [
            self._grant(names[permit.name], permit, now, holds, filled) if permit.worker_id in alive else CROWDED
            for permit in permits
        ]
        if holds:
            cursor.execute(self._queries["hold"], (_rows(holds),))
        if filled:
            cursor.execute(self._queries["fill"], (_rows([(name, names[name].filled_until) for name in filled]),))
            cursor.execute(self._queries["forget_rates"], (now - KEPT,))
        return waits

    def _grant(
        self, name: _Name, permit: Permit, now: float, holds: list[tuple[str, str, str]], filled: set[str]
    ) -> float:
        if permit.concurrency is not None and permit.token in name.held:
            return 0.0
        wait = CROWDED if permit.concurrency is not None and name.count >= permit.concurrency else 0.0
        filled_until = name.filled_until
        if permit.rate is not None:
            until_then, filled_until = next_grant(name.filled_until, now, permit.rate, permit.burst)
            wait = max(wait, until_then)
        if wait:
            return wait
        if permit.concurrency is not None:
            name.held.add(permit.token)
            name.count += 1
            holds.append((permit.name, permit.token, permit.worker_id))
        if permit.rate is not None:
            name.filled_until = filled_until
            filled.add(permit.name)
        return 0.0

    def give_back(self, cursor: sqlite3.Cursor, worker_id: str, tokens: Sequence[str]) -> None:
        """Release what these tokens of the worker hold."""
        cursor.execute(self._queries["give_back"], (worker_id, pack(list(tokens))))


def _rows(rows: Sequence[tuple[Any, ...]]) -> str:
    return msgspec.json.encode(rows).decode()
