"""Places where a process can be made to kill itself, around the store and around the participants.

What must stay true: nothing of sagafsm is changed: the store is wrapped, and the participants are the tests' own. A
process that is told to die at its n-th place does so with SIGKILL, at once, and leaves the name of the place behind.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from sagafsm.store import Append, AppendResult, Claim, Store, Worker

BEFORE_COMMIT, AFTER_COMMIT = "before commit", "after commit"
BEFORE_EFFECT, AFTER_EFFECT = "before effect", "after effect"
BEFORE_CLAIM, AFTER_CLAIM = "before claim", "after claim"
BEFORE_LEASE, AFTER_LEASE = "before lease", "after lease"
PLACES = (BEFORE_COMMIT, AFTER_COMMIT, BEFORE_EFFECT, AFTER_EFFECT)
"""The four places that matter: an append is lost or done untold, an effect is lost or done untold."""
ALL_PLACES = (*PLACES, BEFORE_CLAIM, AFTER_CLAIM, BEFORE_LEASE, AFTER_LEASE)


class Failpoints:
    """Counts the places that this process passes; dies at the one numbered ``kill_at``, from 1 (0: never).

    ``places``: those that count.
    """

    def __init__(self, folder: Path, *, kill_at: int = 0, places: Collection[str] = PLACES) -> None:
        self._trace = folder / "died-at"
        self._kill_at = kill_at
        self._places = frozenset(places)
        self._passed = 0

    def reach(self, place: str) -> None:
        """The process is at this place."""
        if place not in self._places:
            return
        self._passed += 1
        if self._passed == self._kill_at:
            self._trace.write_text(place)
            os.kill(os.getpid(), signal.SIGKILL)


class FailpointStore:
    """Any store, with a place before each write and one after it, when it is done but nobody was told."""

    def __init__(self, store: Store, failpoints: Failpoints) -> None:
        self._store = store
        self._failpoints = failpoints

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def wait_for_change(self, timeout: float) -> bool:
        return await self._store.wait_for_change(timeout)  # type: ignore[attr-defined,no-any-return]

    async def commit(self, batch: Sequence[Append]) -> Sequence[AppendResult]:
        self._failpoints.reach(BEFORE_COMMIT)
        results = await self._store.commit(batch)
        self._failpoints.reach(AFTER_COMMIT)
        return results

    async def claim(self, *arguments: Any, **options: Any) -> Claim:
        self._failpoints.reach(BEFORE_CLAIM)
        claim = await self._store.claim(*arguments, **options)
        self._failpoints.reach(AFTER_CLAIM)
        return claim

    async def heartbeat(self, worker_id: str, ttl: float) -> Worker:
        self._failpoints.reach(BEFORE_LEASE)
        worker = await self._store.heartbeat(worker_id, ttl)
        self._failpoints.reach(AFTER_LEASE)
        return worker

    async def retire(self, worker_id: str) -> None:
        self._failpoints.reach(BEFORE_LEASE)
        await self._store.retire(worker_id)
        self._failpoints.reach(AFTER_LEASE)
