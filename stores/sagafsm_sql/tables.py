"""The tables as SQLAlchemy sees them, and the one query that is put together at run time: ``find``.

What must stay true: only columns that every dialect has; values always go in as parameters.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from sagafsm.core.lifecycle import SagaState
from sagafsm.cursor import parse_cursor
from sagafsm.store import Filter

COLUMNS = ("id", "type", "state", "stuck", "suspended", "correlation_id", "parent_id", "created_at", "finished_at")
TERMINAL = tuple(state.value for state in SagaState if state.terminal)


class Tables:
    """``schema``: where the tables are, if they have to be named with it. ``flag``: how one says that a flag is set.

    ``ordered_tags``: the tags know when their saga was created, so that what bears one can be read in that order; of
    several tags the first should be the rarest.
    """

    def __init__(self, *, schema: str | None = None, flag: str = "{} = 1", ordered_tags: bool = False) -> None:
        self._sagas = sa.table("sagas", *map(sa.column, COLUMNS), schema=schema)
        self._tags = sa.table("saga_tags", *map(sa.column, ("saga_id", "key", "value", "created_at")), schema=schema)
        self._flag = flag
        self._ordered_tags = ordered_tags

    def find_ids(self, where: Filter, cursor: str | None, limit: int) -> sa.Select[Any]:
        """The ids of the records that match, in the order of (creation time, id), beginning after ``cursor``."""
        columns, others = self._sagas.c, dict(where.tags)
        query, place = sa.select(columns.id), (columns.created_at, columns.id)
        if self._ordered_tags and others and _only_tags_are_rare(where):
            tags = self._tags.c
            key = next(iter(others))
            query = sa.select(tags.saga_id).join_from(self._tags, self._sagas, columns.id == tags.saga_id)
            query = query.where(tags.key == key, tags.value == others.pop(key))
            place = (tags.created_at, tags.saga_id)
        query = query.order_by(*place).limit(limit)
        for condition in self._rare(where):
            query = query.where(sa.literal_column(condition))
        for column, value in (
            (columns.state, where.state),
            (columns.type, where.saga_type),
            (columns.stuck, where.stuck),
            (columns.suspended, where.suspended),
            (columns.parent_id, where.parent_id),
        ):
            if value is not None:
                query = query.where(column == value)
        if where.correlation_id is not None:
            same = columns.correlation_id == where.correlation_id
            differs: sa.ColumnElement[bool] = sa.literal_column("sagas.correlation_id <> sagas.id")
            query = query.where(sa.or_(sa.and_(columns.id == where.correlation_id, same), sa.and_(same, differs)))
        if where.older_than is not None:
            query = query.where(columns.created_at < where.older_than)
        if where.finished_before is not None:
            query = query.where(columns.finished_at < where.finished_before)
        for key, value in others.items():
            query = query.where(self._bears(key, value))
        if cursor is not None:
            query = query.where(sa.tuple_(*place) > parse_cursor(cursor))
        return query

    def _bears(self, key: str, value: str) -> sa.ColumnElement[bool]:
        """That a saga bears a tag."""
        other = self._tags.alias()
        tagged = sa.select(other.c.saga_id).where(other.c.key == key, other.c.value == value)
        if not self._ordered_tags:
            return self._sagas.c.id.in_(tagged)
        return sa.exists(tagged.where(other.c.saga_id == self._sagas.c.id).correlate(self._sagas))

    def _rare(self, where: Filter) -> Iterator[str]:
        """The conditions for which there are partial indexes.

        Written out, not as parameters: such an index is used only where its own condition can be seen in the query.
        """
        terminal = ", ".join(repr(state) for state in TERMINAL)
        if where.live is False or where.finished_before is not None:
            yield f"sagas.state IN ({terminal})"
        if where.live or (where.state is not None and where.state not in TERMINAL):
            yield f"sagas.state NOT IN ({terminal})"
        if where.state == SagaState.FAILED.value:
            yield f"sagas.state = {SagaState.FAILED.value!r}"
        if where.stuck:
            yield self._flag.format("sagas.stuck")
        if where.suspended:
            yield self._flag.format("sagas.suspended")


def _only_tags_are_rare(where: Filter) -> bool:
    """Whether no other index finds few sagas."""
    live = where.live or (where.state is not None and where.state not in TERMINAL)
    return not (live or where.stuck or where.suspended or where.correlation_id or where.parent_id)
