"""From the server's answers to value classes.

What must stay true: the order of the fields is that of ``FIELDS`` in ``lua/prelude.lua``. One saga that somebody has
edited must not hide the others: what cannot be read is handed on as it is, and whoever reads the saga finds out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from sagafsm.store import Record, Snapshot, StoredEvent, StoredSaga

_Head = tuple[str, str, float]
_head = msgspec.json.Decoder(_Head).decode
_tags = msgspec.json.Decoder(dict[str, str]).decode
WIDTH = 20


def read_events(items: Sequence[bytes], after: int) -> tuple[StoredEvent, ...]:
    """Events from a list's items; the first one has the number ``after`` + 1."""
    return tuple(_event(number, item) for number, item in enumerate(items, after + 1))


def _event(number: int, item: bytes) -> StoredEvent:
    head, _, data = item.partition(b"\n")
    try:
        _, kind, at = _head(head)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return StoredEvent(number, "", 0.0, item)
    return StoredEvent(number, kind, at, data)


def read_record(saga_id: str, values: Sequence[Any]) -> Record:
    """A record from its fields."""
    (
        saga_type, kind, state, outcome, stuck, suspended, version, fence, owner, due_at, attention,
        correlation_id, digest, created_at, updated_at, finished_at, parent_id, tags, problem, _,
    ) = values[:WIDTH]  # fmt: skip
    return Record(
        saga_id=saga_id,
        saga_type=_text(saga_type) or "",
        kind=_text(kind) or "",
        state=_text(state) or "",
        outcome=_text(outcome),
        stuck=stuck is not None,
        suspended=suspended is not None,
        version=_number(version),
        fence=_number(fence),
        owner=_text(owner),
        due_at=_time(due_at),
        attention=attention is not None,
        correlation_id=_text(correlation_id) or "",
        digest=_text(digest) or "",
        created_at=_time(created_at) or 0.0,
        updated_at=_time(updated_at) or 0.0,
        finished_at=_time(finished_at),
        parent_id=_text(parent_id),
        tags=_pairs(tags),
        problem=_text(problem),
    )


def read_saga(saga_id: str, values: Sequence[Any]) -> StoredSaga:
    """A saga from its fields, its snapshot and the events after that."""
    record = read_record(saga_id, values)
    after, data, items = values[WIDTH - 1 : WIDTH + 2]
    found = None if after is None or data is None else Snapshot(version=_number(after), data=data)
    return StoredSaga(record=record, snapshot=found, events=read_events(items, _number(after or b"0")))


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "surrogateescape")


def _number(value: bytes | None) -> int:
    try:
        return int(value or 0)
    except ValueError:
        return 0


def _time(value: bytes | None) -> float | None:
    try:
        return None if value is None else float(value)
    except ValueError:
        return 0.0


def _pairs(value: bytes | None) -> dict[str, str]:
    try:
        return _tags(value or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
