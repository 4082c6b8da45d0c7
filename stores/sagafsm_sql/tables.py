"""The tables as SQLAlchemy sees them, and the one query that is put together at run time: ``find``.

What must stay true: only columns that every dialect has; values always go in as parameters.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from sagafsm.core.lifecycle import SagaState
from sagafsm.cursor import parse_cursor
from sagafsm.store import Filter

sagas = sa.table(
    "sagas",
    *map(
        sa.column,
        ("id", "type", "state", "stuck", "suspended", "correlation_id", "parent_id", "created_at"),
    ),
)
saga_tags = sa.table("saga_tags", *map(sa.column, ("saga_id", "key", "value")))

TERMINAL = tuple(state.value for state in SagaState if state.terminal)


def find_ids(where: Filter, cursor: str | None, limit: int) -> sa.Select[Any]:
    """The ids of the records that match, in the order of (creation time, id), beginning after ``cursor``."""
    columns = sagas.c
    query = sa.select(columns.id).order_by(columns.created_at, columns.id).limit(limit)
    if where.state is not None:
        query = query.where(columns.state == where.state)
        if where.state == "failed":
            query = query.where(sa.literal_column("sagas.state = 'failed'"))
    if where.saga_type is not None:
        query = query.where(columns.type == where.saga_type)
    if where.stuck is not None:
        query = query.where(columns.stuck == int(where.stuck))
    if where.suspended is not None:
        query = query.where(columns.suspended == int(where.suspended))
    if where.live is False:
        query = query.where(_state_is("IN"))
    elif where.live or (where.state is not None and where.state not in TERMINAL):
        query = query.where(_state_is("NOT IN"))
    if where.correlation_id is not None:
        query = query.where(columns.correlation_id == where.correlation_id)
    if where.parent_id is not None:
        query = query.where(columns.parent_id == where.parent_id)
    if where.older_than is not None:
        query = query.where(columns.created_at < where.older_than)
    for key, value in where.tags.items():
        tagged = sa.select(saga_tags.c.saga_id).where(saga_tags.c.key == key, saga_tags.c.value == value)
        query = query.where(columns.id.in_(tagged))
    if cursor is not None:
        created_at, saga_id = parse_cursor(cursor)
        query = query.where(sa.tuple_(columns.created_at, columns.id) > (created_at, saga_id))
    return query


def _state_is(operator: str) -> sa.ColumnElement[bool]:
    # Written out, not as parameters: a partial index is used only where its condition can be seen.
    return sa.literal_column(f"sagas.state {operator} ({', '.join(repr(state) for state in TERMINAL)})")
