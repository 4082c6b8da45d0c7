"""A history, as readers see it, back into the events of a log: for the checker, and for tests made of stored sagas.

What must stay true: nothing is lost on the way; an event that this version does not know is an error.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs
import msgspec

from ..core.codec import decode_event
from ..core.events import Event
from .account import Entry


@attrs.frozen
class _Stored:
    seq: int
    type: str
    at: float
    data: bytes


def entries_of(history: Iterable[Event]) -> list[Entry]:
    """The entries of a log, of what ``Orchestrator.history`` or the harness's ``history`` tells of it.

    Raises StoreTooNew or StoreCorrupt.
    """
    entries: list[Entry] = []
    for event in history:
        own = {key: value for key, value in (("step", event.step), ("attempt", event.attempt)) if value is not None}
        stored = _Stored(event.seq, event.type, event.at, msgspec.json.encode({**event.data, **own}))
        entries.append(Entry(event.seq, event.at, decode_event("", stored)))
    return entries
