"""The journal: collects the appends of all sagas in flight while the store writes the last batch (group commit).

What must stay true: nobody waits for a timer; an append that comes alone is written at once, and what comes while a
batch is being written goes together into the next. A saga has at most one append under way. When the store cannot
say whether it applied a batch, the same batch is handed in again: every append carries its id, so none is applied
twice.

Group commit: DeWitt et al., "Implementation Techniques for Main Memory Database Systems", 1984.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from ..core.errors import OutcomeUnknown, StoreError, StoreUnavailable
from ..store import Append, AppendResult, Store
from .environment import Environment

MOST = 500
"""Appends that are written at one time, by all batches together. With 1,000 sagas in flight, and all of them that came
in one batch, the others have nothing to do until it is written: on PostgreSQL an eighth fewer a second."""

_Batch = tuple[tuple[Append, ...], "list[asyncio.Future[AppendResult]]"]
"""A tuple, because the store is given it, and perhaps once more: nothing that the store does may change it."""


class Journal:
    """Writes appends in batches. ``patience``: seconds for which a failing store is tried again.

    Sagas that were written together come back together. So that the store does not stand still while they are dealt
    with, nor they while it writes, a batch is closed when half of what is usually under way has come.
    """

    def __init__(self, store: Store, environment: Environment, *, patience: float = 10.0) -> None:
        self._store = store
        self._environment = environment
        self._patience = patience
        self._waiting: list[Append] = []
        self._waiters: list[asyncio.Future[AppendResult]] = []  # as many, in the same order
        self._writing = 0
        self._enough = MOST  # how many usually come is not known yet: all that come at once go together
        self._scheduled = False
        self._answers: set[asyncio.Future[Sequence[AppendResult]]] = set()
        self._retries: set[asyncio.Task[None]] = set()
        self._late: dict[str, Callable[[AppendResult], None]] = {}
        self._idle: asyncio.Future[None] | None = None
        self._closed = False

    def commit(self, append: Append) -> asyncio.Future[AppendResult]:
        """Write one append, together with whatever else is due; the future says what became of it.

        It raises StoreUnavailable (certainly not applied) or OutcomeUnknown after trying for ``patience`` seconds.
        """
        if self._closed:
            raise StoreUnavailable("this orchestrator is closed; nothing was written")
        future: asyncio.Future[AppendResult] = asyncio.get_running_loop().create_future()
        self._waiting.append(append)
        self._waiters.append(future)
        if self._writing < self._store.batches:
            self._flush_in_time()
        return future

    def hear_late(self, append: Append, hear: Callable[[AppendResult], None]) -> None:
        """Who waited for this append was cancelled; ``hear`` is told the answer, should there be one."""
        self._late[append.append_id] = hear

    async def close(self) -> None:
        """Write what is waiting, then stop."""
        self._closed = True
        while self._waiting or self._writing:
            self._flush_what_came()
            if self._writing:
                self._idle = asyncio.get_running_loop().create_future()
                await self._idle

    def _flush_in_time(self) -> None:
        """Write now if enough has come; else once everybody who is about to write has had a chance to join."""
        if self._waiting and self._writing < self._store.batches:
            if len(self._waiting) >= self._enough:
                self._flush()
            elif not self._scheduled:
                self._scheduled = True
                asyncio.get_running_loop().call_soon(self._flush_what_came)

    def _flush_what_came(self) -> None:
        self._scheduled = False
        while self._waiting and self._writing < self._store.batches:
            self._flush()

    def _flush(self) -> None:
        most = max(1, MOST // self._store.batches)
        batch = tuple(self._waiting[:most]), self._waiters[:most]
        self._waiting, self._waiters = self._waiting[most:], self._waiters[most:]
        self._writing += 1
        try:
            answer = _begun(self._store.commit(batch[0]))
        except Exception as exc:  # whatever it is, nobody waits for ever
            answer = asyncio.get_running_loop().create_future()
            answer.set_exception(exc)
        self._answers.add(answer)
        answer.add_done_callback(lambda done: self._answered(batch, done))

    def _answered(self, batch: _Batch, answer: asyncio.Future[Sequence[AppendResult]]) -> None:
        self._answers.discard(answer)
        error: BaseException | None
        if answer.cancelled():
            error = OutcomeUnknown("the write was cut short; it may have been applied")
        else:
            error = answer.exception()
        if error is None:
            self._written(batch, answer.result())
        elif isinstance(error, (StoreUnavailable, OutcomeUnknown)):
            task = asyncio.get_running_loop().create_task(self._write_again(batch, error), name="sagafsm journal")
            self._retries.add(task)
            task.add_done_callback(self._retries.discard)
        else:
            self._failed(batch, error)

    def _written(self, batch: _Batch, results: Sequence[AppendResult]) -> None:
        try:
            for append, future, result in zip(*batch, results, strict=True):
                if not future.done():
                    future.set_result(result)
                elif (hear := self._late.pop(append.append_id, None)) is not None:
                    hear(result)
        except ValueError:  # too few answers; what has none may be applied
            self._failed(batch, OutcomeUnknown(f"the store answered {len(results)} of {len(batch[0])} appends"))
        else:
            self._next(len(batch[0]))

    def _failed(self, batch: _Batch, error: BaseException) -> None:
        for append, future in zip(*batch, strict=True):
            if not future.done():
                future.set_exception(error)
            else:
                self._late.pop(append.append_id, None)
        self._next(len(batch[0]))

    def _next(self, written: int) -> None:
        self._writing -= 1
        self._enough = max(1, (written + len(self._waiting)) // 2)
        self._flush_in_time()
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    async def _write_again(self, batch: _Batch, first: StoreError) -> None:
        try:
            results = await self._again(batch[0], first)
        except StoreError as exc:
            self._failed(batch, exc)
        except BaseException as exc:
            self._failed(batch, OutcomeUnknown(f"the write was cut short by {type(exc).__name__}"))
            raise
        else:
            self._written(batch, results)

    async def _again(self, appends: Sequence[Append], first: StoreError) -> list[AppendResult]:
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


def _begun(work: Awaitable[Sequence[AppendResult]]) -> asyncio.Future[Sequence[AppendResult]]:
    return asyncio.ensure_future(work)
