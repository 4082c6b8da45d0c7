"""What a test can see of the sagas' file while processes work on it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any


class SagasFile:
    """The sagas' file in a folder, read with plain SQL; each look is a connection of its own."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "sagas.db"

    def rows(self, query: str, *values: object) -> list[Any]:
        """The rows, or their only values where a row is one value; none where there is no file or no table yet."""
        if not (self.path.exists() and self._select("SELECT 1 FROM sqlite_master WHERE name = 'saga_counts'")):
            return []
        return [row[0] if len(row) == 1 else row for row in self._select(query, *values)]

    def _select(self, query: str, *values: object) -> list[Any]:
        with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=20)) as db:
            return db.execute(query, values).fetchall()

    def count(self, where: str, *values: object) -> int:
        """How many sagas there are of which this holds."""
        return int(self.rows(f"SELECT count(*) FROM sagas WHERE {where}", *values)[0])

    def owned_by(self, pid: int) -> list[str]:
        """The live sagas that the worker of this process owns."""
        return self.rows(
            "SELECT id FROM sagas WHERE owner LIKE ? AND state NOT IN ('completed', 'failed')", f"%:%:{pid}:%"
        )

    def log(self) -> list[Any]:
        """All that ever happened, in the order in which it was written."""
        return self.rows("SELECT saga_id, seq, type, data FROM saga_events ORDER BY rowid")

    @property
    def all_ended(self) -> bool:
        """Whether every saga is terminal."""
        return self.count("state NOT IN ('completed', 'failed')") == 0
