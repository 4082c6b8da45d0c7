"""What happened, in one order: what was granted and written, called, done in the world, asked and broken.

What must stay true: plain data, appended and never changed; no entry holds anything that differs between two runs of
the same seed and tape (no ids of objects, no real times), so that the traces of equal runs are equal.
"""

from __future__ import annotations

import hashlib
from typing import Any, ClassVar

import msgspec

from ..store import NewEvent


class Entry(msgspec.Struct, gc=False):
    """One line. ``at``: virtual seconds since the run began. ``process``: who did it ("" is the world itself)."""

    kind: ClassVar[str] = ""
    at: float
    process: str


class Granted(Entry, gc=False):
    """The store gave a saga to a worker: by a claim, or because it created it (``birth``)."""

    kind = "grant"
    worker: str
    saga: str
    fence: int
    now: float
    birth: bool = False


class Appended(Entry, gc=False):
    """The store decided on an append. ``now``: its clock. ``verdict``: the class of its answer."""

    kind = "append"
    saga: str
    append_id: str
    expected: int
    fence: int
    events: tuple[NewEvent, ...]
    verdict: str
    owner: str | None
    state: str
    stuck: bool
    due_at: float | None
    now: float
    steady: bool = False


class Heard(Entry, gc=False):
    """A process was answered that a saga has ended, or is no longer its to write to (``fenced``)."""

    kind = "heard"
    saga: str
    fenced: bool = False


class Beat(Entry, gc=False):
    """A worker's lease was set: it lives ``until`` by the store's clock. ``asked``: when it asked, by virtual time."""

    kind = "lease"
    worker: str
    until: float
    now: float
    asked: float
    ttl: float


class Retired(Entry, gc=False):
    """A worker's lease was taken back."""

    kind = "retire"
    worker: str


class Released(Entry, gc=False):
    """Somebody asked to give a saga back as it is; ``given``: whether the store did it."""

    kind = "release"
    worker: str
    saga: str
    fence: int
    given: bool


class Purged(Entry, gc=False):
    """Sagas were deleted."""

    kind = "purge"
    sagas: tuple[str, ...]
    before: float


class CallBegan(Entry, gc=False):
    """A function of the saga was called. ``payload``: what it was given, as text."""

    kind = "call"
    saga: str
    step: str
    role: str
    via: str
    attempt: int
    key: str
    payload: str
    number: int


class CallOver(Entry, gc=False):
    """It ended: ``ok``, ``rejected``, ``failed`` (certainly not done), ``open`` (who knows), ``interrupted``."""

    kind = "end"
    saga: str
    step: str
    role: str
    outcome: str
    number: int


class Effected(Entry, gc=False):
    """A participant did something, or undid it."""

    kind = "effect"
    saga: str
    step: str
    via: str
    undo: bool
    key: str


class Asked(Entry, gc=False):
    """A client asked something of an orchestrator."""

    kind = "ask"
    client: str
    verb: str
    saga: str
    number: int


class Answered(Entry, gc=False):
    """And was answered: ``ok``, ``fail`` (an error of the API), or ``info`` (nobody knows: it may have happened)."""

    kind = "answer"
    client: str
    verb: str
    saga: str
    number: int
    outcome: str
    what: str = ""
    version: int | None = None
    state: str | None = None


class Fault(Entry, gc=False):
    """Something was broken on purpose, or mended."""

    kind = "fault"
    what: str
    about: str = ""


class Trace:
    """The entries of one run."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.add = self.entries.append

    def digest(self) -> str:
        """A hash of everything that happened: equal runs have equal ones."""
        found = hashlib.blake2b(digest_size=16)
        for entry in self.entries:
            found.update(entry.kind.encode())
            found.update(msgspec.json.encode(entry))
        return found.hexdigest()

    def timeline(self, *, leases: bool = False) -> str:
        """Everything, one line each, in the order in which it happened; of a worker's ``leases`` only the first."""
        lines: list[str] = []
        workers: set[str] = set()
        for entry in self.entries:
            if isinstance(entry, Beat) and not leases:
                if entry.worker in workers:
                    continue
                workers.add(entry.worker)
            lines.append(line(entry))
        return "\n".join(lines)


def line(entry: Entry) -> str:
    """An entry as a person reads it."""
    facts: list[str] = []
    for name in entry.__struct_fields__:
        value: Any = getattr(entry, name)
        if name in ("at", "process") or value in (None, "", False):
            continue
        if name == "events":
            facts.extend(f"\n{'':30}{event.type} {event.data.decode(errors='replace')}" for event in value)
        else:
            facts.append(f"{name}={value:.3f}" if isinstance(value, float) else f"{name}={value}")
    return f"{entry.at:9.3f} {entry.process or 'world':12} {entry.kind:7} {' '.join(facts)}"
