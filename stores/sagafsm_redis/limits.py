"""Permits that hold for all workers: how many calls at once, and how many a second.

What must stay true: a limit lies whole in one partition, chosen by its name, and is judged there in one step, by the
leases and the clock of that partition.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from sagafsm.supports import CROWDED, Permit

from .keys import Partition, Partitions, encode
from .router import Router, script
from .scripts import ACQUIRE, GIVE_BACK

REMEMBERED = 10_000

_pack = msgspec.msgpack.Encoder().encode


class Limits:
    """Permits through one store. Where its tokens lie it remembers; for others it asks every partition."""

    def __init__(self, router: Router, partitions: Partitions) -> None:
        self._router = router
        self._partitions = partitions
        self._places: dict[str, dict[Partition, None]] = {}

    async def acquire(self, permits: Sequence[Permit]) -> Sequence[float]:
        """See :meth:`sagafsm.supports.SupportsLimits.acquire`."""
        groups: dict[Partition, list[int]] = {}
        for place, permit in enumerate(permits):
            groups.setdefault(self._partitions.of(encode(permit.name)), []).append(place)
        if not groups:
            return []
        calls = []
        for partition, places in groups.items():
            wanted = [permits[place] for place in places]
            for permit in wanted:
                self._remember(permit.token, partition)
            keys = [partition.rate(encode(permit.name)) for permit in wanted]
            calls.append(script(partition, ACQUIRE, keys, _pack([_entry(permit) for permit in wanted]), str(CROWDED)))
        waits = [0.0] * len(permits)
        for places, answer in zip(groups.values(), await self._router.all(calls, write=True), strict=True):
            for place, wait in zip(places, answer, strict=True):
                waits[place] = float(wait)
        return waits

    async def give_back(self, worker_id: str, tokens: Sequence[str]) -> None:
        """See :meth:`sagafsm.supports.SupportsLimits.give_back`."""
        groups: dict[Partition, list[bytes]] = {}
        everywhere = dict.fromkeys(self._partitions.all)
        for token in dict.fromkeys(tokens):
            for partition in self._places.get(token, everywhere):
                groups.setdefault(partition, []).append(encode(token))
        if groups:
            worker = encode(worker_id)
            calls = [script(partition, GIVE_BACK, (), worker, *names) for partition, names in groups.items()]
            await self._router.all(calls, write=True)
        for token in tokens:
            self._places.pop(token, None)

    def _remember(self, token: str, partition: Partition) -> None:
        self._places.setdefault(token, {})[partition] = None
        if len(self._places) > REMEMBERED:
            del self._places[next(iter(self._places))]


def _entry(permit: Permit) -> tuple[str, str, str, int | None, float | None, int]:
    return permit.name, permit.token, permit.worker_id, permit.concurrency, permit.rate, permit.burst
