"""A Hypothesis state machine that runs any store beside :class:`MemoryStore` and compares their answers.

::

    async def open_store() -> Store:
        ...                                     # an empty store, set up; it is closed after each run

    TestMyStore = store_machine(open_store).TestCase

What must stay true: whatever is asked of the store is asked of the memory store too, with the store's own time; no
answer depends on how long a call takes, because due times and leases lie far from now. Needs ``hypothesis``.
"""

# ruff: noqa: S101

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, cast

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec.structs import replace

from ..runtime.memory import MemoryStore
from ..store import Append, AppendResult, Filter, Refused, Snapshot, Store, StoredSaga, Worker
from ..supports import Permit, SupportsLimits
from .appends import create, events, finish, follow, steady

IDS = ("a", "b", "c", "d")
WORKERS = ("w", "x", "y")
CALLERS = ("p", "q")  # they live on: what a permit comes to when its worker dies and comes back is left open
KINDS = ("A@1", "B@1")
STATES = ("started", "pending", "compensating", "completed", "failed")
CLOSE = 30.0  # seconds within which two times are the same: calls take time, and more of it on a busy machine

ids = st.sampled_from(IDS)
workers = st.sampled_from(WORKERS)
due_in = st.sampled_from([None, -300.0, -200.0, -100.0, 1000.0, 2000.0])
off = st.sampled_from([0, 0, 0, 0, 1, -1])
tags = st.dictionaries(st.sampled_from(["x", "y"]), st.sampled_from(["1", "2", "ä'\" %"]))
digests = st.sampled_from(["1", "2"])
flags = st.fixed_dictionaries(
    {},
    optional={
        "state": st.sampled_from(STATES),
        "outcome": st.sampled_from([None, "aborted"]),
        "stuck": st.booleans(),
        "suspended": st.booleans(),
        "owner": st.sampled_from([None, *WORKERS]),
        "attention": st.booleans(),
        "finished_at": st.sampled_from([None, 10.0, 20.0]),
        "problem": st.sampled_from([None, "why"]),
    },
)
callers = st.sampled_from(CALLERS)
permits = st.lists(
    st.builds(
        lambda name, worker, number, concurrency, rate, burst: Permit(
            name=name, token=f"{worker}-{number}", worker_id=worker, concurrency=concurrency, rate=rate, burst=burst
        ),
        st.sampled_from(["bank", "bank:1"]),
        callers,
        st.integers(1, 2),
        st.sampled_from([None, 1, 1, 2]),
        st.sampled_from([None, None, 1 / 3600]),
        st.integers(1, 3),
    ),
    max_size=3,
)
choice = st.tuples(ids, off, off, st.integers(0, 3), due_in, flags, st.booleans())
filters = st.builds(
    Filter,
    state=st.sampled_from([None, None, *STATES]),
    saga_type=st.sampled_from([None, None, "A", "B"]),
    stuck=st.sampled_from([None, None, True, False]),
    suspended=st.sampled_from([None, None, True, False]),
    live=st.sampled_from([None, None, True, False]),
    tags=tags,
    correlation_id=st.sampled_from([None, None, "a", "shared"]),
    parent_id=st.sampled_from([None, None, "a"]),
    older_than=st.sampled_from([None, None, 2.0]),
    finished_before=st.sampled_from([None, None, 10.0, 15.0]),
)


def store_machine(open_store: Callable[[], Awaitable[Store]]) -> type[RuleBasedStateMachine]:
    """The state machine for the stores that ``open_store`` opens; its ``TestCase`` is a test."""

    class Machine(StoreMachine):
        async def open(self) -> Store:
            return await open_store()

    Machine.__name__ = Machine.__qualname__ = f"{getattr(open_store, '__name__', 'store')}_machine"
    return Machine


class StoreMachine(RuleBasedStateMachine):
    """Asks a store and its model the same."""

    store: Store

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.time = 0.0
        self.model = MemoryStore(clock=lambda: self.time)
        self.written: list[Append] = []

    async def open(self) -> Store:
        """An empty store, set up."""
        return MemoryStore()

    @initialize()
    def begin(self) -> None:
        self.store = self.run(self.open())
        for caller in CALLERS:
            self.heartbeat(caller, 7200.0)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.run(self.store.close())
        self.runner.close()

    def run(self, call: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(call)

    def both(self, ask: Callable[[Store], Awaitable[Any]]) -> tuple[Any, Any]:
        """The store's answer and the model's, at the same time."""

        async def answers() -> tuple[Any, Any]:
            self.time = await self.store.now()
            return await ask(self.store), await ask(self.model)

        answer: tuple[Any, Any] = self.run(answers())
        return answer

    def commit(self, batch: Sequence[Append]) -> None:
        mine, expected = self.both(lambda store: store.commit(batch))
        assert [_comparable(result) for result in mine] == [_comparable(result) for result in expected]
        self.written += batch

    def at(self, seconds: float | None) -> float | None:
        return None if seconds is None else round(self.run(self.store.now())) + seconds

    @rule(
        saga_id=ids, kind=st.sampled_from(KINDS), due=due_in, tags=tags, flags=flags, digest=digests,
        created_at=st.sampled_from([1.0, 2.0]), fence=st.integers(1, 3), shared=st.booleans(),
        parent_id=st.sampled_from([None, "a"]), count=st.integers(1, 3),
    )  # fmt: skip
    def create(
        self, saga_id: str, kind: str, due: float | None, tags: dict[str, str], flags: dict[str, Any], digest: str,
        created_at: float, fence: int, shared: bool, parent_id: str | None, count: int,
    ) -> None:  # fmt: skip
        values = {"events": events(count), "fence": fence, "due_at": self.at(due)} | flags
        correlation_id = "shared" if shared else saga_id
        self.commit(
            [
                create(
                    saga_id, kind=kind, saga_type=kind[0], digest=digest, created_at=created_at, tags=tags,
                    parent_id=parent_id, correlation_id=correlation_id, **values,
                )
            ]
        )  # fmt: skip

    @rule(choices=st.lists(choice, max_size=4, unique_by=lambda values: values[0]))
    def append(self, choices: list[tuple[str, int, int, int, float | None, dict[str, Any], bool]]) -> None:
        batch = []
        for saga_id, version_off, fence_off, count, due, flags, snapshot in choices:
            stored = self.run(self.model.load([saga_id])).get(saga_id)
            if stored is None:
                batch.append(create(saga_id, kind=KINDS[0], saga_type="A", due_at=self.at(due), **flags))
                continue
            version, fence = stored.record.version + version_off, stored.record.fence + fence_off
            record = replace(stored.record, version=max(version, 1), fence=fence)
            values: dict[str, Any] = {"events": events(count), "due_at": self.at(due)} | flags
            if snapshot:
                values["snapshot"] = Snapshot(version=record.version + count, data=b'{"n": %d}' % record.version)
            batch.append(follow(record, **values))
        self.commit(batch)

    @rule(saga_id=ids, count=st.integers(0, 2), fence_off=off)
    def go_on_steadily(self, saga_id: str, count: int, fence_off: int) -> None:
        for stored in self.run(self.model.load([saga_id])).values():
            self.commit([steady(replace(stored.record, fence=stored.record.fence + fence_off), events=events(count))])

    @rule(saga_id=ids, at=st.sampled_from([10.0, 20.0]))
    def finish(self, saga_id: str, at: float) -> None:
        for stored in self.run(self.model.load([saga_id])).values():
            self.commit([finish(stored.record, at=at)])

    @rule(data=st.data())
    def write_again(self, data: st.DataObject) -> None:
        if self.written:
            chosen = data.draw(st.lists(st.sampled_from(self.written), max_size=3, unique_by=lambda a: a.saga_id))
            self.commit(chosen)

    @rule(worker=workers, kinds=st.lists(st.sampled_from(KINDS), max_size=3), limit=st.integers(0, 3))
    def claim(self, worker: str, kinds: list[str], limit: int) -> None:
        self.compare_claims(lambda store: store.claim(worker, kinds, limit=limit))

    @rule(worker=workers, names=st.lists(ids, max_size=4), limit=st.integers(0, 5))
    def claim_named(self, worker: str, names: list[str], limit: int) -> None:
        # Which of them a limit leaves out is the store's choice.
        enough = limit if limit >= len(set(names)) else len(set(names))
        self.compare_claims(lambda store: store.claim(worker, KINDS, limit=enough, saga_ids=names))

    def compare_claims(self, ask: Callable[[Store], Awaitable[Any]]) -> None:
        mine, expected = self.both(ask)
        assert sorted(map(_stored, mine.sagas), key=_id) == sorted(map(_stored, expected.sagas), key=_id)
        assert [saga.record.due_at for saga in mine.sagas] == [saga.record.due_at for saga in expected.sagas]
        assert sorted(mine.attention) == sorted(expected.attention)
        assert (mine.next_due is None) == (expected.next_due is None)
        assert abs((mine.next_due or 0) - (expected.next_due or 0)) < CLOSE
        assert abs(mine.now - expected.now) < CLOSE

    @rule(saga_id=ids, worker=workers, fence_off=off)
    def release(self, saga_id: str, worker: str, fence_off: int) -> None:
        stored = self.run(self.model.load([saga_id])).get(saga_id)
        fence = (stored.record.fence if stored else 1) + fence_off
        mine, expected = self.both(lambda store: store.release(saga_id, worker_id=worker, fence=fence))
        assert mine is expected

    @rule(worker=workers, ttl=st.sampled_from([3600.0, 7200.0, -3600.0]))
    def heartbeat(self, worker: str, ttl: float) -> None:
        mine, expected = self.both(lambda store: store.heartbeat(worker, ttl))
        assert _same_lease(mine, expected)

    @rule(worker=workers)
    def retire(self, worker: str) -> None:
        self.both(lambda store: store.retire(worker))

    @rule(before=st.sampled_from([5.0, 15.0, 20.0, 25.0]), keep_ids=st.sampled_from([0.0, 0.0, 3600.0, -1.0]))
    def purge(self, before: float, keep_ids: float) -> None:
        mine, expected = self.both(lambda store: store.purge(before, keep_ids=keep_ids))
        assert mine == expected

    @rule(before=st.sampled_from([15.0, 25.0]), names=st.lists(ids, max_size=4), kept=st.sampled_from([0.0, 3600.0]))
    def purge_named(self, before: float, names: list[str], kept: float) -> None:
        mine, expected = self.both(lambda store: store.purge(before, saga_ids=names, keep_ids=kept))
        assert mine == expected

    @rule(permits=permits, back=st.sampled_from([None, None, *CALLERS]))
    def acquire_and_give_back(self, permits: list[Permit], back: str | None) -> None:
        if not isinstance(self.store, SupportsLimits):
            return
        mine, expected = self.both(lambda store: cast(SupportsLimits, store).acquire(permits))
        assert [wait == 0 for wait in mine] == [wait == 0 for wait in expected]
        assert all(abs(one - other) < CLOSE for one, other in zip(mine, expected, strict=True))
        if back is not None:
            self.both(lambda store: cast(SupportsLimits, store).give_back(back, [f"{back}-1", f"{back}-3"]))

    @rule(where=filters, limit=st.integers(1, 3))
    def find(self, where: Filter, limit: int) -> None:
        cursors: list[str | None] = [None, None]
        for _ in range(len(IDS) + 1):
            page, expected = (
                self.run(store.find(where, cursor=cursor, limit=limit))
                for store, cursor in zip((self.store, self.model), cursors, strict=True)
            )
            assert list(page.records) == list(expected.records)
            assert (page.cursor is None) == (expected.cursor is None)
            cursors = [page.cursor, expected.cursor]
            if page.cursor is None:
                return

    @rule(kind=st.sampled_from(KINDS), shape=st.sampled_from([b"{}", b"[1]"]))
    def save_definition(self, kind: str, shape: bytes) -> None:
        self.both(lambda store: store.save_definition(kind, shape))
        mine, expected = self.both(lambda store: store.definitions())
        assert mine == expected

    @invariant()
    def holds_the_same(self) -> None:
        if not hasattr(self, "store"):
            return
        mine, expected = self.both(lambda store: store.load(IDS))
        assert {name: _stored(saga) for name, saga in mine.items()} == expected
        mine, expected = self.both(lambda store: store.counts())
        assert sorted(mine, key=str) == sorted(expected, key=str)
        mine, expected = self.both(lambda store: store.workers())
        assert len(mine) == len(expected)
        assert all(map(_same_lease, sorted(mine, key=_worker_id), sorted(expected, key=_worker_id)))
        for after, saga_id in enumerate(IDS):
            log, expected = self.both(partial(_events, saga_id, after))
            assert list(log) == list(expected)


async def _events(saga_id: str, after: int, store: Store) -> Any:
    return await store.events(saga_id, after)


def _stored(saga: StoredSaga) -> StoredSaga:
    """The same, whatever kind of sequence its store makes of the events."""
    return replace(saga, events=tuple(saga.events))


def _id(saga: Any) -> str:
    return str(saga.record.saga_id)


def _worker_id(worker: Worker) -> str:
    return worker.worker_id


def _same_lease(mine: Worker, expected: Worker) -> bool:
    return mine.worker_id == expected.worker_id and abs(mine.until - expected.until) < CLOSE


def _comparable(result: AppendResult) -> object:
    return Refused if isinstance(result, Refused) else result
