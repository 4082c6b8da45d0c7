"""Between events and what lies in a store: JSON text, one object per event.

What must stay true: an event's type is looked up in the closed registry, never imported by name; unknown types and
unknown fields come from a newer version and are refused as such; bytes that cannot be read are reported and left as
they are. No pickle, ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Protocol, TypeVar

import msgspec

from .errors import StoreCorrupt, StoreTooNew
from .events import EVENT_TYPES, Event, SagaEvent
from .fold import evolve
from .progress import Progress

T = TypeVar("T", str, int)

LONGEST_REASON = 200

encode_event = msgspec.json.Encoder().encode
_encode_snapshot = msgspec.json.Encoder().encode
_DECODERS: Mapping[str, msgspec.json.Decoder[Any]] = {
    name: msgspec.json.Decoder(cls) for name, cls in EVENT_TYPES.items()
}
_PLAIN = msgspec.json.Decoder(dict[str, Any])


@cache
def _snapshot_decoder() -> msgspec.json.Decoder[Progress]:
    return msgspec.json.Decoder(Progress)


class Stored(Protocol):
    """What a store keeps of one event."""

    @property
    def seq(self) -> int: ...
    @property
    def type(self) -> str: ...
    @property
    def at(self) -> float: ...
    @property
    def data(self) -> bytes: ...


def decode_event(saga_id: str, stored: Stored) -> SagaEvent:
    """The event that was stored. Raises StoreTooNew or StoreCorrupt, naming the saga and the event."""
    decoder = _DECODERS.get(stored.type)
    where = f"saga {saga_id}, event {stored.seq}"
    if decoder is None:
        raise StoreTooNew(f"{where}: unknown type {stored.type[:100]!r}; it was written by a newer sagafsm: upgrade")
    try:
        if not stored.data.isascii():
            stored.data.decode()  # what lies within as raw JSON is not looked at by the decoder
        event: SagaEvent = decoder.decode(stored.data)
    except msgspec.ValidationError as exc:
        if "unknown field" in str(exc):
            raise StoreTooNew(
                f"{where} ({stored.type}): {_short(exc)}; it was written by a newer sagafsm: upgrade"
            ) from exc
        raise StoreCorrupt(f"{where} ({stored.type}) does not have the right form: {_short(exc)}") from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise StoreCorrupt(f"{where} ({stored.type}) cannot be read: {_short(exc)}") from exc
    return event


def replay(saga_id: str, events: Iterable[Stored], start: Progress | None = None) -> Progress:
    """Fold stored events, after a snapshot if there is one.

    Raises StoreTooNew, and StoreCorrupt also for gaps, for illegal events and for those of another saga.
    """
    progress = start
    for stored in events:
        expected = progress.version + 1 if progress is not None else 1
        if stored.seq != expected:
            raise StoreCorrupt(f"saga {saga_id}: event {expected} is missing (found {stored.seq})")
        event = decode_event(saga_id, stored)
        try:
            progress = evolve(progress, event, stored.at)
        except StoreCorrupt as exc:
            raise StoreCorrupt(f"saga {saga_id}, event {stored.seq} ({stored.type}): {exc}") from exc
    if progress is None:
        raise StoreCorrupt(f"saga {saga_id}: its record has no events")
    if progress.saga_id != saga_id:  # what is decided of another saga would be written to that
        raise StoreCorrupt(f"saga {saga_id}: its events are those of saga {progress.saga_id[:100]!r}")
    return progress


def _short(error: Exception) -> str:
    """What is wrong, without all of what lies in the store: it may be long."""
    text = str(error)
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}…"


def encode_snapshot(progress: Progress) -> bytes:
    """The fold so far, as JSON."""
    return _encode_snapshot(progress)


def decode_snapshot(saga_id: str, data: bytes) -> Progress:
    """The fold that was stored. Raises StoreTooNew or StoreCorrupt."""
    where = f"saga {saga_id}: its snapshot"
    try:
        if not data.isascii():
            data.decode()
        return _snapshot_decoder().decode(data)
    except msgspec.ValidationError as exc:
        if "unknown field" in str(exc):
            raise StoreTooNew(f"{where}: {_short(exc)}; it was written by a newer sagafsm: upgrade") from exc
        raise StoreCorrupt(f"{where} does not have the right form: {_short(exc)}") from exc
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise StoreCorrupt(f"{where} cannot be read: {_short(exc)}") from exc


def describe(saga_id: str, stored: Stored) -> Event:
    """One event for a reader of the history, as plain values; also where this version cannot interpret it."""
    try:
        fields = _PLAIN.decode(stored.data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        fields = {"unreadable": _short(exc)}
    return Event(
        seq=stored.seq,
        type=stored.type,
        at=stored.at,
        step=_if(str, fields, "step"),
        attempt=_if(int, fields, "attempt"),
        data=fields,
    )


def _if(kind: type[T], fields: dict[str, Any], name: str) -> T | None:
    """Take a field out if it is of this kind; what somebody wrote there by hand stays where it is."""
    return fields.pop(name) if isinstance(fields.get(name), kind) else None
