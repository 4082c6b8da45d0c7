"""A batch of appends as the rows of one statement.

What must stay true: the values are in the order of the columns of ``saga_appends`` (migration 0003). Everything
is made ready on the event loop, so that the writer's thread has next to nothing left to do in Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sagafsm.store import Append, AppendResult, Birth, Committed, NewEvent

from .errors import POISON

WIDTH = 28
_NO_EVENT = (None, None, None)
_NO_RECORD = (None,) * 15
_NO_BIRTH = (None,) * 6
FILLER = (None,) * WIDTH
"""A row that does nothing."""


class Batch:
    """``values`` of all rows, one after the other, and the ``results`` if all of it is accepted.

    ``values`` is None where an append cannot even be written down: then each has to be tried alone.
    """

    def __init__(self, appends: Sequence[Append]) -> None:
        self.appends = appends
        self.values: list[Any] | None = []
        self.results: list[AppendResult] = []
        try:
            for append in appends:
                if not is_well_formed(append):
                    self.values = None
                    return
                _add(self.values, append)
                self.results.append(Committed(append.expected_version + len(append.events)))
        except POISON:
            self.values = None


def is_well_formed(append: Append) -> bool:
    """Whether an append that creates a saga says all that this takes."""
    return append.expected_version != 0 or (append.birth is not None and len(append.events) > 0)


def _add(values: list[Any], append: Append) -> None:
    saga_id, expected, events = append.saga_id, append.expected_version, append.events
    if append.steady and len(events) == 2 and expected and append.snapshot is None:  # by far the most frequent case
        first, second = events
        values += (
            "steady", saga_id, expected, expected + 2, append.updated_at, append.fence, append.append_id,
            first.type, first.at, first.data.decode(), second.type, second.at, second.data.decode(),
        )  # fmt: skip
        values += _NO_RECORD
        return
    version = expected + len(events)
    # A saga's first two events lie in its own row; there are hardly ever more.
    if append.steady and expected:
        values += ("steady", saga_id, expected, version, append.updated_at, append.fence, append.append_id)
        _add_events(values, events)
        values += _NO_RECORD
    else:
        mode = "update" if expected else "create"
        values += (mode, saga_id, expected, version, append.updated_at, append.fence, append.append_id)
        _add_events(values, events)
        # int(): the driver takes four times as long over a bool as over an int.
        values += (
            append.state, append.outcome, int(append.stuck), int(append.suspended), append.owner, append.due_at,
            int(append.attention), append.finished_at, append.problem,
        )  # fmt: skip
        values += _NO_BIRTH if append.birth is None else _birth(append.birth)
    for done in range(2, len(events), 2):
        values += ("events", saga_id, expected + done, None, None, None, append.append_id)
        _add_events(values, events[done : done + 2])
        values += _NO_RECORD
    if append.birth is not None and not expected:
        for key, value in append.birth.tags.items():
            values += ("tag", saga_id, None, None, None, None, None, key, None, value, *_NO_EVENT, *_NO_RECORD)
    if append.snapshot is not None:
        text = append.snapshot.data.decode()
        values += ("snapshot", saga_id, None, append.snapshot.version, None, None, None, None, None, text)
        values += (*_NO_EVENT, *_NO_RECORD)


def _add_events(values: list[Any], events: Sequence[NewEvent]) -> None:
    """The columns of up to two events. As text: the driver is slow with bytes, and people read this column."""
    if not events:
        values += _NO_EVENT + _NO_EVENT
        return
    first = events[0]
    values += (first.type, first.at, first.data.decode())
    if len(events) > 1:
        second = events[1]
        values += (second.type, second.at, second.data.decode())
    else:
        values += _NO_EVENT


def _birth(birth: Birth) -> tuple[Any, ...]:
    return (birth.saga_type, birth.kind, birth.correlation_id, birth.parent_id, birth.digest, birth.created_at)
