"""Takes sagas for a worker.

What must stay true: each saga is taken by one conditional write to its document, with the owner and the fence that it
had; the write leaves the name of the call, and what the call is told it has taken is what carries that name. What is
due is judged by the server's clock, read in the same call. The cost depends on how many sagas are taken, and on how
many kinds and owners there are, not on how many sagas are in flight, asleep or finished.

Leases lie in documents of their own and are looked at first. So a worker whose lease was over, and that beats again in
that very moment, may still lose its sagas: as if they had been taken before. The raised fence keeps it from writing.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sagafsm.core.errors import OutcomeUnknown, StoreError
from sagafsm.store import Claim, StoredSaga

from .database import SAGAS, Database, Document
from .documents import LIVE, texts
from .leases import Leases
from .reading import Reader


class Claims:
    """Claims in one database."""

    def __init__(self, database: Database, leases: Leases, reader: Reader) -> None:
        self._database = database
        self._leases = leases
        self._reader = reader

    async def claim(self, worker_id: str, kinds: Sequence[str], limit: int, saga_ids: Sequence[str] | None) -> Claim:
        """What the worker gets, and what it should know."""
        limit, kinds = max(limit, 0), texts(kinds)
        leases, now = await self._leases.look()
        if now is None or leases.get(worker_id, now) <= now:
            now = await self._database.now() if now is None else now
            return Claim(sagas=(), attention=(), next_due=None, now=now)
        alive = {owner: until for owner, until in leases.items() if until > now}
        free = [None, *await self._dead(alive)]
        attention, (candidates, next_due) = await asyncio.gather(
            self._attention(worker_id), self._candidates(free, kinds, now, limit, saga_ids, alive)
        )
        others = {owner: until for owner, until in alive.items() if owner != worker_id}
        next_due = await self._next_due(next_due, others, kinds)
        still = {"state": {"$in": LIVE}} if saga_ids is not None else {"due_at": {"$lte": now}}
        sagas = await self._take(worker_id, candidates, still)
        left = None if next_due is None else max(next_due - now, 0.0)
        return Claim(sagas=sagas, attention=attention, next_due=left, now=now)

    async def _dead(self, alive: Collection[str]) -> list[str]:
        """Who owns sagas with a due time, and is not alive."""
        where = {"owner": {"$gt": "", "$nin": list(alive)}, "due_at": {"$exists": True}}
        return await self._database.distinct(SAGAS, "owner", where)

    async def _attention(self, worker_id: str) -> list[str]:
        where = {"owner": {"$eq": worker_id}, "attention": True}
        return [document["_id"] for document in await self._database.find(SAGAS, where, fields={"_id": 1})]

    async def _candidates(
        self,
        free: Sequence[str | None],
        kinds: Sequence[str],
        now: float,
        limit: int,
        saga_ids: Sequence[str] | None,
        alive: Collection[str],
    ) -> tuple[list[Document], float | None]:
        """What may be taken, and when the first of the rest falls due (None: never)."""
        fields = {"fence": 1, "owner": 1, "due_at": 1}
        due_now: list[Document] = []
        if saga_ids is not None and saga_ids:
            places = {saga_id: n for n, saga_id in enumerate(dict.fromkeys(texts(saga_ids)))}
            named = {"_id": {"$in": list(places)}, "kind": {"$in": kinds}, "state": {"$in": LIVE}}
            where = {**named, "owner": {"$nin": list(alive)}}
            due_now = await self._database.find(SAGAS, where, fields=fields, limit=limit) if limit else []
            due_now.sort(key=lambda document: places[document["_id"]])
        if not kinds:
            return due_now, None
        waiting = {"owner": {"$in": list(free)}, "kind": {"$in": kinds}, "due_at": {"$exists": True}}
        # One more than may be taken: it tells when to come again.
        count = limit + 1 if saga_ids is None else len(due_now) + 1
        found = await self._database.find(SAGAS, waiting, fields=fields, sort=[("due_at", 1), ("_id", 1)], limit=count)
        if saga_ids is None:
            due_now = [document for document in found if document["due_at"] <= now][:limit]
        taken = {document["_id"] for document in due_now}
        rest = (document["due_at"] for document in found if document["_id"] not in taken)
        return due_now, next(rest, None)

    async def _take(self, worker_id: str, candidates: Sequence[Document], still: Mapping[str, Any]) -> list[StoredSaga]:
        """Take those that are still as they were found, and that ``still`` holds of."""
        name = random.getrandbits(63)
        taking = {"$set": {"owner": worker_id, "attention": False, "claim": name}, "$inc": {"fence": 1}}
        updates = [
            {"q": {"_id": each["_id"], "fence": each["fence"], "owner": each.get("owner"), **still}, "u": taking}
            for each in candidates
        ]
        if not (await self._database.write("update", SAGAS, updates))["n"]:
            return []
        saga_ids = [each["_id"] for each in candidates]
        try:
            sagas = await self._reader.load({"_id": {"$in": saga_ids}, "claim": name})
        except StoreError as exc:
            raise OutcomeUnknown(f"sagas were claimed, but cannot be read: {exc}") from exc
        return [sagas[saga_id] for saga_id in saga_ids if saga_id in sagas]

    async def _next_due(self, best: float | None, others: Mapping[str, float], kinds: Sequence[str]) -> float | None:
        """The earliest of ``best`` and of what others own: that can be taken when their lease has run out."""
        left = {owner: until for owner, until in others.items() if best is None or until < best}
        while left and kinds:
            owned: Document = {"owner": {"$in": list(left)}, "kind": {"$in": kinds}, "due_at": {"$exists": True}}
            found = await self._database.find(
                SAGAS, owned, fields={"owner": 1, "due_at": 1}, sort=[("due_at", 1)], limit=1
            )
            if not found:
                break
            at = max(found[0]["due_at"], left.pop(found[0]["owner"]))
            earliest = best = at if best is None else min(best, at)
            left = {owner: until for owner, until in left.items() if until < earliest}
        return best

    async def release(self, saga_id: str, worker_id: str, fence: int) -> bool:
        """Give a saga back."""
        same: dict[str, Any] = {"_id": {"$eq": saga_id}, "owner": {"$eq": worker_id}, "fence": {"$eq": fence}}
        reply = await self._database.write("update", SAGAS, [{"q": same, "u": {"$unset": {"owner": ""}}}])
        released: bool = reply["n"] > 0
        return released
