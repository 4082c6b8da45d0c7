"""The book of a participant: one SQLite file with its receipts, its ledger and its log of calls.

What must stay true:

* One key, one answer: a call that comes again is answered from its receipt and does nothing.
* A compensation names the action it cancels. If that action is not there, a tombstone takes its place: there is
  nothing to undo, and the action, should it still come, is refused. Settling an action does the same.
* Effect, balance and receipt are one transaction. Ledgers are only ever added to, under the key of the call, so that
  an effect that happened twice stands in the book twice, for an audit to find.

Nothing heavy is imported: a participant is to be up at once.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

SCHEMA = """
create table receipts (
    n integer primary key, key text not null unique, operation text not null, order_id text not null,
    payload text, cancels text, status integer not null, answer text not null);
create index receipts_cancels on receipts (cancels) where cancels is not null;
create table calls (
    n integer primary key, key text not null, operation text not null, order_id text not null,
    attempt integer not null, fault text not null, verdict text not null);
"""


@dataclass(frozen=True, slots=True)
class Call:
    """One request to a participant. Its body may name the action it ``cancels``, or is about, by that action's key."""

    operation: str
    key: str
    order_id: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a participant answers: an HTTP status and a JSON object; ``verdict`` says why, for the log of calls."""

    status: int
    body: Mapping[str, Any]
    verdict: str = "done"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a key was answered. Without a ``payload`` it is a tombstone: the call it stands for never came."""

    operation: str
    payload: str | None
    status: int
    answer: Mapping[str, Any]


class Refused(Exception):
    """An action that business does not allow; ``status`` is the HTTP status that says so."""

    def __init__(self, message: str, status: int = 409) -> None:
        super().__init__(message)
        self.status = status


class Misused(Exception):
    """A call that breaks the protocol: it is answered with 422, and nothing is remembered of it."""


class Book:
    """A participant's book, and what can be done in it. A subclass keeps one ledger and does the effects.

    ``actions`` do something, each ``compensations`` entry undoes the action it is mapped to, and ``settlements`` find
    out whether an action happened and, if it did not, make sure that it never will. Safe for several threads.
    """

    schema: ClassVar[str]
    actions: ClassVar[frozenset[str]]
    compensations: ClassVar[Mapping[str, str]] = {}
    settlements: ClassVar[Mapping[str, str]] = {}

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("pragma journal_mode = wal")
        # A participant's process is not what the demo kills, and NORMAL keeps the book whole if it were.
        self._db.execute("pragma synchronous = normal")
        self._db.executescript("begin;" + SCHEMA + self.schema + "commit;")
        with self._db:
            self.open(self._db)

    def open(self, db: sqlite3.Connection) -> None:
        """Write the opening balances."""
        raise NotImplementedError

    def act(self, db: sqlite3.Connection, call: Call) -> Mapping[str, Any]:
        """Do the effect of an action and return its result; raise :class:`Refused` if it is not allowed."""
        raise NotImplementedError

    def undo(self, db: sqlite3.Connection, call: Call, result: Mapping[str, Any]) -> None:
        """Undo the action ``call.cancels``, which had this result."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def knows(self, operation: str) -> bool:
        """Whether there is such an operation."""
        return operation in self.actions or operation in self.compensations or operation in self.settlements

    def log(self, call: Call, attempt: int, fault: str, verdict: str) -> None:
        """Note a call, for the count of what went wrong."""
        with self._lock:
            self._db.execute(
                "insert into calls (key, operation, order_id, attempt, fault, verdict) values (?, ?, ?, ?, ?, ?)",
                (call.key, call.operation, call.order_id, attempt, fault, verdict),
            )

    def receive(self, call: Call) -> Answer:
        """Answer a call: do it, or answer as before if it was done before. All in one transaction."""
        with self._lock:
            self._db.execute("begin immediate")
            try:
                answer = self._receive(call)
            except Misused as misuse:
                self._db.execute("rollback")
                return Answer(422, {"error": str(misuse)}, "refused: misuse")
            except BaseException:
                self._db.execute("rollback")
                raise
            self._db.execute("commit")
        return answer

    def _receive(self, call: Call) -> Answer:
        if call.operation in self.settlements:
            return self._settlement(call)
        payload = json.dumps([call.operation, call.body], sort_keys=True)
        before = self._receipt(call.key)
        if before is not None:
            if before.payload is None:
                return Answer(before.status, before.answer, "refused: cancelled before")
            if before.payload != payload:
                raise Misused(f"key {call.key} was used for another request")
            return Answer(before.status, before.answer, "answered again")
        if call.operation in self.actions:
            return self._action(call, payload)
        return self._compensation(call, payload)

    def _action(self, call: Call, payload: str) -> Answer:
        self._db.execute("savepoint effect")
        try:
            answer = Answer(200, self.act(self._db, call))
        except Refused as refusal:
            self._db.execute("rollback to effect")
            answer = Answer(refusal.status, {"error": str(refusal)}, "refused: business")
        self._db.execute("release effect")
        self._write(call, Receipt(call.operation, payload, answer.status, answer.body))
        return answer

    def _compensation(self, call: Call, payload: str) -> Answer:
        action = self._happened(call, self.compensations)
        again = self._db.execute("select 1 from receipts where cancels = ?", (call.body["cancels"],)).fetchone()
        if action is None:
            answer = Answer(200, {"undone": False}, "nothing to undo")
        elif again is not None:
            answer = Answer(200, {"undone": False}, "undone before")
        else:
            self.undo(self._db, call, action)
            answer = Answer(200, {"undone": True})
        receipt = Receipt(call.operation, payload, answer.status, answer.body)
        self._write(call, receipt, cancels=call.body["cancels"])
        return answer

    def _settlement(self, call: Call) -> Answer:
        # No receipt of its own: what it says cannot change any more. Nor a key: it may come under the action's.
        action = self._happened(call, self.settlements)
        if action is None:
            return Answer(200, {"happened": False}, "settled: did not happen")
        return Answer(200, {"happened": True, "result": action}, "settled: happened")

    def _happened(self, call: Call, about: Mapping[str, str]) -> Mapping[str, Any] | None:
        """The result of the action that the call is about; None if it did not happen, and then it never will."""
        operation, key = about[call.operation], call.body.get("cancels")
        if not isinstance(key, str):
            raise Misused(f"{call.operation} must name the {operation} it is about: 'cancels' is that one's key")
        before = self._receipt(key)
        if before is None:
            tombstone = Receipt(operation, None, 409, {"error": f"cancelled by {call.operation} before it came"})
            self._write(call, tombstone, key=key)
            return None
        if before.operation != operation:
            raise Misused(f"{call.operation} undoes a {operation}; {key} is the key of a {before.operation}")
        return before.answer if before.status == 200 else None

    def _receipt(self, key: str) -> Receipt | None:
        row = self._db.execute(
            "select operation, payload, status, answer from receipts where key = ?", (key,)
        ).fetchone()
        return None if row is None else Receipt(row[0], row[1], row[2], json.loads(row[3]))

    def _write(self, call: Call, receipt: Receipt, *, key: str | None = None, cancels: str | None = None) -> None:
        self._db.execute(
            "insert into receipts (key, order_id, cancels, operation, payload, status, answer)"
            " values (?, ?, ?, ?, ?, ?, ?)",
            (
                key or call.key, call.order_id, cancels,
                receipt.operation, receipt.payload, receipt.status, json.dumps(receipt.answer),
            ),
        )  # fmt: skip
