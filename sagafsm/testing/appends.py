"""Appends for tests of stores: short to write, whole in what they hold."""

from __future__ import annotations

import uuid
from typing import Any

from ..store import Append, Birth, NewEvent, Record

KIND = "Order@1"


def events(count: int, *, data: bytes = b'{"n":1}') -> tuple[NewEvent, ...]:
    """So many events."""
    return tuple(NewEvent("Happened", 1_700_000_000.25 + n, data) for n in range(count))


def create(
    saga_id: str,
    *,
    kind: str = KIND,
    saga_type: str = "Order",
    digest: str = "digest",
    created_at: float = 1_700_000_000.5,
    correlation_id: str | None = None,
    parent_id: str | None = None,
    tags: dict[str, str] | None = None,
    **changes: Any,
) -> Append:
    """The append that creates a saga, with two events, in state ``started``, owned by nobody and not due."""
    birth = Birth(
        saga_type=saga_type,
        kind=kind,
        correlation_id=saga_id if correlation_id is None else correlation_id,
        digest=digest,
        created_at=created_at,
        parent_id=parent_id,
        tags=tags or {},
    )
    return _append(saga_id, 0, 1, {"events": events(2), "state": "started", "birth": birth} | changes)


def follow(record: Record, **changes: Any) -> Append:
    """An append of one event to the saga as ``record`` shows it, keeping its owner and due time."""
    kept = {"state": "pending", "owner": record.owner, "due_at": record.due_at}
    return _append(record.saga_id, record.version, record.fence, {"events": events(1)} | kept | changes)


def finish(record: Record, *, at: float = 1_700_000_100.0, **changes: Any) -> Append:
    """The append of one event that completes the saga."""
    end = {"state": "completed", "finished_at": at, "owner": None, "due_at": None}
    return _append(record.saga_id, record.version, record.fence, {"events": events(1)} | end | changes)


def steady(record: Record, **changes: Any) -> Append:
    """An append of one event that leaves the rest of the record as it is, and says so."""
    kept = ("state", "outcome", "stuck", "suspended", "owner", "due_at", "attention", "finished_at", "problem")
    values = {name: getattr(record, name) for name in kept}
    return follow(record, **(values | {"steady": True} | changes))


def _append(saga_id: str, version: int, fence: int, values: dict[str, Any]) -> Append:
    defaults: dict[str, Any] = {
        "saga_id": saga_id,
        "append_id": uuid.uuid4().hex,
        "expected_version": version,
        "fence": fence,
        "updated_at": 1_700_000_050.125,
    }
    return Append(**(defaults | values))
