"""Takes sagas for a worker.

What must stay true: what was claimed is known before it is committed, so a claim whose commit is in doubt can be looked
up; nobody owns a saga without knowing it: where it cannot be looked up, the doubt is told. Record and events are read
while the sagas are locked: one view.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

from sagafsm.core.errors import OutcomeUnknown, StoreError, StoreUnavailable
from sagafsm.store import Claim, StoredSaga

from ..queries import Queries
from .attempts import ATTEMPTS, PAUSE
from .errors import DRIVER, translate
from .options import Options
from .pool import Pool
from .records import read_saga


class Claims:
    """Claims through connections of the pool."""

    def __init__(self, queries: Queries, options: Options, pool: Pool) -> None:
        self._queries = queries
        self._options = options
        self._pool = pool

    async def claim(self, worker_id: str, kinds: Sequence[str], limit: int, saga_ids: Sequence[str] | None) -> Claim:
        """As :meth:`sagafsm.store.Store.claim` says."""
        named = None if saga_ids is None else list(dict.fromkeys(saga_ids))
        attempt = 0
        while True:
            claim, contended, doubt = await self._claim(worker_id, list(kinds), max(limit, 0), named)
            if doubt is not None and not await self._stands(worker_id, claim, doubt):
                raise StoreUnavailable(f"{doubt}; it was looked up: nothing was claimed") from doubt
            attempt += 1
            if not contended or attempt == ATTEMPTS:
                return claim
            await asyncio.sleep(random.random() * PAUSE * 2**attempt)

    async def _claim(
        self, worker_id: str, kinds: list[str], limit: int, named: list[str] | None
    ) -> tuple[Claim, bool, OutcomeUnknown | None]:
        """The claim; whether there was work, all of it locked; and the error if its commit is in doubt."""
        durable = self._options.durability == "synced"
        # Until it is committed nothing is in doubt: a connection that goes takes its transaction with it.
        async with self._pool.connection() as connection:
            transaction = connection.transaction(isolation="read_committed")
            await transaction.start()
            row = await connection.fetchrow(self._queries["claim"], worker_id, kinds, limit, named, durable)
            now, alive, taken, noticed, next_due, contended = row
            rows = await connection.fetch(self._queries["load"], taken, True) if taken else []
            try:
                await transaction.commit()
                doubt = None
            except DRIVER as exc:
                connection.terminate()
                failure = translate(exc, self._options.where, writing=bool(taken))
                if not isinstance(failure, OutcomeUnknown):
                    raise failure from exc
                doubt = failure
        if not alive:
            return Claim(sagas=(), attention=(), next_due=None, now=now), False, None
        sagas = sorted(map(read_saga, rows), key=_longest_due if named is None else _as_asked(named))
        return Claim(sagas=sagas, attention=noticed, next_due=next_due, now=now), bool(contended), doubt

    async def _stands(self, worker_id: str, claim: Claim, doubt: OutcomeUnknown) -> bool:
        """Whether the claim was written after all. Raises the doubt where nobody can say.

        The fence alone does not tell: had it not been written, the next one to claim the saga would get the same.
        """
        fences = {saga.record.saga_id: saga.record.fence for saga in claim.sagas}
        try:
            async with self._pool.connection() as connection:
                found = await connection.fetch(self._queries["owners"], list(fences))
        except StoreError as exc:
            raise doubt from exc
        return any(owner == worker_id and fence == fences[saga_id] for saga_id, owner, fence in found)


def _longest_due(saga: StoredSaga) -> tuple[float, str]:
    return saga.record.due_at or 0.0, saga.record.saga_id


def _as_asked(named: Sequence[str]) -> Callable[[StoredSaga], int]:
    place = {saga_id: number for number, saga_id in enumerate(named)}
    return lambda saga: place[saga.record.saga_id]
