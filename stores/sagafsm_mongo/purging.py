"""Takes away what has ended.

What must stay true: a saga goes in one atomic step, by a condition on its state in that very step. Where its id is to
stay taken, or something of it lies in other collections, a small document takes its place: so there is no moment at
which a late start could take the id, and what is left elsewhere is never forgotten, whenever this process dies. What
lies elsewhere is named after the saga's life (see documents), so nothing of a later life is ever taken.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bson.datetime_ms import DatetimeMS

from .database import EVENTS, SAGAS, SNAPSHOTS, Database, Document
from .documents import TERMINAL, life, texts, whole_life

AT_ONCE = 500
TRIES = 5  # in a row that take nothing of what was found


class Purger:
    """Purges one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def purge(self, finished_before: float, limit: int, keep_ids: float, saga_ids: Sequence[str] | None) -> int:
        """Delete up to ``limit`` sagas that finished before; return how many.

        Raises StoreUnavailable where none is gone, OutcomeUnknown where some may be.
        """
        with self._database.one_call() as database:
            return await Purger(database)._purge(finished_before, limit, keep_ids, saga_ids)

    async def _purge(self, finished_before: float, limit: int, keep_ids: float, saga_ids: Sequence[str] | None) -> int:
        now = await self._database.now()
        await self._sweep(now)
        until = DatetimeMS(math.ceil((now + keep_ids) * 1000))
        ended: Document = {"state": {"$in": TERMINAL}, "finished_at": {"$lt": finished_before}}
        where = ended if saga_ids is None else {"_id": {"$in": texts(saga_ids)}, **ended}
        gone, tries = 0, TRIES
        while gone < limit and tries:
            found = await self._database.find(
                SAGAS,
                where,
                fields={"log": 1, "outside": 1, "digest": 1},
                sort=[("finished_at", 1)],
                limit=min(limit - gone, AT_ONCE),
            )
            if not found:
                break
            now_gone = await self._take(found, ended, until if keep_ids > 0 else None)
            gone += now_gone
            # What was sealed at this very moment has not changed otherwise, and is taken when it is read again.
            tries = TRIES if now_gone else tries - 1
        return gone

    async def _take(self, found: Sequence[Document], ended: Mapping[str, Any], until: DatetimeMS | None) -> int:
        deletes, replacements, left = [], [], []
        for document in found:
            # The log names this life of the id; and what begins to be elsewhere meanwhile must not be overlooked.
            same = {"_id": document["_id"], "log": document.get("log"), "outside": document.get("outside"), **ended}
            if until is None and not document.get("outside"):
                deletes.append({"q": same, "limit": 1})
                continue
            stone: Document = {"purged_until": until or DatetimeMS(0), "digest": document.get("digest", "")}
            if document.get("outside"):
                stone |= {"log": document["log"], "left": True}
                left.append(document["_id"])
            replacements.append({"q": same, "u": stone})
        gone: int = (await self._database.write("delete", SAGAS, deletes))["n"]
        gone += (await self._database.write("update", SAGAS, replacements))["n"]
        if left:
            stones = await self._database.find(SAGAS, {"_id": {"$in": left}, "left": True})
            await self._clear(stones)
            # Not what another purge has put there meanwhile, whose ids stay taken.
            await self._remove([stone for stone in stones if not int(stone["purged_until"])])
        return gone

    async def free(self, stones: Sequence[Document]) -> set[str]:
        """Of the ids of these purged sagas, those whose time is over, and which are now gone."""
        now = await self._database.now()
        over = [stone for stone in stones if int(stone["purged_until"]) / 1000 <= now]
        await self._clear(over)
        await self._remove(over)
        return {stone["_id"] for stone in over}

    async def _sweep(self, now: float) -> None:
        """Forget purged ids whose time is over, and finish what an interrupted purge has left."""
        over = {"purged_until": {"$lte": DatetimeMS(int(now * 1000))}}
        for where in ({"left": True}, over):
            while stones := await self._database.find(SAGAS, where, limit=AT_ONCE):
                await self._clear(stones)
                await self._remove([stone for stone in stones if int(stone["purged_until"]) / 1000 <= now])

    async def _clear(self, stones: Sequence[Document]) -> None:
        """Delete what lies in other collections for these purged sagas."""
        left = [stone for stone in stones if stone.get("left")]
        ranges = [whole_life(life(stone)) for stone in left]
        await self._database.write("delete", EVENTS, ranges)
        await self._database.write("delete", SNAPSHOTS, ranges)
        cleared = {"$unset": {"left": "", "log": ""}}
        await self._database.write(
            "update",
            SAGAS,
            [{"q": {"_id": stone["_id"], "left": True, "log": stone["log"]}, "u": cleared} for stone in left],
        )

    async def _remove(self, stones: Sequence[Document]) -> None:
        await self._database.write(
            "delete",
            SAGAS,
            [{"q": {"_id": stone["_id"], "purged_until": stone["purged_until"]}, "limit": 1} for stone in stones],
        )
