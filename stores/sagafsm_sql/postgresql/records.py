"""From rows to value classes.

What must stay true: the order of the values is the order of the columns in ``queries.sql``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sagafsm.store import Record, Snapshot, StoredEvent, StoredSaga

_tags = msgspec.json.Decoder(dict[str, str]).decode


def read_saga(row: Sequence[Any]) -> StoredSaga:
    """A saga from a row of the query ``load``."""
    (
        saga_id, saga_type, kind, state, outcome, stuck, suspended, version, fence, owner, due_at, attention,
        correlation_id, digest, created_at, updated_at, finished_at, parent_id, problem, tags,
        snapshot_version, snapshot, *events,
    ) = row  # fmt: skip
    found: Mapping[str, str] = {} if tags is None else _tags(tags)
    record = Record(
        saga_id=saga_id,
        saga_type=saga_type,
        kind=kind,
        state=state,
        outcome=outcome,
        stuck=stuck,
        suspended=suspended,
        version=version,
        fence=fence,
        owner=owner,
        due_at=due_at,
        attention=attention,
        correlation_id=correlation_id,
        digest=digest,
        created_at=created_at,
        updated_at=updated_at,
        finished_at=finished_at,
        parent_id=parent_id,
        tags=found,
        problem=problem,
    )
    return StoredSaga(
        record=record,
        snapshot=None if snapshot_version is None else Snapshot(version=snapshot_version, data=snapshot.encode()),
        events=read_events(events, snapshot_version or 0),
    )


def read_events(columns: Sequence[Any], after: int) -> tuple[StoredEvent, ...]:
    """Events with a number above ``after``, from rows of up to two events each, given as columns."""
    if columns[0] is None:
        return ()
    found: list[StoredEvent] = []
    for seq, kind, at, data, kind2, at2, data2 in zip(*columns, strict=True):
        if seq > after:
            found.append(StoredEvent(seq, kind, at, data.encode()))
        if kind2 is not None:
            found.append(StoredEvent(seq + 1, kind2, at2, data2.encode()))
    return tuple(found)
