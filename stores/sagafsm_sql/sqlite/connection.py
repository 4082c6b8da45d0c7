"""One connection to the database, and its transactions.

What must stay true: a connection is used by one thread at a time. A transaction is BEGIN IMMEDIATE … COMMIT:
a deferred one that begins to write later is refused at once where somebody else has written meanwhile. Only a writing
connection ever checkpoints, and only while it holds the lock (see lock.py).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import cast

import sqlalchemy
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from sagafsm.core.errors import OutcomeUnknown, StoreUnavailable

from .errors import translate
from .lock import FileLock
from .options import Options

CHECKPOINT_AFTER = 4000
"""Pages in the log after which it is copied into the database: more than SQLite's 1000, because a page that was written
several times meanwhile is copied once."""


def make_engine(options: Options) -> sqlalchemy.Engine:
    """An engine whose connections leave transactions to us; the reader's is closed by the writer's thread."""
    url = sqlalchemy.URL.create("sqlite", database=options.path or ":memory:")
    arguments = {
        "isolation_level": None,
        "timeout": options.timeout,
        "cached_statements": 256,
        "check_same_thread": False,
    }
    return sqlalchemy.create_engine(url, poolclass=NullPool, connect_args=arguments)


class Connection:
    """A connection that opens itself when it is first used, and again after it was given up.

    ``lock`` given: this one writes.
    """

    def __init__(self, engine: sqlalchemy.Engine, options: Options, *, writes: bool, lock: FileLock | None) -> None:
        self._engine = engine
        self._options = options
        self._writes = writes
        self._guard: AbstractContextManager[None] = lock or nullcontext()
        self._connection: sqlalchemy.Connection | None = None
        self._cursor: sqlite3.Cursor | None = None

    @property
    def where(self) -> str:
        return self._options.path or "the database in memory"

    def sqlalchemy(self) -> sqlalchemy.Connection:
        """The connection as SQLAlchemy knows it, for statements built with Core."""
        self.cursor()
        return cast(sqlalchemy.Connection, self._connection)

    def cursor(self) -> sqlite3.Cursor:
        """The driver's cursor, the same one each time."""
        if self._cursor is None:
            with self._guard, self.translated():
                self._cursor = self._open()
        return self._cursor

    def _open(self) -> sqlite3.Cursor:
        connection = self._engine.connect()
        try:
            raw = cast(sqlite3.Connection, connection.connection.driver_connection)
            cursor = raw.cursor()
            cursor.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_AFTER if self._writes else 0}")
            if self._writes:
                self._prepare_to_write(cursor)
            else:
                cursor.execute("PRAGMA query_only = ON")
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return cursor

    def _prepare_to_write(self, cursor: sqlite3.Cursor) -> None:
        wal = self._options.journal_mode == "WAL"
        cursor.execute(f"PRAGMA journal_mode = {'WAL' if wal else 'DELETE'}")
        # FULL in WAL mode syncs each commit; without WAL only EXTRA also syncs the journal's removal.
        cursor.execute(f"PRAGMA synchronous = {'FULL' if wal else 'EXTRA'}")
        cursor.execute("PRAGMA foreign_keys = ON")

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Errors of the driver inside the block leave it as ours."""
        try:
            yield
        except sqlite3.Error as exc:
            raise translate(exc, self.where) from exc
        except DBAPIError as exc:
            if isinstance(exc.orig, sqlite3.Error):
                raise translate(exc.orig, self.where) from exc.orig
            raise

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Cursor]:
        """A transaction that holds the write lock from its beginning; it is taken back if the block raises."""
        cursor = self.cursor()
        with self._guard:
            try:
                cursor.execute("BEGIN IMMEDIATE")
                yield cursor
            except sqlite3.Error as exc:
                self._rollback(cursor)
                raise translate(exc, self.where) from exc
            except BaseException:
                self._rollback(cursor)
                raise
            try:
                cursor.execute("COMMIT")
            except sqlite3.Error as exc:
                self._rollback(cursor)
                error = translate(exc, self.where, committing=True)
                if isinstance(error, OutcomeUnknown):
                    self._give_up()
                raise error from exc

    @contextmanager
    def statement(self) -> Iterator[sqlite3.Cursor]:
        """For one statement that is a transaction of its own."""
        cursor = self.cursor()
        with self._guard:
            try:
                yield cursor
            except sqlite3.Error as exc:
                self._rollback(cursor)
                error = translate(exc, self.where, committing=True)
                if isinstance(error, OutcomeUnknown):
                    self._give_up()
                raise error from exc

    @contextmanager
    def view(self) -> Iterator[sqlite3.Cursor]:
        """Several reads that see the same state of the database."""
        with self.translated():
            cursor = self.cursor()
            if cursor.connection.in_transaction:
                yield cursor
                return
            cursor.execute("BEGIN")
            try:
                yield cursor
            finally:
                self._rollback(cursor)

    def _rollback(self, cursor: sqlite3.Cursor) -> None:
        try:
            if cursor.connection.in_transaction:
                cursor.execute("ROLLBACK")
        except sqlite3.Error:
            self._give_up()

    def _give_up(self) -> None:
        """Leave a connection whose state is not known; the next use opens another. (In memory it is all there is.)"""
        if self._options.path is not None:
            self._close()

    def _close(self) -> None:
        connection, self._connection, self._cursor = self._connection, None, None
        if connection is not None:
            connection.close()

    def close(self, *others: Connection) -> None:
        """Close it and others, under its lock: the last one to be closed writes the log into the database."""
        if all(one._connection is None for one in (*others, self)):
            return  # no lock either: its file would lie beside a database that was never made
        try:
            with self._guard, self.translated():
                self._close_all(others)
        except StoreUnavailable:
            # Whoever holds the lock that long has the file open as well: ours is not the last connection.
            self._close_all(others)

    def _close_all(self, others: Sequence[Connection]) -> None:
        for connection in (*others, self):
            connection._close()
