"""A store that fails on demand: what the engine does with a store whose network, disk or server is not well.

::

    store = FaultyStore(MemoryStore())
    store.plan(Fault.UNTOLD, "commit", call=3)      # the third commit from now on is applied, and nobody is told
    async with Orchestrator(store, sagas=[…]): ...

What must stay true: a fault is what it says. Where the write is said to be made, it is made by the store within,
exactly once; what was planned and not reached is seen in ``struck``.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Self, cast

from ..core.errors import OutcomeUnknown, StoreUnavailable
from ..store import (
    Append,
    AppendResult,
    Claim,
    Count,
    Durability,
    Filter,
    Page,
    Store,
    StoredEvent,
    StoredSaga,
    Worker,
)

READS = frozenset({"check", "load", "events", "find", "workers", "now", "counts", "definitions", "wait_for_change"})
ABILITIES = ("wait_for_change", "acquire", "give_back")


class Fault(enum.Enum):
    """What can become of a call."""

    BEFORE = "before"
    """It fails before it does anything: StoreUnavailable."""
    UNTOLD = "untold"
    """It is done, and then fails: OutcomeUnknown."""
    LOST = "lost"
    """It is not done, and nobody knows: OutcomeUnknown."""
    LATE = "late"
    """It fails with OutcomeUnknown, and is done ``seconds`` later."""
    SLOW = "slow"
    """It is done ``seconds`` later, and succeeds."""
    STALE = "stale"
    """A read answers what it answered to the same question before; the first time, it answers rightly."""


class PlannedFault:
    """One planned fault. ``struck``: how often it has happened."""

    def __init__(self, fault: Fault, method: str, first: int, times: int, seconds: float) -> None:
        self.fault = fault
        self.seconds = seconds
        self.struck = 0
        self._method = method
        self._first = first
        self._times = times
        self._seen = 0

    def _meets(self, method: str) -> bool:
        if method != self._method:
            return False
        self._seen += 1
        return self._first <= self._seen < self._first + self._times


class FaultyStore:
    """Any store, with faults where they are planned. It can do what the store within can, but has no twin."""

    def __new__(cls, store: Store) -> Self:
        abilities = {name: _ability(name) for name in ABILITIES if hasattr(store, name)}
        return super().__new__(cast("type[Self]", type(cls.__name__, (cls,), abilities)))

    def __init__(self, store: Store) -> None:
        self.within = store
        self.batches = store.batches
        self._plans: list[PlannedFault] = []
        self._answers: dict[tuple[str, str], Any] = {}
        self._late: set[asyncio.Task[Any]] = set()

    def plan(
        self, fault: Fault, method: str = "commit", *, call: int = 1, times: int = 1, seconds: float = 0.0
    ) -> PlannedFault:
        """Let a fault come to the ``call``-th call of this method from now on (1: the next), and ``times`` in a row."""
        planned = PlannedFault(fault, method, call, times, seconds)
        self._plans.append(planned)
        return planned

    def heal(self) -> None:
        """Forget every plan. What is late is done all the same."""
        self._plans.clear()

    async def settled(self) -> None:
        """Wait until everything that was late is done."""
        while self._late:
            await asyncio.gather(*self._late, return_exceptions=True)

    # --- the protocol ---

    async def setup(self, *, migrate: bool = True) -> None:
        await self._ask("setup", migrate=migrate)

    async def close(self) -> None:
        await self._ask("close")

    async def check(self) -> Durability:
        return cast(Durability, await self._ask("check"))

    async def commit(self, batch: Sequence[Append]) -> Sequence[AppendResult]:
        return cast("Sequence[AppendResult]", await self._ask("commit", batch))

    async def load(self, saga_ids: Sequence[str]) -> Mapping[str, StoredSaga]:
        return cast("Mapping[str, StoredSaga]", await self._ask("load", saga_ids))

    async def events(self, saga_id: str, after: int = 0) -> Sequence[StoredEvent]:
        return cast("Sequence[StoredEvent]", await self._ask("events", saga_id, after))

    async def find(self, where: Filter, *, cursor: str | None = None, limit: int = 100) -> Page:
        return cast(Page, await self._ask("find", where, cursor=cursor, limit=limit))

    async def claim(
        self, worker_id: str, kinds: Sequence[str], *, limit: int, saga_ids: Sequence[str] | None = None
    ) -> Claim:
        return cast(Claim, await self._ask("claim", worker_id, kinds, limit=limit, saga_ids=saga_ids))

    async def release(self, saga_id: str, *, worker_id: str, fence: int) -> bool:
        return cast(bool, await self._ask("release", saga_id, worker_id=worker_id, fence=fence))

    async def heartbeat(self, worker_id: str, ttl: float) -> Worker:
        return cast(Worker, await self._ask("heartbeat", worker_id, ttl))

    async def workers(self) -> Sequence[Worker]:
        return cast("Sequence[Worker]", await self._ask("workers"))

    async def retire(self, worker_id: str) -> None:
        await self._ask("retire", worker_id)

    async def now(self) -> float:
        return cast(float, await self._ask("now"))

    async def counts(self) -> Sequence[Count]:
        return cast("Sequence[Count]", await self._ask("counts"))

    async def purge(
        self, finished_before: float, *, limit: int = 500, keep_ids: float = 0.0, saga_ids: Sequence[str] | None = None
    ) -> int:
        return cast(int, await self._ask("purge", finished_before, limit=limit, keep_ids=keep_ids, saga_ids=saga_ids))

    async def save_definition(self, kind: str, shape: bytes) -> None:
        await self._ask("save_definition", kind, shape)

    async def definitions(self) -> Mapping[str, bytes]:
        return cast("Mapping[str, bytes]", await self._ask("definitions"))

    # --- what becomes of a call ---

    def _strikes(self, method: str) -> PlannedFault | None:
        met = [planned for planned in self._plans if planned._meets(method)]
        if not met:
            return None
        met[0].struck += 1
        return met[0]

    async def _ask(self, method: str, *arguments: Any, **options: Any) -> Any:
        question = (method, repr((arguments, options)))
        planned = self._strikes(method)
        if planned is not None and planned.fault is Fault.STALE and question in self._answers:
            return self._answers[question]
        call = partial(getattr(self.within, method), *arguments, **options)
        if planned is not None and planned.fault is not Fault.STALE:
            await self._fail(planned, method, call)
        answer = await call()
        if method in READS:
            self._answers[question] = answer
        return answer

    async def _fail(self, planned: PlannedFault, method: str, call: Callable[[], Awaitable[Any]]) -> None:
        """Do of the call what is to be done of it, and raise; a slow one only waits."""
        text = f"a planned fault of {method!r}: {planned.fault.value}"
        if planned.fault is Fault.SLOW:
            await asyncio.sleep(planned.seconds)
            return
        if planned.fault is Fault.UNTOLD:
            await call()
        elif planned.fault is Fault.LATE:
            task = asyncio.get_running_loop().create_task(_later(planned.seconds, call))
            self._late.add(task)
            task.add_done_callback(self._late.discard)
        if planned.fault is Fault.BEFORE or method in READS:
            raise StoreUnavailable(text)
        raise OutcomeUnknown(text)


def _ability(method: str) -> Any:
    async def call(self: FaultyStore, *arguments: Any, **options: Any) -> Any:
        return await self._ask(method, *arguments, **options)

    return call


async def _later(seconds: float, call: Callable[[], Awaitable[Any]]) -> None:
    await asyncio.sleep(seconds)
    await call()
