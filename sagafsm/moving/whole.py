"""A saga with its whole log, whatever its snapshot spares readers, and a hash by which two of them are told apart.

What must stay true: the hash covers what was written at birth and every event, byte for byte, and nothing that differs
between two stores which hold the same saga (fence, owner, due time).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

import msgspec

from ..core.lifecycle import SagaState
from ..store import Record, Snapshot, Store, StoredEvent

TERMINAL = frozenset(state.value for state in SagaState if state.terminal)


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    """A saga: its record, all of its events, and its snapshot if it has one."""

    record: Record
    events: Sequence[StoredEvent]
    snapshot: Snapshot | None = None

    @property
    def ended(self) -> bool:
        """Whether it has nothing left to do."""
        return self.record.state in TERMINAL

    @property
    def size(self) -> int:
        """About how many bytes its log takes."""
        return sum(len(event.data) + 100 for event in self.events)


def log_hash(record: Record, events: Sequence[StoredEvent]) -> str:
    """A hash of a saga's birth and of these events of it."""
    found = hashlib.blake2b(digest_size=16)

    def add(part: bytes) -> None:
        found.update(len(part).to_bytes(8, "big"))
        found.update(part)

    for text in (record.saga_id, record.saga_type, record.kind, record.correlation_id, record.digest):
        add(text.encode())
    add((record.parent_id or "").encode())
    add(struct.pack(">d", record.created_at))
    add(msgspec.json.encode(sorted(record.tags.items())))
    for event in events:
        add(event.type.encode("utf-8", "surrogateescape"))
        add(struct.pack(">qd", event.seq, event.at))
        add(event.data)
    return found.hexdigest()


async def read_whole(store: Store, saga_ids: Sequence[str]) -> dict[str, Whole]:
    """Sagas with all of their events; those that do not exist are missing."""
    found: dict[str, Whole] = {}
    for saga_id, stored in (await store.load(saga_ids)).items():
        events = stored.events
        if stored.snapshot is not None:
            # Read later than the record: what was appended in between belongs to no view of ours.
            events = (await store.events(saga_id))[: stored.record.version]
        found[saga_id] = Whole(record=stored.record, events=events, snapshot=stored.snapshot)
    return found
