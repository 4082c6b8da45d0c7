"""How long ended sagas are kept: purging them, and archiving them first.

What must stay true: only what has ended goes, and nothing that a saga still at work may need; the ids of what goes
stay taken for a while, so that a late duplicate of a start does not run a saga again.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import InvalidInput
from ..moving import Archived, archive_sagas, ended
from .session import Session

if TYPE_CHECKING:
    from .engine import Engine


class Keeping(Session):
    """The verbs that clear away."""

    async def purge(
        self,
        *,
        finished_before: float,
        limit: int | None = None,
        dry_run: bool = False,
        keep_ids: float | None = None,
    ) -> int:
        """Delete sagas that ended more than ``finished_before`` seconds ago, each whole; return how many.

        Sub-sagas stay as long as their parents are at work. ``dry_run`` only counts. ``keep_ids``: seconds for which
        the ids stay taken, so that a start which comes again raises SagaPurged instead of running the saga again
        (default: the setting ``keep_ids``).
        """
        before, kept = await self._bounds(finished_before, limit, keep_ids)
        if dry_run:
            return sum([len(records) async for records in ended(self._engine.store, before, limit)])
        return await purge(self._engine, before, limit=limit, keep_ids=kept)

    async def archive(
        self,
        *,
        finished_before: float,
        to: str | Path,
        limit: int | None = None,
        keep_ids: float | None = None,
        compress: bool = False,
        progress: Callable[[Archived], None] | None = None,
    ) -> Archived:
        """Write sagas that ended more than ``finished_before`` seconds ago to files; delete them as ``purge`` does.

        ``to``: a folder: a path, or a URL such as ``s3://bucket/sagas`` that ``fsspec`` knows (extra ``archive``). A
        saga is deleted after its file is closed: whoever is stopped in between runs it again, and then a saga may be in
        the archive twice, but is never lost. ``compress``: gzip. ``progress`` is called after each file. Read it back
        with ``sagafsm.read_archive``. Raises StoreUnavailable where the folder cannot be written.
        """
        before, kept = await self._bounds(finished_before, limit, keep_ids)
        return await archive_sagas(
            self._engine.store, to, before, limit=limit, keep_ids=kept, compress=compress, progress=progress
        )

    async def _bounds(self, finished_before: float, limit: int | None, keep_ids: float | None) -> tuple[float, float]:
        """The time before which sagas must have ended, by the store's clock, and for how long ids are kept."""
        kept = self._settings.keep_ids if keep_ids is None else keep_ids
        if not kept >= 0:
            raise InvalidInput(f"keep_ids is in seconds and not negative, got {keep_ids!r}")
        if limit is not None and not limit >= 0:
            raise InvalidInput(f"limit is a number of sagas and not negative, got {limit!r}")
        return await self._engine.store.now() - finished_before, kept


async def purge(engine: Engine, before: float, *, limit: int | None = None, keep_ids: float) -> int:
    """Delete what ended before this time in bounded batches, so that nobody waits long behind one."""
    purged = 0
    async for records in ended(engine.store, before, limit):
        ids = [record.saga_id for record in records]
        purged += await engine.store.purge(before, limit=len(ids), keep_ids=keep_ids, saga_ids=ids)
    return purged
