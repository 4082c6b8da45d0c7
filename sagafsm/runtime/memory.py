"""MemoryStore: the store protocol in plain dictionaries. The reference: where another store differs, that one is wrong.

What must stay true: read beside :mod:`sagafsm.store`, this file says what every sentence of the protocol means. It is
therefore written to be read, not to be fast, and it does nothing that a database could not do as well. Nothing is
awaited inside a method and a lock is held, so each method is one atomic step, also between threads.

What is stored lives as long as the object: closing it forgets nothing, so several orchestrators may share one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import urlsplit

from msgspec.structs import replace

from ..core.errors import SettingsError
from ..core.lifecycle import SagaState
from ..cursor import make_cursor, parse_cursor
from ..store import (
    Append,
    AppendResult,
    Birth,
    Claim,
    Committed,
    Conflict,
    Count,
    Duplicate,
    Durability,
    Exists,
    Fenced,
    Filter,
    Page,
    Record,
    Refused,
    Snapshot,
    StoredEvent,
    StoredSaga,
    Worker,
)
from ..supports import Permit
from .memory_limits import MemoryLimits

TERMINAL = frozenset(state.value for state in SagaState if state.terminal)


class _Saga:
    """One saga: its record, its events, the append id of each event, and its snapshot."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.events: list[StoredEvent] = []
        self.append_ids: list[str] = []
        self.snapshot: Snapshot | None = None

    def stored(self) -> StoredSaga:
        after = self.snapshot.version if self.snapshot else 0
        return StoredSaga(record=self.record, snapshot=self.snapshot, events=tuple(self.events[after:]))

    def wrote(self, append: Append) -> bool:
        """Whether this very append stands where it wanted to stand."""
        at = append.expected_version
        return bool(append.events) and at < len(self.append_ids) and self.append_ids[at] == append.append_id


class MemoryStore:
    """Keeps sagas in this process, for tests and for trying things out; nothing survives the process.

    ``clock`` gives the store's time in seconds since the epoch; tests hand in a virtual one.
    """

    batches = 1
    _named: ClassVar[dict[str, MemoryStore]] = {}

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._sagas: dict[str, _Saga] = {}
        self._workers: dict[str, float] = {}
        self._definitions: dict[str, bytes] = {}
        self._limits = MemoryLimits(self._alive)
        self._purged: dict[str, tuple[str, float]] = {}  # the digest of what is gone, and until when its id is taken

    @classmethod
    def from_url(cls, url: str) -> MemoryStore:
        """``memory://`` is a fresh store each time; ``memory://name`` is the same one throughout this process."""
        parts = urlsplit(url)
        if parts.query or parts.path.strip("/"):
            raise SettingsError(f"{url!r}: a memory store takes no options; write 'memory://' or 'memory://name'")
        return cls._named.setdefault(parts.netloc, cls()) if parts.netloc else cls()

    async def setup(self, *, migrate: bool = True) -> None:
        """There is nothing to open."""

    async def close(self) -> None:
        """Keep everything: another orchestrator may be using this store."""

    async def check(self) -> Durability:
        return Durability(synced=False, description="in the memory of this process", warnings=(LOST,))

    async def commit(self, batch: Sequence[Append]) -> Sequence[AppendResult]:
        with self._lock:
            return [self._append(append) for append in batch]

    def _append(self, append: Append) -> AppendResult:
        saga = self._sagas.get(append.saga_id)
        if append.expected_version == 0:
            if append.birth is None or not append.events:
                return Refused("a saga is created with its birth and at least one event")
            if saga is None:
                digest, until = self._purged.get(append.saga_id, ("", 0.0))
                if until > self._clock():
                    return Exists(same=digest == append.birth.digest, purged=True)
                saga = self._sagas[append.saga_id] = _Saga(_born(append, append.birth))
                return self._write(saga, append)
            if saga.wrote(append):
                return Duplicate(saga.record.version)
            return Exists(same=saga.record.digest == append.birth.digest)
        if saga is None:
            return Conflict(0)
        if saga.record.version != append.expected_version:
            return Duplicate(saga.record.version) if saga.wrote(append) else Conflict(saga.record.version)
        if saga.record.fence != append.fence:
            return Fenced(saga.record.fence)
        return self._write(saga, append)

    def _write(self, saga: _Saga, append: Append) -> Committed:
        version = append.expected_version + len(append.events)
        for seq, event in enumerate(append.events, append.expected_version + 1):
            saga.events.append(StoredEvent(seq, event.type, event.at, event.data))
            saga.append_ids.append(append.append_id)
        if append.snapshot is not None:
            saga.snapshot = append.snapshot
        if append.steady:
            saga.record = replace(saga.record, version=version, updated_at=append.updated_at)
            return Committed(version)
        saga.record = replace(
            saga.record,
            version=version,
            state=append.state,
            outcome=append.outcome,
            stuck=append.stuck,
            suspended=append.suspended,
            owner=append.owner,
            due_at=append.due_at,
            attention=append.attention,
            updated_at=append.updated_at,
            finished_at=append.finished_at,
            problem=append.problem,
        )
        return Committed(version)

    async def load(self, saga_ids: Sequence[str]) -> Mapping[str, StoredSaga]:
        with self._lock:
            return {saga_id: self._sagas[saga_id].stored() for saga_id in saga_ids if saga_id in self._sagas}

    async def events(self, saga_id: str, after: int = 0) -> Sequence[StoredEvent]:
        with self._lock:
            saga = self._sagas.get(saga_id)
            return tuple(saga.events[after:]) if saga else ()

    async def find(self, where: Filter, *, cursor: str | None = None, limit: int = 100) -> Page:
        with self._lock:
            found = sorted((s.record for s in self._sagas.values() if _matches(s.record, where)), key=_creation)
        if cursor is not None:
            start = parse_cursor(cursor)
            found = [record for record in found if _creation(record) > start]
        rest = len(found) > limit
        found = found[:limit]
        return Page(found, make_cursor(*_creation(found[-1])) if rest and found else None)

    async def claim(
        self, worker_id: str, kinds: Sequence[str], *, limit: int, saga_ids: Sequence[str] | None = None
    ) -> Claim:
        with self._lock:
            now = self._clock()
            if not self._alive(worker_id, now):
                return Claim(sagas=(), attention=(), next_due=None, now=now)
            mine = [s.record for s in self._sagas.values() if s.record.owner == worker_id]
            attention = [record.saga_id for record in mine if record.attention]
            taken = []
            for saga in self._claimable(worker_id, kinds, now, saga_ids)[: max(limit, 0)]:
                saga.record = replace(saga.record, owner=worker_id, fence=saga.record.fence + 1, attention=False)
                taken.append(saga.stored())
            return Claim(sagas=taken, attention=attention, next_due=self._next_due(worker_id, kinds, now), now=now)

    def _alive(self, owner: str | None, now: float) -> bool:
        return owner is not None and self._workers.get(owner, now) > now

    def _claimable(
        self, worker_id: str, kinds: Sequence[str], now: float, saga_ids: Sequence[str] | None
    ) -> list[_Saga]:
        def free(saga: _Saga) -> bool:
            record = saga.record
            return record.kind in kinds and record.owner != worker_id and not self._alive(record.owner, now)

        if saga_ids is not None:
            named = (self._sagas[saga_id] for saga_id in dict.fromkeys(saga_ids) if saga_id in self._sagas)
            return [saga for saga in named if free(saga) and saga.record.state not in TERMINAL]
        due = [(s.record.due_at, s.record.saga_id, s) for s in self._sagas.values() if s.record.due_at is not None]
        return [saga for due_at, _, saga in sorted(due, key=lambda item: item[:2]) if due_at <= now and free(saga)]

    def _next_due(self, worker_id: str, kinds: Sequence[str], now: float) -> float | None:
        """Until when nothing can be claimed, if nobody writes: a saga owned by the living waits for their lease."""

        def times() -> Iterator[float]:
            for saga in self._sagas.values():
                record = saga.record
                if record.due_at is not None and record.kind in kinds and record.owner != worker_id:
                    yield max(record.due_at, self._workers.get(record.owner or "", now))

        earliest = min(times(), default=None)
        return None if earliest is None else max(earliest - now, 0.0)

    async def release(self, saga_id: str, *, worker_id: str, fence: int) -> bool:
        with self._lock:
            saga = self._sagas.get(saga_id)
            if saga is None or (saga.record.owner, saga.record.fence) != (worker_id, fence):
                return False
            saga.record = replace(saga.record, owner=None)
            return True

    async def heartbeat(self, worker_id: str, ttl: float) -> Worker:
        with self._lock:
            self._workers[worker_id] = until = self._clock() + ttl
            return Worker(worker_id, until)

    async def workers(self) -> Sequence[Worker]:
        with self._lock:
            return [Worker(worker_id, until) for worker_id, until in sorted(self._workers.items())]

    async def retire(self, worker_id: str) -> None:
        with self._lock:
            self._workers.pop(worker_id, None)

    async def now(self) -> float:
        return self._clock()

    async def counts(self) -> Sequence[Count]:
        with self._lock:
            tally: dict[tuple[str, str, str, bool, bool], int] = {}
            for saga in self._sagas.values():
                r = saga.record
                key = (r.kind, r.saga_type, r.state, r.stuck, r.suspended)
                tally[key] = tally.get(key, 0) + 1
        return [
            Count(kind=kind, saga_type=saga_type, state=state, stuck=stuck, suspended=suspended, count=count)
            for (kind, saga_type, state, stuck, suspended), count in sorted(tally.items())
        ]

    async def purge(
        self, finished_before: float, *, limit: int = 500, keep_ids: float = 0.0, saga_ids: Sequence[str] | None = None
    ) -> int:
        with self._lock:
            now = self._clock()
            self._purged = {name: (digest, until) for name, (digest, until) in self._purged.items() if until > now}
            wanted = Filter(finished_before=finished_before)
            names = list(self._sagas) if saga_ids is None else dict.fromkeys(saga_ids)
            ended = [self._sagas[name].record for name in names if name in self._sagas]
            gone = [record for record in ended if _matches(record, wanted)][: max(limit, 0)]
            for record in gone:
                del self._sagas[record.saga_id]
                self._purged[record.saga_id] = record.digest, now + keep_ids
            return len(gone)

    async def acquire(self, permits: Sequence[Permit]) -> Sequence[float]:
        with self._lock:
            now = self._clock()
            return [self._limits.acquire(permit, now) for permit in permits]

    async def give_back(self, worker_id: str, tokens: Sequence[str]) -> None:
        with self._lock:
            self._limits.give_back(worker_id, set(tokens))

    async def save_definition(self, kind: str, shape: bytes) -> None:
        with self._lock:
            self._definitions.setdefault(kind, shape)

    async def definitions(self) -> Mapping[str, bytes]:
        with self._lock:
            return dict(self._definitions)


LOST = "a memory store forgets everything when the process ends; use 'sqlite:///sagas.db' to keep sagas"


def _born(append: Append, birth: Birth) -> Record:
    return Record(
        saga_id=append.saga_id,
        saga_type=birth.saga_type,
        kind=birth.kind,
        state=append.state,
        outcome=append.outcome,
        stuck=append.stuck,
        suspended=append.suspended,
        version=0,
        fence=append.fence,
        owner=append.owner,
        due_at=append.due_at,
        attention=append.attention,
        correlation_id=birth.correlation_id,
        digest=birth.digest,
        created_at=birth.created_at,
        updated_at=append.updated_at,
        parent_id=birth.parent_id,
        tags=dict(birth.tags),
    )


def _matches(record: Record, where: Filter) -> bool:
    wanted: Mapping[str, Any] = {
        "state": where.state,
        "saga_type": where.saga_type,
        "stuck": where.stuck,
        "suspended": where.suspended,
        "correlation_id": where.correlation_id,
        "parent_id": where.parent_id,
    }
    return (
        all(value is None or getattr(record, name) == value for name, value in wanted.items())
        and (where.live is None or where.live == (record.state not in TERMINAL))
        and (where.older_than is None or record.created_at < where.older_than)
        and (where.finished_before is None or _ended_before(record, where.finished_before))
        and all(record.tags.get(key) == value for key, value in where.tags.items())
    )


def _ended_before(record: Record, time: float) -> bool:
    return record.state in TERMINAL and record.finished_at is not None and record.finished_at < time


def _creation(record: Record) -> tuple[float, str]:
    return record.created_at, record.saga_id
