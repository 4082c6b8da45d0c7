"""A finished saga as one line of JSON: what an archive is made of.

What must stay true: a line holds everything the store held of the saga, its log byte for byte, and a hash of it; the
same saga always gives the same line. A reader refuses a line of a newer format, and one whose hash does not fit.

::

    {"sagafsm_archive": 1, "hash": "…", "record": {"saga_id": "order-1", "state": "completed", …},
     "events": [{"seq": 1, "type": "SagaStarted", "at": 1767225600.5, "data": {…}}, …]}

``data`` is the event as it lay in the store. Where that is no JSON on one line (somebody damaged it), there is
``base64`` instead.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import msgspec

from ..core.codec import describe, replay
from ..core.errors import StoreCorrupt, StoreTooNew
from ..core.events import Event
from ..core.instance import SagaInstance
from ..store import Record, StoredEvent
from .whole import Whole, log_hash

FORMAT = 1


class _LoggedEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    seq: int
    type: str
    at: float
    data: msgspec.Raw = msgspec.Raw(b"")
    base64: str | None = None


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    sagafsm_archive: int
    hash: str
    record: Record
    events: Sequence[_LoggedEvent]


class _Head(msgspec.Struct, frozen=True):
    sagafsm_archive: int


_encode = msgspec.json.Encoder().encode
_decode_head = msgspec.json.Decoder(_Head).decode
_decode_line = msgspec.json.Decoder(_Line).decode


class ArchivedSaga(msgspec.Struct, frozen=True, kw_only=True):
    """A finished saga as it was archived. ``hash``: two lines with the same one hold the same saga twice."""

    record: Record
    events: Sequence[StoredEvent]
    hash: str

    @property
    def saga_id(self) -> str:
        """The saga's id."""
        return self.record.saga_id

    @property
    def instance(self) -> SagaInstance:
        """The saga as it ended, with plain JSON values. Raises StoreCorrupt or StoreTooNew."""
        return SagaInstance(replay(self.record.saga_id, self.events))

    def history(self) -> list[Event]:
        """Its events, in order."""
        return [describe(self.record.saga_id, event) for event in self.events]


def write_line(saga: Whole) -> bytes:
    """The line for a saga, with the newline that ends it."""
    line = _Line(
        sagafsm_archive=FORMAT,
        hash=log_hash(saga.record, saga.events),
        record=saga.record,
        events=[_logged(event) for event in saga.events],
    )
    return _encode(line) + b"\n"


def read_line(text: bytes, where: str) -> ArchivedSaga:
    """The saga of a line. Raises StoreTooNew for a newer format, StoreCorrupt for a line that is damaged."""
    try:
        written_by = _decode_head(text).sagafsm_archive
        if written_by > FORMAT:
            raise StoreTooNew(f"{where}: archive format {written_by}; this sagafsm reads up to {FORMAT}: upgrade")
        line = _decode_line(text)
        events = [_stored(event) for event in line.events]
    except (msgspec.DecodeError, UnicodeError, binascii.Error) as exc:
        raise StoreCorrupt(f"{where} is no line of an archive: {exc}") from exc
    if log_hash(line.record, events) != line.hash:
        raise StoreCorrupt(f"{where}: the hash of saga {line.record.saga_id} does not fit; the line was changed")
    return ArchivedSaga(record=line.record, events=events, hash=line.hash)


def _logged(event: StoredEvent) -> _LoggedEvent:
    values: dict[str, Any] = {"seq": event.seq, "type": event.type, "at": event.at}
    if _is_plain(event.data):
        return _LoggedEvent(data=msgspec.Raw(event.data), **values)
    return _LoggedEvent(base64=base64.b64encode(event.data).decode(), **values)


def _is_plain(data: bytes) -> bool:
    """Whether the bytes can stand in the line as they are, and will be read back as they are."""
    if b"\n" in data or b"\r" in data or data.strip() != data:
        return False
    try:
        msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return True


def _stored(event: _LoggedEvent) -> StoredEvent:
    data = bytes(event.data) if event.base64 is None else base64.b64decode(event.base64, validate=True)
    return StoredEvent(event.seq, event.type, event.at, data)
