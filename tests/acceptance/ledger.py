"""The participants of the acceptance tests: one SQLite file with what they did, in order.

What must stay true, as of any good participant: one key, one effect; a compensation names the action it cancels, and
where that is not there (yet) a tombstone takes its place, so that a late action does nothing. Effect and receipt are
one transaction. An effect that happened twice, under two keys, stands in the book twice, for the audit to find.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

SCHEMA = """
CREATE TABLE IF NOT EXISTS calls (
    n INTEGER PRIMARY KEY, saga_id TEXT NOT NULL, step TEXT NOT NULL, key TEXT NOT NULL, attempt INTEGER NOT NULL,
    announced INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS effects (
    n INTEGER PRIMARY KEY, saga_id TEXT NOT NULL, step TEXT NOT NULL, via TEXT NOT NULL, undo INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS receipts (key TEXT PRIMARY KEY, happened INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS replies (
    n INTEGER PRIMARY KEY, saga_id TEXT NOT NULL, step TEXT NOT NULL, undo INTEGER NOT NULL,
    UNIQUE (saga_id, step, undo));
"""


@attrs.frozen
class Call:
    """One call of a participant: for which step, under which key, and how many of its calls the log announces."""

    saga_id: str
    step: str
    key: str
    attempt: int
    announced: int


@attrs.frozen
class Entry:
    """Something that a participant did, or undid."""

    saga_id: str
    step: str
    via: str
    undo: bool


class Ledger:
    """A book, opened anew for every entry: a killed process leaves nothing open."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "ledger.db"
        self.sagas = folder / "sagas.db"

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self.path, isolation_level=None, timeout=20)
        try:
            # A kill loses nothing that the system has taken over, and the power stays on.
            connection.execute("PRAGMA synchronous = OFF")
            connection.executescript(SCHEMA)
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        finally:
            connection.close()

    # --- what participants do ---

    def called(self, saga_id: str, step: str, key: str, attempt: int) -> None:
        """Note that a call has come in, before anything is done about it."""
        announced = self._announced(saga_id, key)
        with self._transaction() as db:
            values = (saga_id, step, key, attempt, announced)
            db.execute("INSERT INTO calls (saga_id, step, key, attempt, announced) VALUES (?, ?, ?, ?, ?)", values)

    def _announced(self, saga_id: str, key: str) -> int:
        """How many calls under this key the saga's log has announced at this moment; 0 where it is no file here."""
        if not self.sagas.exists():
            return 0
        connection = sqlite3.connect(f"file:{self.sagas}?mode=ro", uri=True, timeout=20)
        try:
            query = (
                "SELECT count(*) FROM saga_events WHERE saga_id = ? AND data ->> 'idempotency_key' = ?"
                " AND type IN ('AttemptStarted', 'CompensationAttemptStarted')"
            )
            return int(connection.execute(query, (saga_id, key)).fetchone()[0])
        finally:
            connection.close()

    def do(self, saga_id: str, step: str, via: str, key: str, *, reply: bool = False) -> None:
        """Do it, unless that key was seen before. ``reply``: say so later, by a reply that is not lost."""
        with self._transaction() as db:
            if not db.execute("SELECT 1 FROM receipts WHERE key = ?", (key,)).fetchone():
                self._write(db, saga_id, step, via, key, undo=False)
            if reply:
                db.execute("INSERT OR IGNORE INTO replies (saga_id, step, undo) VALUES (?, ?, 0)", (saga_id, step))

    def undo(self, saga_id: str, step: str, via: str, key: str, cancels: str, *, reply: bool = False) -> None:
        """Undo what was done under the key ``cancels``; where nothing was, see to it that nothing will be."""
        with self._transaction() as db:
            if not db.execute("SELECT 1 FROM receipts WHERE key = ?", (key,)).fetchone():
                done = db.execute("SELECT happened FROM receipts WHERE key = ?", (cancels,)).fetchone()
                if done is None:
                    db.execute("INSERT INTO receipts VALUES (?, 0)", (cancels,))
                if done == (1,):
                    self._write(db, saga_id, step, via, key, undo=True)
                else:
                    db.execute("INSERT INTO receipts VALUES (?, 0)", (key,))
            if reply:
                db.execute("INSERT OR IGNORE INTO replies (saga_id, step, undo) VALUES (?, ?, 1)", (saga_id, step))

    def _write(self, db: sqlite3.Connection, saga_id: str, step: str, via: str, key: str, *, undo: bool) -> None:
        values = (saga_id, step, via, undo)
        db.execute("INSERT INTO effects (saga_id, step, via, undo) VALUES (?, ?, ?, ?)", values)
        db.execute("INSERT INTO receipts VALUES (?, 1)", (key,))

    def delivered(self, saga_id: str, step: str, *, undo: bool) -> None:
        """The reply has arrived: it need not be sent again."""
        with self._transaction() as db:
            db.execute("DELETE FROM replies WHERE saga_id = ? AND step = ? AND undo = ?", (saga_id, step, undo))

    # --- what an audit reads ---

    def replies(self) -> list[tuple[str, str, bool]]:
        """The replies that are still to be delivered."""
        with self._transaction() as db:
            rows = db.execute("SELECT saga_id, step, undo FROM replies ORDER BY n").fetchall()
        return [(saga_id, step, bool(undo)) for saga_id, step, undo in rows]

    def calls(self) -> list[Call]:
        """Every call, in order."""
        with self._transaction() as db:
            rows = db.execute("SELECT saga_id, step, key, attempt, announced FROM calls ORDER BY n").fetchall()
        return [Call(*row) for row in rows]

    def entries(self) -> list[Entry]:
        """What was done and undone, in order."""
        with self._transaction() as db:
            rows = db.execute("SELECT saga_id, step, via, undo FROM effects ORDER BY n").fetchall()
        return [Entry(saga_id, step, via, bool(undo)) for saga_id, step, via, undo in rows]
