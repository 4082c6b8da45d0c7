"""Creates the schema and brings it up to date.

What must stay true: the version stands in the database and changes in the same transaction as the tables, so an
interrupted migration leaves the old version whole; the version is read again inside that transaction, so of several
processes that begin at once one migrates and the others find it done.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from sagafsm.core.errors import SettingsError, StoreCorrupt, StoreTooNew, StoreUnavailable

from ..queries import Queries
from .connection import Connection

META = "CREATE TABLE saga_meta (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"


class Schema:
    """The schema of one database; ``target`` is the version to reach (the newest; tests ask for older ones)."""

    def __init__(self, queries: Queries, *, target: int | None = None) -> None:
        self._migrations = queries.migrations()
        self.target = self._migrations[-1][0] if target is None else target

    def bring_up_to_date(self, connection: Connection) -> None:
        """Run the migrations that are missing. Raises StoreTooNew where a newer sagafsm has been here."""
        if self.check(connection.cursor(), connection) == self.target:
            return
        for number, _, text in self._migrations:
            with connection.transaction() as cursor:
                found = self.check(cursor, connection)
                if found < number <= self.target:
                    if found == 0:
                        self._refuse_strangers(cursor, connection)
                        cursor.execute(META)
                    for statement in split(text):
                        cursor.execute(statement)
                    cursor.execute("INSERT OR REPLACE INTO saga_meta VALUES ('schema_version', ?)", (str(number),))

    def require(self, connection: Connection) -> None:
        """Raise StoreUnavailable unless the schema is up to date."""
        found = self.check(connection.cursor(), connection)
        if found != self.target:
            raise StoreUnavailable(
                f"the schema of {connection.where} is at version {found}, and {self.target} is needed; open the store "
                "once with migrate=True (setup() does so by default)"
            )

    def check(self, cursor: sqlite3.Cursor, connection: Connection) -> int:
        """The version found, 0 for none."""
        with connection.translated():
            if not cursor.execute("SELECT 1 FROM sqlite_master WHERE name = 'saga_meta'").fetchone():
                return 0
            row = cursor.execute("SELECT value FROM saga_meta WHERE key = 'schema_version'").fetchone()
        if row is None or not str(row[0]).isdigit():
            raise StoreCorrupt(f"{connection.where} has a table saga_meta without a schema_version; restore a backup")
        found = int(row[0])
        if found > self._migrations[-1][0]:
            raise StoreTooNew(
                f"{connection.where} has schema version {found}; this sagafsm knows up to {self._migrations[-1][0]}: "
                "upgrade sagafsm here"
            )
        return found

    def _refuse_strangers(self, cursor: sqlite3.Cursor, connection: Connection) -> None:
        taken = cursor.execute(
            "SELECT name FROM sqlite_master WHERE name = 'sagas' OR name LIKE 'saga\\_%' ESCAPE '\\' LIMIT 1"
        ).fetchone()
        if taken:
            raise SettingsError(
                f"{connection.where} has a table '{taken[0]}' that sagafsm did not make; give sagafsm a file of its own"
            )


def split(text: str) -> Iterator[str]:
    """The statements of a file, one by one (a trigger is one statement)."""
    statement = ""
    for line in text.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement
