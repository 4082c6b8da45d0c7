"""Writes to a store what is copied into it.

What must stay true: a saga whose log has not arrived whole bears a mark, so that nobody takes it up; the append that
brings the last of its events is the one that says how the saga stands. Every append may be handed in again: what is
not known to have been applied is tried until it is known.
"""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TypeVar

import attrs
from msgspec.structs import replace

from ..core.errors import OutcomeUnknown, StoreUnavailable
from ..core.lifecycle import SagaState
from ..store import (
    Append,
    AppendResult,
    Birth,
    Committed,
    Duplicate,
    NewEvent,
    Record,
    Store,
    StoredEvent,
)
from .marks import AsItWas
from .whole import TERMINAL, Whole

PIECE_EVENTS = 500
PIECE_BYTES = 512 * 1024
"""Of a log that one append carries: a database has limits for one write, and none for many."""

BATCH_APPENDS = 200
BATCH_BYTES = 4 * 1024 * 1024
TRIES = 8
LONGEST_PAUSE = 5.0

T = TypeVar("T")

_COUNT = itertools.count()
_RUN = uuid.uuid4().hex[:16]


def append_id() -> str:
    """An id that no other append has."""
    return f"copy-{_RUN}-{next(_COUNT):x}"


@attrs.frozen(kw_only=True)
class Standing:
    """How a saga's record is to stand once its log has arrived: what an append says of it."""

    state: str
    outcome: str | None = None
    stuck: bool = False
    suspended: bool = False
    due_at: float | None = None
    finished_at: float | None = None
    problem: str | None = None

    @classmethod
    def of(cls, record: Record) -> Standing:
        """As the record stands."""
        return cls(
            state=record.state,
            outcome=record.outcome,
            stuck=record.stuck,
            suspended=record.suspended,
            due_at=record.due_at,
            finished_at=record.finished_at,
            problem=record.problem,
        )

    def marked(self, problem: str) -> Standing:
        """The same, out of everybody's reach; not ended either, for a purge must not take half a saga."""
        state = SagaState.STARTED.value if self.state in TERMINAL else self.state
        return attrs.evolve(self, state=state, outcome=None, stuck=True, due_at=None, finished_at=None, problem=problem)

    def unmarked(self, was: AsItWas) -> Standing:
        """As it was before it was marked."""
        return attrs.evolve(self, stuck=was.stuck, due_at=was.due_at, problem=was.problem)


def record_only(record: Record, standing: Standing) -> Append:
    """The append that changes how a saga stands, and releases it."""
    return _append(record, record.version, record.fence, (), standing)


def appends_for(saga: Whole, have: int, fence: int, standing: Standing, on_the_way: Standing) -> Iterator[Append]:
    """The appends that bring what comes after the first ``have`` events; at least one.

    ``on_the_way``: how the record stands until the last of them.
    """
    pieces = list(_pieces(saga.events[have:])) or [()]
    for number, piece in enumerate(pieces, start=1):
        last = number == len(pieces)
        append = _append(saga.record, have, fence, piece, standing if last else on_the_way)
        if have == 0:
            append = replace(append, birth=_birth(saga.record))
        if last and saga.snapshot is not None and piece:
            append = replace(append, snapshot=saga.snapshot)
        yield append
        have += len(piece)


def _append(record: Record, version: int, fence: int, piece: Sequence[StoredEvent], standing: Standing) -> Append:
    return Append(
        saga_id=record.saga_id,
        append_id=append_id(),
        expected_version=version,
        fence=fence,
        events=[NewEvent(event.type, event.at, event.data) for event in piece],
        updated_at=record.updated_at,
        **attrs.asdict(standing),
    )


def _birth(record: Record) -> Birth:
    return Birth(
        saga_type=record.saga_type,
        kind=record.kind,
        correlation_id=record.correlation_id,
        digest=record.digest,
        created_at=record.created_at,
        parent_id=record.parent_id,
        tags=record.tags,
    )


def _pieces(events: Sequence[StoredEvent]) -> Iterator[Sequence[StoredEvent]]:
    piece: list[StoredEvent] = []
    size = 0
    for event in events:
        if piece and (len(piece) >= PIECE_EVENTS or size + len(event.data) > PIECE_BYTES):
            yield piece
            piece, size = [], 0
        piece.append(event)
        size += len(event.data)
    if piece:
        yield piece


async def surely(call: Callable[[], Awaitable[T]]) -> T:
    """Ask a store until it answers. Raises what it raised last where it does not answer for long."""
    for attempt in range(TRIES):
        try:
            return await call()
        except (StoreUnavailable, OutcomeUnknown):
            if attempt == TRIES - 1:
                raise
            await asyncio.sleep(min(0.1 * 2**attempt, LONGEST_PAUSE))
    raise AssertionError("unreachable")


async def commit_all(store: Store, appends: Sequence[Append]) -> list[AppendResult]:
    """Commit appends of different sagas, in batches that are not too large; one result each, in order."""
    results: list[AppendResult] = []
    batch: list[Append] = []
    size = 0
    for append in appends:
        weight = sum(len(event.data) + 100 for event in append.events)
        if batch and (len(batch) >= BATCH_APPENDS or size + weight > BATCH_BYTES):
            results += await _commit(store, batch)
            batch, size = [], 0
        batch.append(append)
        size += weight
    if batch:
        results += await _commit(store, batch)
    return results


async def _commit(store: Store, batch: Sequence[Append]) -> Sequence[AppendResult]:
    return await surely(lambda: store.commit(batch))


async def write_logs(store: Store, logs: Sequence[Iterator[Append]]) -> list[AppendResult]:
    """Write the appends of several sagas, those of each one after the other; how the last one tried of each ended."""
    ended: dict[int, AppendResult] = {}
    going = dict(enumerate(logs))
    while going:
        numbers, appends = [], []
        for number, log in list(going.items()):
            append = next(log, None)
            if append is None:
                del going[number]
            else:
                numbers.append(number)
                appends.append(append)
        for number, result in zip(numbers, await commit_all(store, appends), strict=True):
            ended[number] = result
            if not isinstance(result, (Committed, Duplicate)):
                del going[number]
    return [ended[number] for number in range(len(logs))]
