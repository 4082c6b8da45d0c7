"""Reads the SQL files: named statements, statements for many rows, and migrations in their order.

What must stay true: SQL lives in files; Python only binds parameters and repeats what a file marks as repeatable.
"""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.resources import files

SIZES = (256, 128, 64, 32, 16, 8, 4, 2, 1)
"""For how many rows statements are prepared: few sizes, so that each statement is compiled once and kept."""

_SQL = files("sagafsm_sql") / "sql"
_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_ROWS = re.compile(r"/\* rows \*/ (.+)")
_SELECT = re.compile(r"/\* select \*/ (.+)")


class Queries:
    """The named statements of one dialect: ``queries["load"]``; ``queries.many("add_events", 64)`` for 64 rows.

    ``schema``: what ``{schema}`` stands for in the files of a dialect that has schemas.
    """

    def __init__(self, dialect: str, *, schema: str = "") -> None:
        self.dialect = dialect
        self._schema = schema
        self._statements: dict[str, str] = {}
        for file in (_SQL / dialect).iterdir():
            if file.name.endswith(".sql"):
                _, *parts = _NAME.split(self.fill(file.read_text("utf-8")))
                self._statements.update(
                    (name, body.strip()) for name, body in zip(parts[::2], parts[1::2], strict=True)
                )
        rows = {name: _ROWS.search(body) for name, body in self._statements.items()}
        self._widths = {name: found[1].count("?") for name, found in rows.items() if found}
        self.many = lru_cache(maxsize=None)(self._many)

    def __getitem__(self, name: str) -> str:
        return self._statements[name]

    def fill(self, text: str) -> str:
        """A text with the name of the schema in it."""
        return text.replace("{schema}", self._schema) if self._schema else text

    def _many(self, name: str, rows: int) -> str:
        text = _ROWS.sub(lambda found: ", ".join([found[1]] * rows), self._statements[name])
        return _SELECT.sub(lambda found: " UNION ALL ".join([found[1]] * rows), text)

    def width(self, name: str) -> int:
        """How many values one row of a statement for many rows takes."""
        return self._widths[name]

    def migrations(self) -> list[tuple[int, str, str]]:
        """Number, name and text of each migration, in order."""
        found = []
        for file in (_SQL / self.dialect / "migrations").iterdir():
            number, _, rest = file.name.partition("_")
            if number.isdigit() and rest.endswith(".sql"):
                found.append((int(number), file.name, file.read_text("utf-8")))
        return sorted(found)
