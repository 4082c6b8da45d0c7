"""Writes batches of appends, each append with its own result.

What must stay true: the happy path is one statement for the whole batch, which is a transaction of its own. What the
statement does not accept it leaves as it was, and is asked about afterwards; where the database refuses the statement
as such, the appends are written one by one, so that one that cannot be written harms no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sagafsm.core.errors import OutcomeUnknown, StoreError, StoreUnavailable
from sagafsm.store import Append, AppendResult, Conflict, Duplicate, Exists, Fenced, Refused

from ..queries import Queries
from .attempts import ATTEMPTS, again
from .batch import Batch, pieces
from .errors import is_poison, words
from .options import Options
from .pool import Pool

LARGEST = 500_000_000
"""Bytes that one append may hold; the server takes no larger message than twice that."""


class Writer:
    """Writes appends through connections of the pool; calls ``tell`` when others may want to know."""

    def __init__(self, queries: Queries, options: Options, pool: Pool, tell: Callable[[], None]) -> None:
        self._commit = queries["commit"]
        self._heads = queries["heads"]
        self._durable = options.durability == "synced"
        self._pool = pool
        self._tell = tell

    async def commit(self, appends: Sequence[Append]) -> Sequence[AppendResult]:
        """As :meth:`sagafsm.store.Store.commit` says."""
        return await self._in_turn(pieces(appends))

    async def _in_turn(self, batches: Iterable[Sequence[Append]]) -> list[AppendResult]:
        """One batch after the other. Once one is written, no failure means that nothing was."""
        results: list[AppendResult] = []
        for batch in batches:
            try:
                results += await self._write(batch)
            except StoreUnavailable as exc:
                if not results:
                    raise
                raise _in_part(exc) from exc
        return results

    async def _write(self, appends: Sequence[Append]) -> list[AppendResult]:
        if len(appends) == 1:
            return [await self._write_one(appends[0])]
        try:
            batch = Batch(appends)
            accepted = None if batch.empty else await self._call(batch)
        except (StoreError, ValueError) as exc:
            if not is_poison(exc if isinstance(exc, ValueError) else exc.__cause__):
                raise
            return await self._in_turn([append] for append in appends)
        if batch.news:
            self._tell()
        if accepted is not None:
            try:
                await self._say_why(batch, set(accepted))
            except StoreUnavailable as exc:
                raise _in_part(exc) from exc
        return batch.results

    async def _call(self, batch: Batch) -> Sequence[str] | None:
        values = (*batch.arrays(), self._durable)

        async def call() -> Any:
            async with self._pool.connection(writing=True) as connection:
                return await connection.fetchval(self._commit, *values)

        accepted: Sequence[str] | None = await again(call)
        return accepted

    async def _say_why(self, batch: Batch, accepted: set[str]) -> None:
        """Put into the results why what was not accepted was not."""
        refused = [
            place
            for place, append in enumerate(batch.appends)
            if append.saga_id not in accepted and not isinstance(batch.results[place], Refused)
        ]
        reasons = await self._reasons([batch.appends[place] for place in refused])
        for place, reason in zip(refused, reasons, strict=True):
            batch.results[place] = reason or await self._write_one(batch.appends[place])

    async def _write_one(self, append: Append) -> AppendResult:
        if sum(len(event.data) for event in append.events) > LARGEST:
            return Refused(f"its events are larger than {LARGEST} bytes")
        for _ in range(ATTEMPTS):
            try:
                batch = Batch([append])
                accepted = None if batch.empty else await self._call(batch)
            except (StoreError, ValueError) as exc:
                cause = exc if isinstance(exc, ValueError) else exc.__cause__
                if cause is None or not is_poison(cause):
                    raise
                return Refused(f"{type(cause).__name__}: {words(cause)}")
            if accepted is None:
                if batch.news:
                    self._tell()
                return batch.results[0]
            (reason,) = await self._reasons([append])
            if reason is not None:
                return reason
        raise StoreUnavailable(f"{append.saga_id} changed each time it was looked at; nothing was written")

    async def _reasons(self, appends: Sequence[Append]) -> list[AppendResult | None]:
        """Why each cannot be accepted as things stand; None where it can by now."""
        asked = [append.saga_id for append in appends], [append.expected_version for append in appends]
        async with self._pool.connection(writing=True) as connection:
            rows = await connection.fetch(self._heads, *asked)
        heads = {row[0]: row for row in rows}
        return [_reason(append, *heads[append.saga_id]) for append in appends]


def _in_part(exc: StoreUnavailable) -> OutcomeUnknown:
    return OutcomeUnknown(f"a part of the batch may have been written, then: {exc}")


def _reason(
    append: Append,
    saga_id: str,
    version: int | None,
    fence: int,
    digest: str,
    append_id: str | None,
    purged: str | None,
) -> AppendResult | None:
    expected = append.expected_version
    if version is None:
        if expected or append.birth is None:
            return Conflict(0)
        return None if purged is None else Exists(same=append.birth.digest == purged, purged=True)
    if version != expected and append.events and append_id == append.append_id:
        return Duplicate(version)
    if expected == 0:
        return Exists(same=append.birth is not None and append.birth.digest == digest)
    if version != expected:
        return Conflict(version)
    return Fenced(fence) if fence != append.fence else None
