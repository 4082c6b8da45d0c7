"""Sagas that the store has given to this worker while the answer to the claim was lost: looked for until none is left.

What must stay true: whatever a lost claim took is found, also where the request arrived only after its answer was given
up; whoever drives a saga under an older grant does not count, for that driver is about to end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..store import Filter, Record
from .birth import BIRTH_FENCE

if TYPE_CHECKING:
    from .engine import Engine

PAGE = 200
FIRST_PAUSE = 1.0  # seconds between two looks; each doubles it


class Strays:
    """Looks for them after :meth:`lost`, again and again while the lost request may still arrive."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._again_at: float | None = None
        self._until = 0.0
        self._pause = FIRST_PAUSE

    def lost(self) -> None:
        """The answer to a claim was lost."""
        engine = self._engine
        now = engine.environment.monotonic()
        self._again_at, self._pause = now, FIRST_PAUSE
        self._until = now + engine.settings.store_patience + engine.settings.grace_period
        engine.stranded.set()

    def drives(self, record: Record) -> bool:
        """Whether somebody here drives a saga under this grant."""
        driver = self._engine.drivers.get(record.saga_id)
        return driver is not None and driver.fence == record.fence

    async def look(self) -> None:
        """Find what is ours and driven by nobody, if it is time to. Raises StoreError."""
        if self._again_at is None:
            return
        engine = self._engine
        now = engine.environment.monotonic()
        if now >= self._again_at:
            await self._find()
            self._pause *= 2
            last = now >= self._until
            self._again_at = None if last else min(now + self._pause, self._until)
        if self._again_at is not None:
            engine.stranded.set()

    async def _find(self) -> None:
        engine, cursor = self._engine, None
        while True:
            page = await engine.store.find(Filter(live=True), cursor=cursor, limit=PAGE)
            for record in page.records:
                newborn = record.saga_id in engine.unborn and record.fence == BIRTH_FENCE
                if record.owner == engine.worker_id and not (newborn or self.drives(record)):
                    engine.orphan(record.saga_id, record.fence)
            cursor = page.cursor
            if cursor is None:
                return
