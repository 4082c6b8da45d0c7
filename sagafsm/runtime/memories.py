"""What this process remembers of sagas that it has driven, to notice when a store has lost what it acknowledged.

What must stay true: a store that goes back in time is never believed in silence. A saga of which events are missing is
set aside for a person: its steps may have done what the log no longer says.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from ..core.errors import StoreCorrupt, StoreError
from ..core.progress import Progress
from ..store import Record, StoredSaga
from .logs import LOGGER
from .outside import park_unreadable

if TYPE_CHECKING:
    from .engine import Engine

REMEMBERED = 1000


class Memory:
    """How far sagas had come when this process let them go: the last ``size`` of them."""

    def __init__(self, size: int = REMEMBERED) -> None:
        self._size = size
        self._known: OrderedDict[str, tuple[float, int, int]] = OrderedDict()

    def keep(self, progress: Progress, fence: int) -> None:
        """Remember that a saga had come so far."""
        self._known[progress.saga_id] = progress.created_at, progress.version, fence
        self._known.move_to_end(progress.saga_id)
        if len(self._known) > self._size:
            self._known.popitem(last=False)

    def loss(self, record: Record, *, claimed: bool) -> StoreCorrupt | None:
        """What a saga that is about to be driven lacks of what was stored once. Said once: then a person can go on.

        ``claimed``: just now, which raised its fence.
        """
        created_at, version, fence = self._known.get(record.saga_id, (None, 0, 0))
        if created_at != record.created_at or (record.version >= version and record.fence >= fence + claimed):
            return None
        del self._known[record.saga_id]
        return lost(record, version)


def lost(record: Record, version: int) -> StoreCorrupt:
    """The problem with a saga whose newest events are gone."""
    missing = f"events {record.version + 1} to {version}" if version > record.version else "the latest claim"
    return StoreCorrupt(
        f"the store has lost {missing} of saga {record.saga_id}, which it had acknowledged (a server that failed over, "
        "a backup?): find out what its steps have done; retry goes on from what is left, with the same idempotency keys"
    )


async def set_lost_aside(engine: Engine, saga_id: str, version: int, stored: StoredSaga | None) -> bool:
    """The store shows less of a saga than this process wrote: say so, and keep everybody's hands off it.

    False where nothing came of it: the store has changed its mind, or cannot be asked.
    """
    if stored is None:
        LOGGER.error("saga %s is gone from the store, which had acknowledged %d events of it", saga_id, version)
        return True
    problem = lost(stored.record, version)
    LOGGER.error("saga %s is set aside: %s", saga_id, problem)
    if stored.record.finished_at is not None:
        return True  # somebody has brought it to its end since
    try:
        return await park_unreadable(engine, stored.record, problem)
    except StoreError as exc:
        LOGGER.warning("saga %s could not be set aside: %s", saga_id, exc)
        return False
