"""Writes a batch of appends in one statement, each with its own result.

What must stay true: the happy path is one statement for the whole batch, which is its own transaction. Every statement
that is stepped hands the interpreter's lock to the event loop and waits to get it back, up to 5 ms if the loop is busy;
with a statement per append, a process whose loop was busy wrote 100 appends a second. Only when that one statement is
refused (it then leaves nothing behind) is the batch gone through one by one, inside a transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from sagafsm.store import Append, AppendResult, Conflict, Duplicate, Exists, Fenced, Refused

from ..queries import Queries
from .batch import STATEMENTS, Batch, Row, flat, is_well_formed, statement_width
from .errors import POISON

MOST_ROWS = 1024
"""In one statement: at most 26 values each, and SQLite takes 32,766."""

STEP = 16  # rows


class Writer:
    """Writes appends through one connection; ``clock`` says whether a purged id is free again."""

    def __init__(self, queries: Queries, clock: Callable[[], float]) -> None:
        self._queries = queries
        self._clock = clock

    def is_one_statement(self, batch: Batch) -> bool:
        """Whether the batch can be written without a transaction around it."""
        return batch.rows is not None and len(batch.rows) <= MOST_ROWS

    def write(self, cursor: sqlite3.Cursor, batch: Batch) -> Sequence[AppendResult] | None:
        """Write all of it; None where one append was refused (earlier pieces may stand in an open transaction)."""
        if batch.rows is None:
            return None
        try:
            for start in range(0, len(batch.rows), MOST_ROWS):
                self._write_rows(cursor, batch.rows[start : start + MOST_ROWS])
        except POISON:
            return None
        return batch.results

    def _write_rows(self, cursor: sqlite3.Cursor, rows: Sequence[Row]) -> None:
        # Few sizes, so that each statement is compiled once and kept.
        size = 1 << (len(rows) - 1).bit_length() if len(rows) <= STEP else -(-len(rows) // STEP) * STEP
        width = statement_width(rows)
        cursor.execute(self._queries.many(STATEMENTS[width], size), flat(rows, width, size))

    def write_each(self, cursor: sqlite3.Cursor, batch: Sequence[Append]) -> list[AppendResult]:
        """Write those that can be written, one by one, and say of each other one why not."""
        return [self._write_one(cursor, append) for append in batch]

    def _write_one(self, cursor: sqlite3.Cursor, append: Append) -> AppendResult:
        if not is_well_formed(append):
            return Refused("a saga is created with its birth and at least one event")
        try:
            refused = self._refuse(cursor, append)
            if refused is not None:
                return refused
            batch = Batch([append])
            if batch.rows is None:
                return Refused("a text of it is not UTF-8")
            self._write_rows(cursor, batch.rows)  # refused, it leaves nothing behind
        except POISON as exc:
            return Refused(f"{type(exc).__name__}: {exc}")
        return batch.results[0]

    def _refuse(self, cursor: sqlite3.Cursor, append: Append) -> AppendResult | None:
        """Why this append cannot be accepted as things stand; None where it can."""
        expected = append.expected_version
        row = cursor.execute(self._queries["head"], (expected + 1, append.saga_id)).fetchone()
        if row is None:
            return self._refuse_purged(cursor, append) if expected == 0 else Conflict(0)
        version, fence, digest, append_id = row
        if version != expected and append.events and append_id == append.append_id:
            return Duplicate(version)
        if expected == 0:
            return Exists(same=append.birth is not None and append.birth.digest == digest)
        if version != expected:
            return Conflict(version)
        return Fenced(fence) if fence != append.fence else None

    def _refuse_purged(self, cursor: sqlite3.Cursor, append: Append) -> AppendResult | None:
        row = cursor.execute(self._queries["purged"], (append.saga_id,)).fetchone()
        if row is None:
            return None
        digest, until = row
        if until > self._clock():
            return Exists(same=append.birth is not None and append.birth.digest == digest, purged=True)
        cursor.execute(self._queries["free_id"], (append.saga_id,))
        return None
