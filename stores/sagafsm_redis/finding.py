"""Finds records by what they are, oldest first, page by page.

What must stay true: a place in an index is a hint, the record decides. Of each partition as many places are read as
might be wanted, in order; places beyond the last one of a partition that has more wait for the next round, so nothing
is passed over. Reading the same page again costs the same, however far it is from the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from sagafsm.core.lifecycle import SagaState
from sagafsm.cursor import make_cursor, parse_cursor
from sagafsm.store import Filter, Page, Record

from .keys import Partitions, encode, lookup, sortable
from .reading import read
from .records import read_record
from .router import Router, script
from .scripts import SCAN

MOST_AT_ONCE = 1000
END = b"2"  # after every time: see sortable()
GROUPS = {SagaState.COMPLETED.value: "c", SagaState.FAILED.value: "f"}
TERMINAL = frozenset(GROUPS)

_pack = msgspec.msgpack.Encoder().encode


async def find(router: Router, partitions: Partitions, where: Filter, cursor: str | None, limit: int) -> Page:
    """One page."""
    position = b"" if cursor is None else _place(*parse_cursor(cursor))
    if limit < 1:
        return Page([], None)
    found: list[Record] = []
    scan, end = _scan(where), END if where.older_than is None else sortable(where.older_than)
    # Spread over the partitions, and a few more because they are not spread evenly.
    at_once = min(MOST_AT_ONCE, (limit + 1) * 2 // len(partitions.all) + 16)
    done = scan is None
    while not done and len(found) <= limit:
        packed = _pack({**(scan or {}), "limit": at_once})
        calls = [script(partition, SCAN, (), packed, position, end) for partition in partitions.all]
        answers: list[list[bytes]] = await router.all(calls, write=False)
        unfinished = [places[-1] for places in answers if len(places) == at_once]
        done, last = not unfinished, min(unfinished, default=END)
        places = sorted(place for places in answers for place in places if place <= last)
        ids = [place[9:].decode("utf-8", "surrogatepass") for place in places]
        if where.correlation_id is not None:
            ids = _with_namesake(ids, where.correlation_id)
        values = await read(router, partitions, ids, whole=False)
        records = [read_record(saga_id, values[saga_id]) for saga_id in dict.fromkeys(ids) if saga_id in values]
        found += sorted((r for r in records if _is_new(r, position, last, done) and matches(r, where)), key=_creation)
        position, at_once = last, min(at_once * 2, MOST_AT_ONCE)
    rest = len(found) > limit
    found = found[:limit]
    return Page(found, make_cursor(found[-1].created_at, found[-1].saga_id) if rest else None)


def _scan(where: Filter) -> dict[str, Any] | None:
    """Which index to look into, and at what; None where nothing can match."""
    if where.tags:
        return {"prefix": lookup("tag", *next(iter(where.tags.items())))}
    if where.correlation_id is not None:
        return {"prefix": lookup("correlation", where.correlation_id)}
    if where.parent_id is not None:
        return {"prefix": lookup("parent", where.parent_id)}
    groups = set("lcf")
    if where.state is not None:
        groups &= {GROUPS.get(where.state, "l")}
    if where.live is not None:
        groups &= set("l" if where.live else "cf")
    if where.finished_before is not None:
        groups &= set("cf")
    if not groups:
        return None
    scan: dict[str, Any] = {"groups": "".join(sorted(groups))}
    if where.saga_type is not None:
        scan["type"] = where.saga_type
    if where.stuck is not None:
        scan["stuck"] = "1" if where.stuck else "0"
    if where.suspended is not None:
        scan["suspended"] = "1" if where.suspended else "0"
    return scan


def _with_namesake(ids: Sequence[str], correlation_id: str) -> list[str]:
    """A saga that has its own id as correlation id is not in the index of those."""
    return [*ids, correlation_id]


def _is_new(record: Record, position: bytes, last: bytes, done: bool) -> bool:
    """Whether a record's turn is in this round: a namesake comes in each."""
    place = _place(record.created_at, record.saga_id)
    return position < place and (done or place <= last)


def _place(created_at: float, saga_id: str) -> bytes:
    return sortable(created_at) + encode(saga_id)


def _creation(record: Record) -> tuple[float, str]:
    return record.created_at, record.saga_id


def matches(record: Record, where: Filter) -> bool:
    """Whether a record is as the filter wants it."""
    ended = record.state in TERMINAL
    return (
        (where.state is None or record.state == where.state)
        and (where.saga_type is None or record.saga_type == where.saga_type)
        and (where.stuck is None or record.stuck == where.stuck)
        and (where.suspended is None or record.suspended == where.suspended)
        and (where.live is None or where.live == (not ended))
        and (where.correlation_id is None or record.correlation_id == where.correlation_id)
        and (where.parent_id is None or record.parent_id == where.parent_id)
        and (where.older_than is None or record.created_at < where.older_than)
        and (where.finished_before is None or ended_before(record, where.finished_before))
        and all(record.tags.get(key) == value for key, value in where.tags.items())
    )


def ended_before(record: Record, time: float) -> bool:
    """Whether a saga is over since before a time."""
    return record.state in TERMINAL and record.finished_at is not None and record.finished_at < time
