"""The database of a simulated run: one MemoryStore that all processes share, and a record of everything it granted.

What must stay true: the store that decides is the reference, unchanged; each request is one atomic step, taken in the
database's own time, whatever became of the process that sent it. The record of grants is kept from what was answered,
so that it is a second opinion on the store too.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator, Iterable, Sequence
from contextvars import Context, copy_context
from typing import Any, TypeVar

from ...core.codec import replay
from ...core.definition import SagaDefinition
from ...core.errors import OutcomeUnknown, StoreError, StoreUnavailable
from ...core.lifecycle import SagaState
from ...core.progress import Progress
from ...runtime.memory import MemoryStore
from ...store import (
    Append,
    AppendResult,
    Birth,
    Claim,
    Committed,
    Duplicate,
    Fenced,
    NewEvent,
    StoredSaga,
    Worker,
)
from ..environment import EPOCH
from ..loop import PROCESS, VirtualLoop
from ..trace import Appended, Beat, Granted, Heard, Purged, Released, Retired, Trace
from .faults import Faults

T = TypeVar("T")

TERMINAL = frozenset(state.value for state in SagaState if state.terminal)
SLOW = (0.05, 0.4, 2.0, 7.0)  # seconds that a slow answer takes: from a hiccup to longer than a lease
LATE = SLOW[:3]  # no store lets a request go on for longer than its clients are patient


def _ignore(answer: object) -> None:
    """Nobody learns anything from this."""


class Server:
    """The database and its clock. ``watching``: who is shown every append that is accepted."""

    def __init__(self, loop: VirtualLoop, trace: Trace, faults: Faults, below: Callable[[int], int]) -> None:
        self.loop = loop
        self.trace = trace
        self.faults = faults
        self.below = below
        self.jump = 0.0
        self.memory = self.make_memory()
        self.births: dict[str, Birth] = {}
        self.watching: list[Callable[[Append], object]] = []
        self.context: Context = copy_context()
        self.context.run(PROCESS.set, "store")
        self._before: dict[str, StoredSaga] = {}
        self._troubles = {name: faults.possible(sites) for name, sites in _TROUBLES.items()}

    def make_memory(self) -> MemoryStore:
        """The store itself; tests plant mistakes here."""
        return MemoryStore(clock=self.clock)

    def clock(self) -> float:
        """The one clock that counts."""
        return EPOCH + self.loop.now + self.jump

    # --- requests ---

    def request(self, work: Callable[[], T], site: str, told: Callable[[T], object] = _ignore) -> asyncio.Future[T]:
        """Send a request; what goes wrong on the way is the sites' of this name ("commit", "read", …).

        ``told`` is called with the answer when it arrives.
        """
        loop = self.loop
        future: asyncio.Future[T] = asyncio.Future(loop=loop)
        trouble = self._trouble(site)
        if trouble is None:
            loop.call_soon(_serve, future, work, told, context=self.context)
        else:
            self._go_wrong(trouble, future, work, told)
        return future

    async def glance(self, work: Callable[[], T]) -> T:
        """Read what decides nothing about a saga: where all goes well it is read at once, and answered a step later."""
        trouble = self._trouble("read")
        if trouble is not None:
            future: asyncio.Future[T] = self.loop.create_future()
            self._go_wrong(trouble, future, work, _ignore)
            return await future
        answer = work()
        await _a_step_later()
        return answer

    def _trouble(self, site: str) -> str | None:
        if self.loop.owners is not None:
            self.loop.noted()
        possible = self._troubles[site]
        return self.faults.first(possible) if possible else None

    def _go_wrong(
        self, trouble: str, future: asyncio.Future[T], work: Callable[[], T], told: Callable[[T], object]
    ) -> None:
        loop, context = self.loop, self.context
        how = trouble.rpartition(" ")[2]
        if how == "before":
            error: StoreError = StoreUnavailable("the connection was refused")
            loop.call_soon(_fail, future, error, context=context)
        elif how == "after":
            loop.call_soon(_serve_and_lose, future, work, context=context)
        elif how == "late":
            error = OutcomeUnknown("the connection was lost; the request is still on its way")
            loop.call_soon(_fail, future, error, context=context)
            loop.call_later(LATE[self.below(len(LATE))], _serve_unseen, work, context=context)
        else:
            half = SLOW[self.below(len(SLOW))] / 2
            loop.call_later(half, _serve_slowly, future, work, told, loop, half, context=context)

    # --- what it does; each is one atomic step ---

    def commit(self, process: str, batch: Sequence[Append]) -> Sequence[AppendResult]:
        """Decide on a batch."""
        if self.faults.stale_reads:
            stored = done(self.memory.load([append.saga_id for append in batch]))
            self._before.update(stored)
        results = done(self.memory.commit(batch))
        at, now = self.loop.now, self.clock()
        for append, result in zip(batch, results, strict=True):
            accepted = type(result) is Committed
            self.trace.add(
                Appended(
                    at, process, append.saga_id, append.append_id, append.expected_version, append.fence,
                    tuple(append.events), type(result).__name__, append.owner, append.state, append.stuck,
                    append.due_at, now, append.steady,
                )
            )  # fmt: skip
            if not accepted:
                continue
            if append.birth is not None:
                self.births[append.saga_id] = append.birth
                if append.owner is not None:
                    self.trace.add(Granted(at, process, append.owner, append.saga_id, append.fence, now, birth=True))
            for watcher in self.watching:
                watcher(append)
        return results

    def told(self, process: str, batch: Sequence[Append], results: Sequence[AppendResult]) -> None:
        """A process is answered: from now on it knows which of its sagas have ended, or are no longer its."""
        for append, result in zip(batch, results, strict=True):
            kind = type(result)
            if kind is Fenced:
                self.trace.add(Heard(self.loop.now, process, append.saga_id, True))
            elif append.state in TERMINAL and (kind is Committed or kind is Duplicate):
                self.trace.add(Heard(self.loop.now, process, append.saga_id))

    def claim(
        self, process: str, worker: str, kinds: Sequence[str], limit: int, saga_ids: Sequence[str] | None
    ) -> Claim:
        """Give sagas to a worker."""
        claim = done(self.memory.claim(worker, kinds, limit=limit, saga_ids=saga_ids))
        at, now = self.loop.now, self.clock()
        for stored in claim.sagas:
            record = stored.record
            self.trace.add(Granted(at, process, worker, record.saga_id, record.fence, now))
        return claim

    def release(self, process: str, saga_id: str, worker: str, fence: int) -> bool:
        """Take a saga back."""
        given = done(self.memory.release(saga_id, worker_id=worker, fence=fence))
        self.trace.add(Released(self.loop.now, process, worker, saga_id, fence, given))
        return given

    def heartbeat(self, process: str, worker: str, ttl: float, asked: float) -> Worker:
        """Renew a lease."""
        lease = done(self.memory.heartbeat(worker, ttl))
        self.trace.add(Beat(self.loop.now, process, worker, lease.until, self.clock(), asked, ttl))
        return lease

    def retire(self, process: str, worker: str) -> None:
        """Forget a worker."""
        done(self.memory.retire(worker))
        self.trace.add(Retired(self.loop.now, process, worker))

    def load(self, saga_ids: Sequence[str], *, stale: bool) -> dict[str, StoredSaga]:
        """Read sagas; stale: as they were before the last write to each."""
        found = dict(done(self.memory.load(saga_ids)))
        if stale:
            found.update((saga_id, self._before[saga_id]) for saga_id in found if saga_id in self._before)
        return found

    def purge(self, process: str, before: float, limit: int, keep_ids: float, saga_ids: Sequence[str] | None) -> int:
        """Delete what ended long ago."""
        there = set(self.births)
        count = done(self.memory.purge(before, limit=limit, keep_ids=keep_ids, saga_ids=saga_ids))
        gone = tuple(sorted(there - set(done(self.memory.load(sorted(there))))))
        if gone:
            self.trace.add(Purged(self.loop.now, process, gone, before))
            for saga_id in gone:
                del self.births[saga_id]
        return count

    def poison(self, saga_id: str, definition: SagaDefinition) -> None:
        """Put a saga there that is due, and that nobody can read."""
        now = self.clock()
        birth = Birth(
            saga_type=definition.name, kind=definition.kind, correlation_id=saga_id, digest="", created_at=now
        )
        append = Append(
            saga_id=saga_id, append_id=f"birth of {saga_id}", expected_version=0, fence=0, state="started",
            events=[NewEvent("SagaStarted", now, b'{"saga_id":')], updated_at=now, due_at=now - 1.0, birth=birth,
        )  # fmt: skip
        self.commit("", [append])

    def fold_of(self, saga_id: str) -> Progress:
        """Where a saga stands, by its whole log."""
        events = done(self.memory.events(saga_id))
        return replay(saga_id, events, None)

    def now_holds(self, saga_ids: Iterable[str]) -> dict[str, StoredSaga]:
        """What is stored, for those who judge the run."""
        return dict(done(self.memory.load(list(saga_ids))))


@types.coroutine
def _a_step_later() -> Generator[None, None, None]:
    yield


def done(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that waits for nothing, as all of a MemoryStore's do."""
    try:
        work.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("a memory store waits for nothing")


def _serve(future: asyncio.Future[T], work: Callable[[], T], told: Callable[[T], object]) -> None:
    try:
        result = work()
    except Exception as exc:
        _fail(future, exc)
    else:
        if not future.done():
            told(result)
            future.set_result(result)


def _serve_slowly(
    future: asyncio.Future[T], work: Callable[[], T], told: Callable[[T], object], loop: VirtualLoop, back: float
) -> None:
    """The request took its time, and so does the answer."""
    inner: asyncio.Future[T] = loop.create_future()
    _serve(inner, work, _ignore)
    loop.call_later(back, _pass_on, inner, future, told)


def _pass_on(inner: asyncio.Future[T], future: asyncio.Future[T], told: Callable[[T], object]) -> None:
    error = inner.exception()
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        told(inner.result())
        future.set_result(inner.result())


def _serve_and_lose(future: asyncio.Future[T], work: Callable[[], T]) -> None:
    work()
    _fail(future, OutcomeUnknown("the answer was lost on its way back"))


def _serve_unseen(work: Callable[[], Any]) -> None:
    work()


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


_TROUBLES: dict[str, tuple[str, ...]] = {
    "commit": ("commit before", "commit after", "commit late", "commit slow"),
    "claim": ("claim before", "claim after", "claim late", "claim slow"),
    "beat": ("beat before", "beat after", "beat slow"),
    "read": ("read before", "read slow"),
}
