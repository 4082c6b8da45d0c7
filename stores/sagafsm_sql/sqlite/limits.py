"""Counts calls under limits, for all processes that share the file.

What must stay true: what is granted is decided and written in one transaction; its cost depends on how many permits are
asked for, never on how many keys there were or how many permits are held under other names.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from sagafsm.supports import Permit

from ..grants import Grants, LimitState
from ..queries import Queries
from .records import pack, unpack

KEPT = 60.0  # seconds for which a rate that is no longer filled is kept: it may well be used again
FORGET_MORE = 100


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
        names = {
            name: LimitState(None if until is None else float(until), count, held)
            for name, until, count, held in unpack(known)
        }
        grants = Grants(names, set(unpack(found)), now)
        waits = grants.decide(permits)
        if grants.holds:
            cursor.execute(self._queries["hold"], (_rows(grants.holds),))
        if grants.filled:
            filled = [(name, names[name].filled_until) for name in grants.filled]
            cursor.execute(self._queries["fill"], (_rows(filled),))
            # More than were just added, or they would pile up.
            cursor.execute(self._queries["forget_rates"], (now - KEPT, 2 * len(filled) + FORGET_MORE))
        return waits

    def give_back(self, cursor: sqlite3.Cursor, worker_id: str, tokens: Sequence[str]) -> None:
        """Release what these tokens of the worker hold."""
        cursor.execute(self._queries["give_back"], (worker_id, pack(list(tokens))))


def _rows(rows: Sequence[tuple[Any, ...]]) -> str:
    return msgspec.json.encode(rows).decode()
