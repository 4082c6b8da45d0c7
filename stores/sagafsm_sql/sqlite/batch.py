"""A batch of appends as the rows of one statement.

What must stay true: the values are in the order of the columns of ``saga_appends`` (migration 0005). Every value costs
time under the interpreter's lock, while neither the event loop nor SQLite gets on: so a row ends with the last column
that it needs, and a batch is as wide as its widest row. Everything is made ready on the event loop, so that the
writer's thread has next to nothing left to do in Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

from sagafsm.store import Append, AppendResult, Birth, Committed, NewEvent

from .errors import POISON

STATEMENTS = {11: "append_steps", 16: "append_moves", 22: "append_births", 26: "append_all"}
"""The statement for rows of so many values."""

_NO_EVENT = (None, None)
_NO_BIRTH = (None,) * 6

Row = tuple[Any, ...]


class Batch:
    """``rows`` of all appends, and the ``results`` if all of it is accepted.

    ``rows`` is None where an append cannot even be written down: then each has to be tried alone.
    """

    def __init__(self, appends: Sequence[Append]) -> None:
        self.appends = appends
        self.rows: list[Row] | None = []
        self.results: list[AppendResult] = []
        try:
            for append in appends:
                if not is_well_formed(append):
                    self.rows = None
                    return
                _add(self.rows, append)
                self.results.append(Committed(append.expected_version + len(append.events)))
        except POISON:
            self.rows = None


def is_well_formed(append: Append) -> bool:
    """Whether an append that creates a saga says all that this takes."""
    return append.expected_version != 0 or (append.birth is not None and len(append.events) > 0)


def statement_width(rows: Sequence[Row]) -> int:
    """How many values each row of the statement takes that these can be written with."""
    longest = max(map(len, rows))
    return next(width for width in STATEMENTS if width >= longest)


def flat(rows: Sequence[Row], width: int, count: int) -> list[Any]:
    """The values of ``rows``, each filled up to ``width``, and of rows that do nothing up to ``count``."""
    values: list[Any] = []
    for row in rows:
        values += row
        if len(row) < width:
            values += (None,) * (width - len(row))
    values += (None,) * (width * (count - len(rows)))
    return values


def _add(rows: list[Row], append: Append) -> None:
    saga_id, expected, events, at = append.saga_id, append.expected_version, append.events, append.updated_at
    version = expected + len(events)
    if len(events) == 2 and events[0].at == at == events[1].at:  # by far the most frequent case
        first, second = events
        # As text: the driver is slow with bytes, and people read this column.
        told: Row = (first.type, first.data.decode(), second.type, second.data.decode())
        later: Sequence[NewEvent] = ()
    elif events and events[0].at == at:
        told, later = (events[0].type, events[0].data.decode(), *_NO_EVENT), events[1:]
    else:
        told, later = _NO_EVENT + _NO_EVENT, events
    if append.steady and expected:
        rows.append(("steady", saga_id, expected, version, append.fence, append.append_id, at, *told))
    else:
        mode = "update" if expected else "create"
        row = (mode, saga_id, expected, version, append.fence, append.append_id, at, *told,
               append.state, append.outcome, append.owner, append.due_at, append.finished_at)  # fmt: skip
        birth = append.birth if not expected else None
        if birth is not None:
            row += _birth(birth)
        if append.stuck or append.suspended or append.attention or append.problem is not None:
            if birth is None:
                row += _NO_BIRTH
            # int(): the driver takes four times as long over a bool as over an int.
            row += (int(append.stuck), int(append.suspended), int(append.attention), append.problem)
        rows.append(row)
        if birth is not None:
            for key, value in birth.tags.items():
                rows.append(("tag", saga_id, None, None, None, None, None, key, value, *_NO_EVENT))
    if later:
        _add_events(rows, append, version - len(later), later)
    if append.snapshot is not None:
        text = append.snapshot.data.decode()
        rows.append(("snapshot", saga_id, None, append.snapshot.version, None, None, None, None, text, *_NO_EVENT))


def _add_events(rows: list[Row], append: Append, after: int, events: Sequence[NewEvent]) -> None:
    """Rows of up to two events each, which have their time in common."""
    for at, group in groupby(events, attrgetter("at")):
        same = list(group)
        for start in range(0, len(same), 2):
            first, *rest = same[start : start + 2]
            told = (rest[0].type, rest[0].data.decode()) if rest else _NO_EVENT
            rows.append(("events", append.saga_id, after, None, None, append.append_id, at,
                         first.type, first.data.decode(), *told))  # fmt: skip
            after += 1 + len(rest)


def _birth(birth: Birth) -> Row:
    return (birth.saga_type, birth.kind, birth.correlation_id, birth.parent_id, birth.digest, birth.created_at)
