"""Deletes sagas that are over, each whole, in steps that are small for the server.

What must stay true: the script looks once more before it deletes, so that a saga that was taken up again meanwhile
stays; no step deletes more than ``AT_ONCE`` sagas of a partition, so that appends get their turn in between.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from sagafsm.core.errors import OutcomeUnknown, StoreUnavailable
from sagafsm.store import Record

from .finding import ended_before
from .keys import Partition, Partitions, encode, lookups
from .reading import read
from .records import read_record
from .router import Router, command, script
from .scripts import PURGE

AT_ONCE = 100
LONGEST = 100 * 366 * 86400.0  # seconds; the server takes no expiry beyond some million years

_pack = msgspec.msgpack.Encoder().encode


async def purge(
    router: Router,
    partitions: Partitions,
    before: float,
    limit: int,
    keep_ids: float,
    saga_ids: Sequence[str] | None,
) -> int:
    """Delete up to so many; return how many."""
    gone = 0
    try:
        if saga_ids is not None:
            left = list(dict.fromkeys(saga_ids))
            while left and gone < limit:
                at_once = min(AT_ONCE, limit - gone)
                gone += await _delete(router, partitions, left[:at_once], before, keep_ids)
                left = left[at_once:]
            return gone
        for partition in partitions.all:
            while gone < limit:
                at_once = min(AT_ONCE, limit - gone)
                words = ("ZRANGEBYSCORE", partition.finished, "-inf", f"({before!r}", "LIMIT", 0, at_once)
                ended = await router.one(command(partition, *words), write=False)
                now_gone = await _delete(router, partitions, [_text(name) for name in ended], before, keep_ids)
                gone += now_gone
                if not now_gone:  # none left, or others are at it
                    break
    except StoreUnavailable as exc:
        if gone:
            raise OutcomeUnknown(f"{gone} sagas were purged, then it came to an end: {exc}") from exc
        raise
    return gone


async def _delete(
    router: Router, partitions: Partitions, saga_ids: Sequence[str], before: float, keep_ids: float
) -> int:
    found = await read(router, partitions, saga_ids, whole=False)
    records = [read_record(saga_id, values) for saga_id, values in found.items()]
    groups: dict[Partition, list[Record]] = {}
    for record in records:
        if ended_before(record, before):
            groups.setdefault(partitions.of(encode(record.saga_id)), []).append(record)
    if not groups:
        return 0
    keep = math.ceil(min(max(keep_ids, 0.0), LONGEST) * 1000)
    calls = []
    for partition, ended in groups.items():
        names = [encode(record.saga_id) for record in ended]
        keys = [key for name in names for key in _keys(partition, name)]
        calls.append(script(partition, PURGE, keys, repr(before), keep, _pack([_entry(record) for record in ended])))
    return sum(await router.all(calls, write=True))


def _keys(partition: Partition, name: bytes) -> tuple[bytes, ...]:
    return partition.record(name), partition.log(name), partition.snapshot(name), partition.tombstone(name)


def _entry(record: Record) -> tuple[str, str, list[str]]:
    prefixes = lookups(record.saga_id, record.correlation_id, record.parent_id, record.tags)
    return record.saga_id, repr(record.created_at), prefixes


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogatepass")
