"""The names of the keys, and what lies in which partition.

What must stay true: everything that moves together with a saga lies in the saga's partition, and all keys of a
partition lie in one slot of a cluster: the partition's number is the hash tag of each of its keys, and stands before
anything that a user has chosen, so that no id can move a key to another slot. On one server there is one partition and
no tag: ``HGETALL saga:<id>`` shows a saga.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from zlib import crc32

SHARED = ("due", "list", "lookup", "finished", "attention", "counts", "workers", "permits", "layout")
"""The keys with which the keys of every script begin (``lua/prelude.lua`` names them in this order)."""


class Partition:
    """The keys of one partition. ``tag`` None: there is only one, and keys carry no hash tag."""

    def __init__(self, prefix: str, number: int, tag: str | None) -> None:
        self.number = number
        mark = "" if tag is None else f":{{{tag}}}"
        self.shared = tuple(f"{prefix}saga-{name}{mark}".encode() for name in SHARED)
        self.counts, self.workers, self.layout = self.shared[5], self.shared[6], self.shared[8]
        self.finished = self.shared[3]
        self.definitions = f"{prefix}saga-definitions{mark}".encode()
        self.touched = f"{prefix}saga-touched{mark}".encode()
        self._record = f"{prefix}saga{mark}:".encode()
        self._log = f"{prefix}saga-events{mark}:".encode()
        self._snapshot = f"{prefix}saga-snapshot{mark}:".encode()
        self._tombstone = f"{prefix}saga-gone{mark}:".encode()
        self._rate = f"{prefix}saga-rate{mark}:".encode()

    def record(self, saga_id: bytes) -> bytes:
        """The hash that is a saga's record."""
        return self._record + saga_id

    def log(self, saga_id: bytes) -> bytes:
        """The list of a saga's events."""
        return self._log + saga_id

    def snapshot(self, saga_id: bytes) -> bytes:
        """The text that is a saga's snapshot."""
        return self._snapshot + saga_id

    def tombstone(self, saga_id: bytes) -> bytes:
        """The digest of a saga that was purged; it expires."""
        return self._tombstone + saga_id

    def rate(self, name: bytes) -> bytes:
        """Up to when the rate of a limit is filled; it expires."""
        return self._rate + name


class Partitions:
    """All of them. ``count`` is fixed when the database is made; ``tagged``: on a cluster."""

    def __init__(self, prefix: str, count: int, *, tagged: bool) -> None:
        self.all = [Partition(prefix, number, str(number) if tagged else None) for number in range(count)]
        self.first = self.all[0]
        self._count = count

    def of(self, name: bytes) -> Partition:
        """The partition of a saga, or of a limit."""
        return self.first if self._count == 1 else self.all[crc32(name) % self._count]


def encode(text: str) -> bytes:
    """An id as bytes. Ids that were never accepted are asked for too: then nothing is found."""
    return text.encode("utf-8", "surrogatepass")


def sortable(time: float) -> bytes:
    """A time as bytes that sort as it does (``lua/prelude.lua`` knows this too)."""
    packed = struct.pack(">d", time or 0.0)  # there are two zeros
    return b"1" + packed if time >= 0 else b"0" + bytes(255 - byte for byte in packed)


def lookup(what: str, *values: str) -> str:
    """The beginning of the entries of an index over values of the user's: short, whatever they are.

    Two may have the same one; so what is found is compared once more.
    """
    material = "\0".join((what, *(f"{len(value)}:{value}" for value in values))).encode()
    return hashlib.blake2b(material, digest_size=9).hexdigest()


def lookups(saga_id: str, correlation_id: str, parent_id: str | None, tags: Mapping[str, str]) -> list[str]:
    """Under what a saga can be looked up. Most have no correlation id but their own id: that one is at hand."""
    found = [lookup("tag", key, value) for key, value in tags.items()]
    if correlation_id != saga_id:
        found.append(lookup("correlation", correlation_id))
    if parent_id is not None:
        found.append(lookup("parent", parent_id))
    return found
