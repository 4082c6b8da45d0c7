"""What a saga looks like in MongoDB, and how an append is written down.

One document of ``sagas`` is the record and the tail of the log: one entry per append that is not sealed yet. Sealed
entries lie in ``saga_events``, a sealed snapshot in ``saga_snapshots``. What is None is left out. ::

    {_id: "order-123", type, kind, state, stuck, suspended, version, fence, attention, digest, created_at, updated_at,
     outcome?, owner?, due_at?, finished_at?, problem?, correlation_id? (if it is not the _id), parent_id?,
     tags?: [{k, v}, …],
     log:  names this life of the id, so that what is left of an earlier one is never taken for its own
     tail: [{seq: first number, append_id, write, events: [{type, at, data}, …]}, …]
     sealed?: the last number that lies in saga_events;  outside?: true before anything lies in another collection
     snapshot?: {version, append_id, data} or {version, append_id, sealed: true}
     write?, claim?: which call wrote an append without events, or claimed the saga, last}

    {_id: "order-123/<log>/<last number>", seq, append_id, write, events}      a sealed entry
    {_id: "order-123/<log>/<version>/<append_id>", data}                       a sealed snapshot
    {_id: "order-123", purged_until, digest}                                   instead of a purged saga; with
                                        {log, left: true} until what lies in the other collections is gone too

What must stay true: field names are ours alone; a user's word is a value, never a name and never an operator; ids that
stand in a filter are texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sagafsm.core.lifecycle import SagaState
from sagafsm.store import Append, Birth, Record, Snapshot, StoredEvent

from .database import Document

TERMINAL = [state.value for state in SagaState if state.terminal]
LIVE = [state.value for state in SagaState if not state.terminal]
WITHOUT_LOG = {"tail": 0, "snapshot": 0}
"""The fields that a record needs."""

_OFTEN_NONE = ("outcome", "owner", "due_at", "finished_at", "problem")


def is_well_formed(append: Append) -> bool:
    """Whether what stands in filters is of the right type, and a creation says all that this takes."""
    return (
        type(append.saga_id) is str
        and type(append.expected_version) is int
        and type(append.fence) is int
        and (append.expected_version != 0 or (append.birth is not None and len(append.events) > 0))
    )


def update_of(append: Append, write: int) -> Document:
    """The conditional update that is an append to a saga that exists. ``write`` names the call."""
    changes: Document = {"version": append.expected_version + len(append.events), "updated_at": append.updated_at}
    update: Document = {"$set": changes}
    if not append.steady:
        _record(append, changes)
        if gone := {name: "" for name in _OFTEN_NONE if getattr(append, name) is None}:
            update["$unset"] = gone
    if append.snapshot is not None:
        changes["snapshot"] = _snapshot(append.snapshot, append.append_id)
    if append.events:
        update["$push"] = {"tail": _entry(append, write)}
    else:
        changes["write"] = write
    return {
        "q": {"_id": append.saga_id, "version": append.expected_version, "fence": append.fence},
        "u": update,
    }


def document_of(append: Append, birth: Birth, write: int, log: str) -> Document:
    """The document of a new saga."""
    document: Document = {
        "_id": append.saga_id,
        "type": birth.saga_type,
        "kind": birth.kind,
        "version": len(append.events),
        "fence": append.fence,
        "digest": birth.digest,
        "created_at": birth.created_at,
        "updated_at": append.updated_at,
        "log": log,
        "tail": [_entry(append, write)],
    }
    _record(append, document)
    if birth.correlation_id != append.saga_id:
        document["correlation_id"] = birth.correlation_id
    if birth.parent_id is not None:
        document["parent_id"] = birth.parent_id
    if birth.tags:
        document["tags"] = [tag(key, value) for key, value in birth.tags.items()]
    if append.snapshot is not None:
        document["snapshot"] = _snapshot(append.snapshot, append.append_id)
    return document


def tag(key: str, value: str) -> Document:
    """A tag as it lies in the array, and as it is looked for."""
    return {"k": key, "v": value}


def _record(append: Append, into: Document) -> None:
    into["state"] = append.state
    into["stuck"] = append.stuck
    into["suspended"] = append.suspended
    into["attention"] = append.attention
    for name in _OFTEN_NONE:
        value = getattr(append, name)
        if value is not None:
            into[name] = value


def _entry(append: Append, write: int) -> Document:
    return {
        "seq": append.expected_version + 1,
        "append_id": append.append_id,
        "write": write,
        "events": [{"type": event.type, "at": event.at, "data": event.data.decode()} for event in append.events],
    }


def _snapshot(snapshot: Snapshot, append_id: str) -> Document:
    # Named after its append: a saga may well get another one of the same version, and the last is the one that counts.
    return {"version": snapshot.version, "append_id": append_id, "data": snapshot.data.decode()}


def size_of(append: Append) -> int:
    """How many bytes its operation takes, more or less."""
    size = 1000
    for event in append.events:
        size += 100 + len(event.data)
    return size if append.snapshot is None else size + len(append.snapshot.data)


def life(document: Mapping[str, Any]) -> str:
    """With what the ids begin of everything that lies in other collections for this saga."""
    return f"{document['_id']}/{document.get('log', '')}/"


def place(life_: str, number: int) -> str:
    """The id of the sealed entry that ends with this number; with it begins that of a snapshot of this version."""
    return f"{life_}{number:012d}"


def snapshot_place(life_: str, snapshot: Mapping[str, Any]) -> str:
    """The id of a snapshot that is sealed."""
    return f"{place(life_, snapshot['version'])}/{snapshot.get('append_id', '')}"


def whole_life(life_: str) -> Document:
    """The operation that deletes all that a life has in a collection."""
    # "0" is the character after "/": the range holds what begins with the prefix, and nothing else.
    return {"q": {"_id": {"$gte": life_, "$lt": f"{life_[:-1]}0"}}, "limit": 0}


def last_number(entry: Mapping[str, Any]) -> int:
    """The number of an entry's last event."""
    number: int = entry["seq"] + len(entry["events"]) - 1
    return number


# --- reading: what somebody has damaged by hand must not hide the other sagas, so nothing here insists ---


def read_record(document: Mapping[str, Any]) -> Record:
    """The record in a document of ``sagas``."""
    get = document.get
    saga_id = document["_id"]
    return Record(
        saga_id=saga_id,
        saga_type=get("type", ""),
        kind=get("kind", ""),
        state=get("state", ""),
        outcome=get("outcome"),
        stuck=get("stuck", False),
        suspended=get("suspended", False),
        version=get("version", 0),
        fence=get("fence", 0),
        owner=get("owner"),
        due_at=get("due_at"),
        attention=get("attention", False),
        correlation_id=get("correlation_id", saga_id),
        digest=get("digest", ""),
        created_at=get("created_at", 0.0),
        updated_at=get("updated_at", 0.0),
        finished_at=get("finished_at"),
        parent_id=get("parent_id"),
        tags={each["k"]: each["v"] for each in get("tags", ())},
        problem=get("problem"),
    )


def read_bytes(text: str) -> bytes:
    """The bytes that were stored as text."""
    return text.encode("utf-8", "surrogateescape")


def read_entries(entries: Iterable[Mapping[str, Any]], after: int) -> list[StoredEvent]:
    """The events of entries, as far as their number is above ``after``."""
    return [
        StoredEvent(seq, event["type"], event["at"], read_bytes(event["data"]))
        for entry in entries
        for seq, event in enumerate(entry["events"], entry["seq"])
        if seq > after
    ]


def is_purged(document: Mapping[str, Any]) -> bool:
    """Whether this stands for a saga that was purged."""
    return "purged_until" in document


def texts(values: Sequence[str]) -> list[str]:
    """Only what can be an id: anything else would be an operator or a pattern to the server."""
    return [value for value in values if type(value) is str]
