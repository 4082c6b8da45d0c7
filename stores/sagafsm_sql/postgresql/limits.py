"""Counts calls under limits, for all processes that share the database.

What must stay true: whoever decides about a name holds its row until the decision is written, and takes several rows in
the order of their names. The cost depends on how many permits are asked for, never on how many keys there were.
"""

from __future__ import annotations

from collections.abc import Sequence

from sagafsm.supports import Permit

from ..grants import Grants, LimitState
from ..queries import Queries
from .driver import Connection

KEPT = 60.0  # seconds for which a name that is not used is kept: it may well be used again
FORGET_EVERY = 100  # names asked for; then up to twice as many are forgotten, so that they never pile up


class Limits:
    """Grants permits; the caller gives the connection, in a transaction."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries
        self._asked = 0

    async def acquire(self, connection: Connection, permits: Sequence[Permit]) -> list[float]:
        """Per permit 0.0 (granted) or the seconds until asking again makes sense."""
        wanted = list(dict.fromkeys(permit.name for permit in permits))
        tokens = list({permit.token for permit in permits})
        workers = list({permit.worker_id for permit in permits})
        filled = {name: until for name, until, _ in await connection.fetch(self._queries["lock_limits"], wanted)}
        found = await connection.fetchrow(self._queries["limits"], wanted, tokens, workers)
        assert found is not None  # noqa: S101 - it always has one row
        now, alive, counts, held_names, held_tokens = found
        held: dict[str, list[str]] = {name: [] for name in wanted}
        for name, token in zip(held_names, held_tokens, strict=True):
            held[name].append(token)
        names = {
            name: LimitState(filled[name], int(count), held[name])
            for name, count in zip(wanted, counts, strict=True)
        }  # fmt: skip
        grants = Grants(names, set(alive), now)
        waits = grants.decide(permits)
        if grants.holds:
            await connection.execute(self._queries["hold"], *map(list, zip(*grants.holds, strict=True)))
        if grants.filled:
            until = {name: names[name].filled_until for name in grants.filled}
            await connection.execute(self._queries["fill"], list(until), list(until.values()))
        self._asked += len(wanted)
        if self._asked >= FORGET_EVERY:
            await connection.execute(self._queries["forget_limits"], KEPT, 2 * self._asked)
            self._asked = 0
        return waits
