"""A batch of appends as calls of one script, and what the script answers as results.

What must stay true: the values of an append are in the places that ``lua/append.lua`` reads them from. What cannot be
written down is refused here, by itself; what the script refuses leaves its neighbours as they are. A call is bounded,
so that no script keeps the server's other clients waiting for long.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from sagafsm.store import Append, AppendResult, Birth, Committed, Conflict, Duplicate, Exists, Fenced, Refused

from .keys import Partition, Partitions, lookups
from .packing import Value
from .router import Call
from .router import script as call_script
from .scripts import APPEND

MOST_APPENDS = 250
MOST_BYTES = 4_000_000
LARGEST = 256_000_000  # a server takes 512 MB in one piece

STEADY, UPDATE, CREATE = 0, 1, 2

_head = msgspec.json.Encoder().encode
_tags = msgspec.json.Encoder().encode
_pack = msgspec.msgpack.Encoder().encode


class _Piece:
    """Appends that go together in one call, and their places in the batch."""

    def __init__(self, partition: Partition) -> None:
        self.partition = partition
        self.places: list[int] = []
        self.entries: list[list[Any]] = []
        self.keys: list[bytes] = []
        self.blobs: list[bytes] = []
        self.size = 0

    def call(self, database: str) -> Call:
        values: list[Value] = [database, _pack(self.entries), *self.blobs]
        return call_script(self.partition, APPEND, self.keys, *values)


class Batch:
    """``results`` are those of the case in which everything is accepted; :meth:`learn` corrects them."""

    def __init__(self, appends: Sequence[Append], partitions: Partitions, database: str) -> None:
        self.results: list[AppendResult] = []
        self.loud = False
        """Whether anybody but the owners of these sagas may have to know of it."""
        self._pieces: list[_Piece] = []
        open_pieces: dict[int, _Piece] = {}
        for place, append in enumerate(appends):
            try:
                keys, entry, blobs, partition = _written_down(append, partitions)
            except (_Unfit, UnicodeError) as exc:
                self.results.append(
                    Refused(str(exc) if isinstance(exc, _Unfit) else f"a text of it is no UTF-8: {exc}")
                )
                continue
            self.loud = self.loud or not append.steady
            self.results.append(Committed(append.expected_version + len(append.events)))
            piece = open_pieces.get(partition.number)
            if piece is None or len(piece.places) >= MOST_APPENDS or piece.size >= MOST_BYTES:
                piece = open_pieces[partition.number] = _Piece(partition)
                self._pieces.append(piece)
            piece.places.append(place)
            piece.keys += keys
            piece.entries.append(entry)
            piece.blobs += blobs
            piece.size += sum(map(len, blobs)) + 200
        self.calls = [piece.call(database) for piece in self._pieces]

    def learn(self, answers: Sequence[Sequence[Sequence[Any]]]) -> Sequence[AppendResult]:
        """The results after what the script has answered to each call."""
        for piece, answer in zip(self._pieces, answers, strict=True):
            for number, what, value in answer:
                self.results[piece.places[number - 1]] = _result(what, value)
        return self.results


class _Unfit(Exception):
    """An append that cannot be written down; the message says why."""


def _result(what: bytes, value: Any) -> AppendResult:
    if what == b"duplicate":
        return Duplicate(int(value))
    if what == b"conflict":
        return Conflict(int(value))
    if what == b"fenced":
        return Fenced(int(value))
    if what == b"exists":
        return Exists(same=bool(value))
    if what == b"purged":
        return Exists(same=bool(value), purged=True)
    return Refused(value.decode("utf-8", "replace"))


def _written_down(append: Append, partitions: Partitions) -> tuple[list[bytes], list[Any], list[bytes], Partition]:
    """Keys, values, events (and snapshot), and where they belong."""
    expected, events, append_id, snapshot = append.expected_version, append.events, append.append_id, append.snapshot
    name = append.saga_id.encode()
    partition = partitions.of(name)
    keys = [partition.record(name), partition.log(name)]
    entry: list[Any] = [
        STEADY, str(expected), str(append.fence), str(expected + len(events)), append_id, len(events),
        repr(append.updated_at),
    ]  # fmt: skip
    # The head of an event is a line of its own: JSON never has a line break in it.
    blobs = [b"%b\n%b" % (_head((append_id, event.type, event.at)), event.data) for event in events]
    if not append.steady or not expected:
        entry[0] = UPDATE if expected else CREATE
        entry += _record(append)
        if not expected:
            if append.birth is None or not events:
                raise _Unfit("a saga is created with its birth and at least one event")
            entry += (None if snapshot is None else str(snapshot.version), *_birth(append.saga_id, append.birth))
            keys.append(partition.tombstone(name))
        elif snapshot is not None:
            entry.append(str(snapshot.version))
    elif snapshot is not None:
        entry += (*(None,) * 10, str(snapshot.version))
    if snapshot is not None:
        keys.append(partition.snapshot(name))
        blobs.append(snapshot.data)
    if any(len(blob) > LARGEST for blob in blobs):
        raise _Unfit(f"an event or a snapshot of more than {LARGEST} bytes")
    return keys, entry, blobs, partition


def _record(append: Append) -> tuple[Any, ...]:
    _check(append.saga_id, append.owner or "")
    return (
        append.saga_id, append.state, append.outcome, _flag(append.stuck), _flag(append.suspended), append.owner,
        _time(append.due_at), _flag(append.attention), _time(append.finished_at), append.problem,
    )  # fmt: skip


def _birth(saga_id: str, birth: Birth) -> tuple[Any, ...]:
    _check(birth.saga_type, birth.kind)
    return (
        birth.saga_type, birth.kind, birth.correlation_id, birth.digest, _time(birth.created_at), birth.parent_id,
        _tags(birth.tags).decode(), lookups(saga_id, birth.correlation_id, birth.parent_id, birth.tags),
    )  # fmt: skip


def _check(*names: str) -> None:
    """In the indexes a zero byte stands between two names."""
    if any("\0" in name for name in names):
        raise _Unfit("a zero byte in an id, an owner or a kind")


def _flag(value: bool) -> str | None:
    return "1" if value else None


def _time(value: float | None) -> str | None:
    if value is None:
        return None
    if not math.isfinite(value):
        raise _Unfit(f"the time {value!r}")
    return repr(float(value))
