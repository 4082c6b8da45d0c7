"""From rows to value classes.

What must stay true: the order of the values is the order of the columns in ``queries.sql``. Rows come back as one JSON
text per query: each row fetched, and each value not fetched as it is, costs more than decoding it here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from sagafsm.core.errors import StoreCorrupt
from sagafsm.store import Record, Snapshot, StoredEvent, StoredSaga

decode = msgspec.json.Decoder().decode


def unpack(text: bytes) -> Any:
    """What a query packed. Bytes that are no UTF-8 (somebody edited the file) are kept as they are, for one bad saga
    must not hide the others.
    """
    try:
        return decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        try:
            return json.loads(text.decode("utf-8", "surrogateescape"))
        except ValueError as exc:
            raise StoreCorrupt(f"a saga's row cannot be read: {exc}") from exc


def pack(values: Sequence[str]) -> str:
    """Values as one JSON parameter."""
    return msgspec.json.encode(values).decode()


def read_bytes(text: str) -> bytes:
    """The bytes that were stored as text."""
    return text.encode("utf-8", "surrogateescape")


def read_events(rows: Sequence[Sequence[Any]]) -> tuple[StoredEvent, ...]:
    """Events from rows of seq, type, at, data."""
    return tuple(StoredEvent(seq, kind, float(at), read_bytes(data)) for seq, kind, at, data in rows)


def _time(text: str | None) -> float | None:
    return None if text is None else float(text)


def read_saga(row: Sequence[Any]) -> StoredSaga:
    """A saga from a row of the query ``load``."""
    (
        saga_id, saga_type, kind, state, outcome, stuck, suspended, version, fence, owner, due_at, attention,
        correlation_id, digest, created_at, updated_at, finished_at, parent_id, problem, tags,
        snapshot_version, snapshot, events,
    ) = row  # fmt: skip
    record = Record(
        saga_id=saga_id,
        saga_type=saga_type,
        kind=kind,
        state=state,
        outcome=outcome,
        stuck=bool(stuck),
        suspended=bool(suspended),
        version=version,
        fence=fence,
        owner=owner,
        due_at=_time(due_at),
        attention=bool(attention),
        correlation_id=correlation_id,
        digest=digest,
        created_at=float(created_at),
        updated_at=float(updated_at),
        finished_at=_time(finished_at),
        parent_id=parent_id,
        tags=tags,
        problem=problem,
    )
    return StoredSaga(
        record=record,
        snapshot=None if snapshot_version is None else Snapshot(version=snapshot_version, data=read_bytes(snapshot)),
        events=read_events(events),
    )
