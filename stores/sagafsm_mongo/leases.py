"""Worker records: who is alive, by the server's clock.

What must stay true: the server writes the time of a beat, and the same server says in the same answer what the time
is now; a clock of this host takes no part.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pymongo.errors import DuplicateKeyError

from sagafsm.core.errors import OutcomeUnknown
from sagafsm.store import Worker

from .database import WORKERS, Database


class Leases:
    """The worker records of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def heartbeat(self, worker_id: str, ttl: float) -> Worker:
        """Register a worker, or renew its lease."""
        update = {"$currentDate": {"beat": True}, "$set": {"ttl": int(ttl * 1000)}}
        try:
            document = await self._beat(worker_id, update)
        except OutcomeUnknown as exc:
            if not isinstance(exc.__cause__, DuplicateKeyError):
                raise
            document = await self._beat(worker_id, update)  # two first beats at once: now the record is there
        if document is None:
            raise OutcomeUnknown(f"{self._database.where}: a heartbeat found no record")
        return Worker(worker_id, _until(document))

    async def _beat(self, worker_id: str, update: Mapping[str, Any]) -> Mapping[str, Any] | None:
        query = {"_id": {"$eq": worker_id}}
        return await self._database.modify(WORKERS, query=query, update=update, upsert=True, new=True)

    async def look(self) -> tuple[dict[str, float], float | None]:
        """Until when each lease lasts, and what the time is (None where there is no worker at all)."""
        found = await self._database.aggregate(WORKERS, {"$project": {"beat": 1, "ttl": 1, "now": "$$NOW"}})
        now = int(found[0]["now"]) / 1000 if found else None
        return {document["_id"]: _until(document) for document in found}, now

    async def workers(self) -> list[Worker]:
        """Every record."""
        leases, _ = await self.look()
        return [Worker(worker_id, until) for worker_id, until in sorted(leases.items())]

    async def retire(self, worker_id: str) -> None:
        """Forget a worker."""
        await self._database.write("delete", WORKERS, [{"q": {"_id": {"$eq": worker_id}}, "limit": 1}])


def _until(document: Mapping[str, Any]) -> float:
    return (int(document["beat"]) + int(document["ttl"])) / 1000
