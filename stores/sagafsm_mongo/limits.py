"""Counts calls under limits, for all workers on the same database.

What must stay true: all that is known of a limit is one document, which is read, decided on and written only if nobody
has written to it meanwhile; the write leaves the name of the call, so that it is certain whose decision stands. Time
and leases are the server's.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping, Sequence

from sagafsm.rate import next_grant
from sagafsm.supports import CROWDED, Permit

from .database import LIMITS, Database, Document
from .documents import texts
from .leases import Leases

ROUNDS = 30
KEPT = 60.0  # seconds for which what is of no use any more is kept: it may well be used again
FORGET_EVERY = 100  # permits asked for; then up to twice as many are forgotten, so that they never pile up


class Limits:
    """The limits of one database."""

    def __init__(self, database: Database, leases: Leases) -> None:
        self._database = database
        self._leases = leases
        self._asked = 0

    async def acquire(self, permits: Sequence[Permit]) -> list[float]:
        """Per permit 0.0 (granted) or the seconds until asking again makes sense.

        Raises StoreUnavailable where none was granted, OutcomeUnknown where some may have been.
        """
        self._asked += len(permits)
        asked = self._asked if self._asked >= FORGET_EVERY else 0
        self._asked -= asked
        with self._database.one_call() as database:
            return await Limits(database, self._leases)._acquire(permits, 2 * asked)

    async def _acquire(self, permits: Sequence[Permit], forget: int) -> list[float]:
        waits = [CROWDED] * len(permits)
        leases, now = await self._leases.look()
        if now is None:
            return waits
        alive = {worker for worker, until in leases.items() if until > now}
        if forget:
            await self._forget(alive, now, forget)
        wanted: dict[str, list[int]] = {}
        for n, permit in enumerate(permits):
            if permit.worker_id in alive and type(permit.name) is str and type(permit.token) is str:
                wanted.setdefault(permit.name, []).append(n)
        for round_ in range(ROUNDS):
            wanted = await self._decide(permits, wanted, waits, alive, now)
            if not wanted:
                break
            await asyncio.sleep(random.uniform(0, 0.002 * round_))  # all who lost would meet again
            leases, now_ = await self._leases.look()
            now = now if now_ is None else now_
            alive = {worker for worker, until in leases.items() if until > now}
        for permits_left in wanted.values():  # so many ask at once that it is as good as full
            for n in permits_left:
                waits[n] = CROWDED
        return waits

    async def _decide(
        self,
        permits: Sequence[Permit],
        wanted: Mapping[str, Sequence[int]],
        waits: list[float],
        alive: Iterable[str],
        now: float,
    ) -> dict[str, list[int]]:
        """Decide on these permits and write that down; those left where another was quicker."""
        if not wanted:
            return {}
        call = random.getrandbits(63)
        known = {each["_id"]: each for each in await self._database.find(LIMITS, {"_id": {"$in": list(wanted)}})}
        births, updates, size = [], [], 0
        for name, places in wanted.items():
            before = known.get(name, {"_id": name})
            after = _granted(before, [(n, permits[n]) for n in places], waits, alive, now)
            if after is None:
                continue
            after |= {"version": before.get("version", 0) + 1, "call": call, "used_at": now}
            size += 200 + 150 * len(after["held"])
            if name in known:
                updates.append({"q": {"_id": name, "version": before["version"]}, "u": after})
            else:
                births.append({"_id": name, **after})
        replies = [
            await self._database.write("insert", LIMITS, births, size=size),
            await self._database.write("update", LIMITS, updates, size=size),
        ]
        if not replies[0].get("writeErrors") and replies[1]["n"] == len(updates):
            return {}
        written = [*(birth["_id"] for birth in births), *(update["q"]["_id"] for update in updates)]
        ours = {"_id": {"$in": written}, "call": call}
        stands = {each["_id"] for each in await self._database.find(LIMITS, ours, fields={"_id": 1})}
        return {name: list(wanted[name]) for name in written if name not in stands}

    async def give_back(self, worker_id: str, tokens: Sequence[str]) -> None:
        """Release what these tokens of the worker hold."""
        given = texts(tokens)
        if not given:
            return
        held = {"token": {"$in": given}, "worker": {"$eq": worker_id}}
        update = {"$pull": {"held": held}, "$inc": {"version": 1}}
        await self._database.write(
            "update", LIMITS, [{"q": {"held.token": {"$in": given}}, "u": update, "multi": True}]
        )

    async def _forget(self, alive: Iterable[str], now: float, most: int) -> None:
        """Delete limits that were not used lately, of which nothing is held, and whose rate is not filled."""
        useless = {
            "used_at": {"$lt": now - KEPT},
            "held.worker": {"$nin": list(alive)},
            "filled_until": {"$not": {"$gt": now}},
        }
        found = await self._database.find(LIMITS, useless, fields={"version": 1}, limit=most)
        gone = [{"q": {"_id": each["_id"], "version": each["version"]}, "limit": 1} for each in found]
        await self._database.write("delete", LIMITS, gone)


def _granted(
    before: Mapping[str, object],
    permits: Sequence[tuple[int, Permit]],
    waits: list[float],
    alive: Iterable[str],
    now: float,
) -> Document | None:
    """The document with what is granted of these permits, one after the other; None where nothing is."""
    found: Document = dict(before)
    held = {hold["token"]: hold["worker"] for hold in found.get("held", ()) if hold["worker"] in alive}
    filled_until: float | None = found.get("filled_until")
    granted = False
    for n, permit in permits:
        if permit.concurrency is not None and permit.token in held:
            waits[n] = 0.0
            continue
        wait = CROWDED if permit.concurrency is not None and len(held) >= permit.concurrency else 0.0
        filled = filled_until
        if permit.rate is not None:
            until_then, filled = next_grant(filled_until, now, permit.rate, permit.burst)
            wait = max(wait, until_then)
        waits[n] = wait
        if wait:
            continue
        granted = True
        filled_until = filled
        if permit.concurrency is not None:
            held[permit.token] = permit.worker_id
    if not granted or (not held and filled_until is None):
        return None
    after: Document = {"held": [{"token": token, "worker": worker} for token, worker in held.items()]}
    if filled_until is not None:
        after["filled_until"] = filled_until
    return after
