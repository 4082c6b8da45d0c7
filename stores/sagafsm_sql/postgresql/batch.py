"""A batch of appends as the arrays of rows that the function ``saga_commit`` takes.

What must stay true: the values are in the order of the types' attributes (migration 0004); the rows in the order of
their ids, because in that order they are locked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any

from sagafsm.store import Append, AppendResult, Committed, NewEvent, Refused

MOST_BYTES = 16_000_000
"""In one statement; a message to the server can be a gigabyte long, and it is all in memory there."""

Row = tuple[Any, ...]
_NO_EVENT = (None, None, None)
_STEADY = (None,) * 9
_id = itemgetter(0)


class Batch:
    """``results``: one per append if all of it is accepted. ``news``: whether other processes should be told."""

    def __init__(self, appends: Sequence[Append]) -> None:
        self.appends = appends
        self.results: list[AppendResult] = []
        self.news = False
        self._updates: list[Row] = []
        self._births: list[Row] = []
        self._more: list[Row] = []
        self._tags: list[Row] = []
        self._snapshots: list[Row] = []
        for append in appends:
            self._add(append)

    def arrays(self) -> tuple[list[Row] | None, ...]:
        """What ``saga_commit`` takes."""
        self._updates.sort(key=_id)
        self._births.sort(key=_id)
        return (
            self._updates or None, self._births or None, self._more or None, self._tags or None, self._snapshots or None
        )  # fmt: skip

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write."""
        return not self._updates and not self._births

    def _add(self, append: Append) -> None:
        saga_id, expected, events = append.saga_id, append.expected_version, append.events
        version = expected + len(events)
        if append.steady and expected and len(events) == 2 and append.snapshot is None:  # by far the most frequent
            first, second = events
            self._updates.append((
                saga_id, expected, version, append.fence, append.append_id, append.updated_at,
                first.type, first.at, first.data.decode(), second.type, second.at, second.data.decode(),
                None, None, None, None, None, None, None, None, None,
            ))  # fmt: skip
            self.results.append(Committed(version))
            return
        told = _pair(events)
        if append.steady and expected:
            self._updates.append(
                (saga_id, expected, version, append.fence, append.append_id, append.updated_at, *told, *_STEADY)
            )
        else:
            moved = (
                append.state, append.outcome, append.stuck, append.suspended, append.owner, append.due_at,
                append.attention, append.finished_at, append.problem,
            )  # fmt: skip
            self.news = self.news or append.owner is None or append.attention
            if expected:
                self._updates.append(
                    (saga_id, expected, version, append.fence, append.append_id, append.updated_at, *told, *moved)
                )
            else:
                birth = append.birth
                if birth is None or not events:
                    self.results.append(Refused("a saga is created with its birth and at least one event"))
                    return
                self._births.append((
                    saga_id, version, append.fence, append.append_id, append.updated_at, *told, *moved,
                    birth.saga_type, birth.kind, birth.correlation_id, birth.parent_id, birth.digest, birth.created_at,
                ))  # fmt: skip
                if birth.tags:
                    self._tags += [(saga_id, key, value, birth.created_at) for key, value in birth.tags.items()]
        for done in range(2, len(events), 2):
            self._more.append((saga_id, expected + 1 + done, append.append_id, *_pair(events[done : done + 2])))
        if append.snapshot is not None:
            self._snapshots.append((saga_id, append.snapshot.version, append.snapshot.data.decode()))
        self.results.append(Committed(version))


def _pair(events: Sequence[NewEvent]) -> Row:
    """The columns of the first two events, as text: people read them."""
    if not events:
        return _NO_EVENT + _NO_EVENT
    first = events[0]
    if len(events) == 1:
        return (first.type, first.at, first.data.decode(), *_NO_EVENT)
    second = events[1]
    return first.type, first.at, first.data.decode(), second.type, second.at, second.data.decode()


def pieces(appends: Sequence[Append]) -> Iterator[Sequence[Append]]:
    """What goes into one statement each: not too large, and no saga twice."""
    begin, size = 0, 0
    seen: set[str] = set()
    for place, append in enumerate(appends):
        length = 0
        for event in append.events:
            length += len(event.data)
        if (size and size + length > MOST_BYTES) or append.saga_id in seen:
            yield appends[begin:place]
            begin, size = place, 0
            seen.clear()
        size += length
        seen.add(append.saga_id)
    if begin < len(appends):
        yield appends[begin:]
