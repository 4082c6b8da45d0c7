"""Writes a batch of appends in one transaction, each with its own result.

What must stay true: the happy path is a handful of statements for the whole batch. Every statement that is stepped
hands the interpreter's lock to the event loop and waits to get it back, up to 5 ms where the loop is busy; with a
statement per append, a process whose loop was busy wrote 100 appends a second. Only when a count shows that some append
was refused is the batch taken back and gone through one by one, inside a new transaction; nobody has seen the first.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from sagafsm.store import Append, AppendResult, Committed, Conflict, Duplicate, Exists, Fenced, Refused

from ..queries import SIZES, Queries
from .errors import POISON
from .records import birth_values, steady_values, update_values


class Batch:
    """The values of a batch: for each statement the rows one after the other, as the driver wants them."""

    def __init__(self, appends: Iterable[Append]) -> None:
        self.creates: list[Any] = []
        self.advances: list[Any] = []
        self.updates: list[Any] = []
        self.events: list[Any] = []
        self.tags: list[Any] = []
        self.snapshots: list[Any] = []
        add_event = self.events.extend
        for append in appends:
            saga_id, append_id, seq = append.saga_id, append.append_id, append.expected_version
            if append.birth is not None and seq == 0:
                self.creates += birth_values(append, append.birth)
                for key, value in append.birth.tags.items():
                    self.tags += (saga_id, key, value)
            elif append.steady:
                self.advances += steady_values(append)
            else:
                self.updates += update_values(append)
            for event in append.events:
                seq += 1
                # As text: the driver is slow with bytes, and people read this column.
                add_event((saga_id, seq, event.type, event.at, event.data.decode(), append_id))
            if append.snapshot is not None:
                self.snapshots += (saga_id, append.snapshot.version, append.snapshot.data.decode())


class Writer:
    """Writes appends through one connection; the caller begins and commits."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    def write(self, cursor: sqlite3.Cursor, batch: Sequence[Append]) -> list[AppendResult] | None:
        """Write all of them; None (and anything may stand in the open transaction) where one was refused."""
        if not all(map(_well_formed, batch)):
            return None
        try:
            rows = Batch(batch)
            if not self._apply(cursor, rows):
                return None
        except POISON:
            return None
        return [Committed(append.expected_version + len(append.events)) for append in batch]

    def _apply(self, cursor: sqlite3.Cursor, rows: Batch) -> bool:
        for name, values in (
            ("create_sagas", rows.creates),
            ("advance_sagas", rows.advances),
            ("update_sagas", rows.updates),
        ):
            if values and not self._many(cursor, name, values):
                return False
        for name, values in (("add_events", rows.events), ("add_tags", rows.tags), ("save_snapshots", rows.snapshots)):
            if values:
                self._many(cursor, name, values)
        return True

    def _many(self, cursor: sqlite3.Cursor, name: str, values: list[Any]) -> bool:
        """Run a statement for all rows, in as few pieces as there are sizes; return whether each row took effect."""
        width = self._queries.width(name)
        start, left, changed = 0, len(values) // width, 0
        for size in SIZES:
            while left >= size:
                end = start + size * width
                changed += cursor.execute(self._queries.many(name, size), values[start:end]).rowcount
                start, left = end, left - size
        return changed == len(values) // width

    def write_each(self, cursor: sqlite3.Cursor, batch: Sequence[Append]) -> list[AppendResult]:
        """Write those that can be written, one by one, and say of each other one why not."""
        return [self._write_one(cursor, append) for append in batch]

    def _write_one(self, cursor: sqlite3.Cursor, append: Append) -> AppendResult:
        if not _well_formed(append):
            return Refused("a saga is created with its birth and at least one event")
        try:
            refused = self._refuse(cursor, append)
            if refused is not None:
                return refused
            rows = Batch([append])
            cursor.execute("SAVEPOINT append")
            try:
                applied = self._apply(cursor, rows)
            except POISON:
                cursor.execute("ROLLBACK TO append")
                cursor.execute("RELEASE append")
                raise
            cursor.execute("RELEASE append")
        except POISON as exc:
            return Refused(f"{type(exc).__name__}: {exc}")
        if not applied:
            return Refused("the saga's row is damaged: it does not match what was read from it")
        return Committed(append.expected_version + len(append.events))

    def _refuse(self, cursor: sqlite3.Cursor, append: Append) -> AppendResult | None:
        """Why this append cannot be accepted as things stand; None where it can."""
        expected = append.expected_version
        row = cursor.execute(self._queries["head"], (expected + 1, append.saga_id)).fetchone()
        if row is None:
            return None if expected == 0 else Conflict(0)
        version, fence, digest, append_id = row
        if version != expected and append.events and append_id == append.append_id:
            return Duplicate(version)
        if expected == 0:
            return Exists(same=append.birth is not None and append.birth.digest == digest)
        if version != expected:
            return Conflict(version)
        return Fenced(fence) if fence != append.fence else None


def _well_formed(append: Append) -> bool:
    return append.expected_version != 0 or (append.birth is not None and len(append.events) > 0)
