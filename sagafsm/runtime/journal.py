"""The journal: collects the appends of all sagas in flight while the store writes the last batch (group commit).

What must stay true: nobody waits for a timer; an append that comes alone is written at once, and what comes while a
batch is being written goes together into the next. A saga has at most one append under way. When the store cannot
say whether it applied a batch, the same batch is handed in again: every append carries its id, so none is applied twice.

Group commit: DeWitt et al., "Implementation Techniques for Main Memory Database Systems", 1984.
"""

from __future__ import annotations

import asyncio
from collections import deque

from ..core.errors import OutcomeUnknown, StoreError, StoreUnavailable
from ..store import Append, AppendResult, Store
from .environment import Environment

_Entry = tuple[Append, "asyncio.Future[AppendResult]"]


class Journal:
    """Writes appends in batches. ``patience``: seconds for which a failing store is tried again."""

    def __init__(self, store: Store, environment: Environment, *, patience: float = 10.0, cap: int = 1000) -> None:
        self._store = store
        self._environment = environment
        self._patience = patience
        self._cap = cap
        self._waiting: deque[_Entry] = deque()
        self._writers: set[asyncio.Task[None]] = set()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._closed = False

    def commit(self, append: Append) -> asyncio.Future[AppendResult]:
        """Write one append, together with whatever else is due; the future says what became of it.

        It raises StoreUnavailable (certainly not applied) or OutcomeUnknown after trying for ``patience`` seconds.
        """
        if self._closed:
            raise StoreUnavailable("this orchestrator is closed; nothing was written")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[AppendResult] = loop.create_future()
        self._waiting.append((append, future))
        if self._idle:
            wake = self._idle.popleft()
            if not wake.done():
                wake.set_result(None)
        elif len(self._writers) < self._store.batches:
            task = loop.create_task(self._write_batches(), name="sagafsm journal")
            self._writers.add(task)
            task.add_done_callback(self._writers.discard)
        return future

    async def close(self) -> None:
        """Write what is waiting, then stop."""
        self._closed = True
        for wake in self._idle:
            if not wake.done():
                wake.set_result(None)
        if self._writers:
            await asyncio.wait(self._writers)

    async def _write_batches(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while not self._waiting:
                if self._closed:
                    return
                wake = loop.create_future()
                self._idle.append(wake)
                await wake
            batch = [self._waiting.popleft() for _ in range(min(self._cap, len(self._waiting)))]
            await self._write(batch)

    async def _write(self, batch: list[_Entry]) -> None:
        appends = [append for append, _ in batch]
        try:
            results = await self._store.commit(appends)
        except StoreError as exc:
            try:
                results = await self._again(appends, exc)
            except StoreError as final:
                self._fail(batch, final)
                return
        except BaseException as exc:
            self._fail(
                batch, OutcomeUnknown(f"the write was cut short ({type(exc).__name__}); it may have been applied")
            )
            raise
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)

    def _fail(self, batch: list[_Entry], error: StoreError) -> None:
        for _, future in batch:
            if not future.done():
                future.set_exception(error)

    async def _again(self, appends: list[Append], first: StoreError) -> list[AppendResult]:
        """Hand the batch in again until the store answers; raise the last error when patience is over."""
        give_up_at = self._environment.monotonic() + self._patience
        doubtful = isinstance(first, OutcomeUnknown)
        error: StoreError = first
        pause = 0.02
        while isinstance(error, (StoreUnavailable, OutcomeUnknown)) and not self._closed:
            if self._environment.monotonic() + pause > give_up_at:
                break
            await asyncio.sleep(pause)
            pause = min(pause * 2, 1.0)
            try:
                return list(await self._store.commit(appends))
            except StoreError as exc:
                doubtful = doubtful or isinstance(exc, OutcomeUnknown)
                error = exc
        if doubtful and not isinstance(error, OutcomeUnknown):
            raise OutcomeUnknown(f"the write may have been applied, and the store cannot be asked: {error}") from error
        raise error
