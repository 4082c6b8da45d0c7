"""Purges in steps, each a transaction of its own: appends get their turn in between, and locks are soon given up.

What must stay true: what one step has purged is not denied when a later step fails.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from sagafsm.core.errors import OutcomeUnknown, StoreUnavailable

AT_ONCE = 500  # sagas

Some = Callable[[int, Sequence[str] | None], Awaitable[int]]
"""Purges up to so many sagas (of these, if ids are given) in one transaction; how many."""


async def purge_in_turn(some: Some, limit: int, saga_ids: Sequence[str] | None) -> int:
    """Purge up to ``limit`` sagas; how many.

    Raises StoreUnavailable where none was purged, OutcomeUnknown where some may have been.
    """
    names = None if saga_ids is None else list(dict.fromkeys(saga_ids))
    gone = begin = 0
    while gone < limit and (names is None or begin < len(names)):
        at_once = min(limit - gone, AT_ONCE)
        try:
            now_gone = await some(at_once, None if names is None else names[begin : begin + at_once])
        except StoreUnavailable as exc:
            if not gone:
                raise
            raise OutcomeUnknown(f"{gone} sagas were purged, then it came to an end: {exc}") from exc
        gone += now_gone
        begin += at_once
        if names is None and now_gone < at_once:
            break
    return gone
