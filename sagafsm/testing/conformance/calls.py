"""Every method of the protocol in a situation of its own: what is asked, what the answer is, whether it was done.

What must stay true: a call may be made again as it is, and its answer then is right too; each situation has ids of its
own, so that any number of them fit into one database.
"""

# ruff: noqa: S101

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import attrs

from ...store import Committed, Duplicate, Filter, Store, Worker
from ...supports import Permit, SupportsLimits
from ..appends import create, events, finish, follow, steady
from .base import LONG, commit, put, read


def _always(answer: Any) -> bool:
    return True


@attrs.frozen
class Call:
    """One way to ask a store. ``make`` is the call itself; ``begin`` prepares it and returns what it is about.

    ``right`` checks an answer, the first or a later one; ``fresh`` says whether it can be the answer to the first.
    ``done`` says whether the call has been applied, or is None for one that only reads.
    """

    name: str
    begin: Callable[[Store, str], Awaitable[Any]]
    make: Callable[[Any, Any], Awaitable[Any]]
    right: Callable[[Any, Any], None]
    done: Callable[[Store, Any], Awaitable[bool]] | None = None
    fresh: Callable[[Any], bool] = _always

    async def made(self, store: Store, about: Any) -> None:
        """Make the call where nothing is wrong, and see that the answer is right and that it was done."""
        self.right(about, await self.make(store, about))
        assert self.done is None or await self.done(store, about), f"{self.name}: answered, and not done"


# --- commit ---


async def _nothing(store: Store, name: str) -> str:
    return name


async def _creation(store: Store, name: str) -> Any:
    return [create(name, tags={"x": name})]


async def _append(store: Store, name: str) -> Any:
    return [follow(await commit(store, create(name)), events=events(3))]


async def _end(store: Store, name: str) -> Any:
    return [finish(await commit(store, create(name)))]


async def _steadily(store: Store, name: str) -> Any:
    return [steady(await commit(store, create(name)))]


async def _record_only(store: Store, name: str) -> Any:
    return [follow(await commit(store, create(name)), events=(), state="compensating")]


async def _batch(store: Store, name: str) -> Any:
    a, b = [await commit(store, create(f"{name}-{part}")) for part in "ab"]
    return [follow(a, events=events(2)), create(f"{name}-c"), steady(b)]


def _written(batch: Any, results: Sequence[Any]) -> None:
    assert len(results) == len(batch)
    for append, result in zip(batch, results, strict=True):
        version = append.expected_version + len(append.events)
        assert result in (Committed(version), Duplicate(version)), result


async def _is_written(store: Store, batch: Any) -> bool:
    """Whether the batch stands in the store; each of its appends whole, or not at all."""
    found = await store.load([append.saga_id for append in batch])  # one view: it may be written at this moment
    standing = []
    for append in batch:
        if append.saga_id not in found:
            assert append.expected_version == 0, f"{append.saga_id} is gone"
            standing.append(False)
            continue
        record, log = found[append.saga_id].record, found[append.saga_id].events
        after = append.expected_version + len(append.events)
        assert [event.seq for event in log] == list(range(1, record.version + 1)), "the record without its events"
        assert record.version in (append.expected_version, after), f"{append.saga_id} is at {record.version}"
        changed = record.state == append.state
        standing.append(record.version == after if append.events else changed)
        assert append.steady or standing[-1] == changed, "the events without the record"
    return all(standing)


# --- owners and leases ---


async def _due(store: Store, name: str) -> str:
    await store.heartbeat(name, LONG)
    await put(store, name, kind=name, fence=4)
    return name


def _claimed(name: str, claim: Any) -> None:
    assert [saga.record.saga_id for saga in claim.sagas] in ([name], [])
    for saga in claim.sagas:
        assert (saga.record.owner, saga.record.fence, len(saga.events)) == (name, 5, 2)


def _took(claim: Any) -> bool:
    return len(claim.sagas) == 1


async def _is_claimed(store: Store, name: str) -> bool:
    record = (await read(store, name)).record
    assert (record.owner, record.fence) in ((name, 5), (None, 4)), record
    return record.owner == name


async def _owned(store: Store, name: str) -> str:
    await commit(store, create(name, owner=name, fence=6))
    return name


def _released(name: str, released: Any) -> None:
    assert released in (True, False)


async def _is_released(store: Store, name: str) -> bool:
    record = (await read(store, name)).record
    assert record.fence == 6
    return record.owner is None


def _beaten(name: str, worker: Any) -> None:
    assert isinstance(worker, Worker)
    assert worker.worker_id == name


async def _is_listed(store: Store, name: str) -> bool:
    return name in [worker.worker_id for worker in await store.workers()]


async def _working(store: Store, name: str) -> str:
    await store.heartbeat(name, LONG)
    return name


async def _is_forgotten(store: Store, name: str) -> bool:
    return not await _is_listed(store, name)


# --- keeping ---


async def _ended(store: Store, name: str) -> str:
    await store.commit([create(name, state="completed", finished_at=10.0, tags={"x": "1"})])
    return name


def _purged(name: str, count: Any) -> None:
    assert count in (0, 1)


async def _is_purged(store: Store, name: str) -> bool:
    found = await store.load([name])
    if found:
        assert len(found[name].events) == 2, "purged by halves"
        return False
    assert list(await store.events(name)) == [], "purged by halves"
    return True


async def _is_defined(store: Store, name: str) -> bool:
    return (await store.definitions()).get(name) == b"[1]"


def _no_answer(name: str, answer: Any) -> None:
    assert answer is None


# --- reading ---


async def _stored(store: Store, name: str) -> str:
    await store.commit([create(name, correlation_id=name)])
    await store.heartbeat(name, LONG)
    await store.save_definition(name, b"[1]")
    return name


def _loaded(name: str, found: Any) -> None:
    assert list(found) == [name]
    assert (found[name].record.correlation_id, len(found[name].events)) == (name, 2)


def _found(name: str, page: Any) -> None:
    assert ([record.saga_id for record in page.records], page.cursor) == ([name], None)


# --- permits ---


async def _asking(store: Store, name: str) -> Sequence[Permit]:
    await store.heartbeat(name, LONG)
    return [Permit(name=name, token=f"{name}-1", worker_id=name, concurrency=1, rate=1 / LONG)]


def _granted(permits: Any, waits: Any) -> None:
    assert list(waits) == [0.0]


async def _holding(store: Store, name: str) -> Sequence[Permit]:
    (permit,) = await _asking(store, name)
    assert isinstance(store, SupportsLimits)
    assert list(await store.acquire([_without_rate(permit)])) == [0.0]
    return [permit]


def _without_rate(permit: Permit) -> Permit:
    """The permit without its rate, so that it can be asked for again and again."""
    return Permit(name=permit.name, token=permit.token, worker_id=permit.worker_id, concurrency=permit.concurrency)


async def _is_held(store: Store, permits: Any) -> bool:
    (permit,) = permits
    assert isinstance(store, SupportsLimits)
    other = Permit(name=permit.name, token="other", worker_id=permit.worker_id, concurrency=1)  # noqa: S106
    (wait,) = await store.acquire([other])
    if not wait:
        await store.give_back(permit.worker_id, [other.token])
    return wait > 0


async def _is_given_back(store: Store, permits: Any) -> bool:
    return not await _is_held(store, permits)


WRITES = (
    Call("commit of a creation", _creation, lambda store, batch: store.commit(batch), _written, _is_written),
    Call("commit of an append", _append, lambda store, batch: store.commit(batch), _written, _is_written),
    Call("commit of an end", _end, lambda store, batch: store.commit(batch), _written, _is_written),
    Call("commit of a steady append", _steadily, lambda store, batch: store.commit(batch), _written, _is_written),
    Call("commit without events", _record_only, lambda store, batch: store.commit(batch), _written, _is_written),
    Call("commit of a batch", _batch, lambda store, batch: store.commit(batch), _written, _is_written),
    Call("claim", _due, lambda store, name: store.claim(name, [name], limit=5), _claimed, _is_claimed, _took),
    Call(
        "claim of a named saga",
        _due,
        lambda store, name: store.claim(name, [name], limit=5, saga_ids=[name]),
        _claimed,
        _is_claimed,
        _took,
    ),
    Call(
        "release",
        _owned,
        lambda store, name: store.release(name, worker_id=name, fence=6),
        _released,
        _is_released,
        bool,
    ),
    Call("heartbeat", _nothing, lambda store, name: store.heartbeat(name, LONG), _beaten, _is_listed),
    Call("retire", _working, lambda store, name: store.retire(name), _no_answer, _is_forgotten),
    Call("purge", _ended, lambda store, name: store.purge(11.0), _purged, _is_purged, bool),
    Call(
        "purge that keeps the id",
        _ended,
        lambda store, name: store.purge(11.0, saga_ids=[name], keep_ids=LONG),
        _purged,
        _is_purged,
        bool,
    ),
    Call("save_definition", _nothing, lambda store, name: store.save_definition(name, b"[1]"), _no_answer, _is_defined),
)

READS = (
    Call("load", _stored, lambda store, name: store.load([name, "unknown"]), _loaded),
    Call("events", _stored, lambda store, name: store.events(name, 1), lambda name, log: _same(len(log), 1)),
    Call("find", _stored, lambda store, name: store.find(Filter(correlation_id=name)), _found),
    Call("workers", _stored, lambda store, name: store.workers(), lambda name, all_: _listed(name, all_)),
    Call("now", _nothing, lambda store, name: store.now(), lambda name, now: _same(now > 1e9, True)),
    Call("counts", _stored, lambda store, name: store.counts(), lambda name, counts: _same(len(counts) > 0, True)),
    Call("definitions", _stored, lambda store, name: store.definitions(), lambda name, all_: _same(all_[name], b"[1]")),
    Call(
        "check", _nothing, lambda store, name: store.check(), lambda name, found: _same(bool(found.description), True)
    ),
)

PERMITS = (
    Call("acquire", _asking, lambda store, permits: store.acquire(permits), _granted, _is_held),
    Call(
        "give_back",
        _holding,
        lambda store, permits: store.give_back(permits[0].worker_id, [permits[0].token]),
        lambda permits, answer: _same(answer, None),
        _is_given_back,
    ),
)


def calls_of(store: Store) -> Sequence[Call]:
    """The calls that this store must answer."""
    return (*WRITES, *READS, *(PERMITS if isinstance(store, SupportsLimits) else ()))


def _same(found: object, wanted: object) -> None:
    assert found == wanted


def _listed(name: str, workers: Any) -> None:
    assert name in [worker.worker_id for worker in workers]
