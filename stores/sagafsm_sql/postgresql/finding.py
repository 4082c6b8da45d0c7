"""The one query that is put together at run time: ``find``, by SQLAlchemy, for the driver."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Dialect
from sqlalchemy.dialects.postgresql import asyncpg as dialect

from sagafsm.store import Filter

from ..tables import Tables


class Finder:
    """Finds in one schema."""

    def __init__(self, schema: str) -> None:
        self._tables = Tables(schema=schema, flag="{}", ordered_tags=True)
        self._dialect: Dialect = dialect.dialect()  # type: ignore[no-untyped-call]

    def statement(self, where: Filter, cursor: str | None, limit: int) -> tuple[str, list[Any]]:
        """The statement, and its values in the order of their numbers."""
        query = self._tables.find_ids(where, cursor, limit)
        compiled = query.compile(dialect=self._dialect, compile_kwargs={"render_postcompile": True})
        return str(compiled), [compiled.params[name] for name in compiled.positiontup or ()]
