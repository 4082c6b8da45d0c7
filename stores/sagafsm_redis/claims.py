"""Takes sagas for a worker, in two steps: look for what is due, then take what is still free.

What must stay true: who may have what is decided by the second step alone, in the saga's own partition, by the lease of
its owner there and the clock of the server there. After a server was connected to anew, which may be one that took over
without the newest appends, the worker is shown everything that it owns there: of a saga that it has let go since, and
that is its own again, nobody else would ever know.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from sagafsm.core.errors import StoreUnavailable
from sagafsm.store import Claim, StoredSaga

from .keys import Partition, Partitions, encode
from .node import Meeting
from .packing import Value
from .reading import saga_keys
from .records import read_saga
from .router import Router, script
from .scripts import LOOK, OWNED, TAKE

ROUNDS = 3  # when all that was seen is gone, others are at work too: look again, but not for ever


@attrs.frozen
class _View:
    """What a worker would find, over all partitions; ``due`` in order."""

    now: float
    alive: bool
    attention: list[str]
    due: list[str]
    next_due: float | None


class Claims:
    """Claims through one store."""

    def __init__(self, router: Router, partitions: Partitions) -> None:
        self._router = router
        self._partitions = partitions
        self._met: dict[str, dict[Partition, Meeting]] = {}
        """For each worker, on which connection each partition was when the worker last knew what it owns."""

    async def claim(self, worker_id: str, kinds: Sequence[str], limit: int, saga_ids: Sequence[str] | None) -> Claim:
        """Take up to so many; see :meth:`sagafsm.store.Store.claim`."""
        worker, names, limit = encode(worker_id), [encode(kind) for kind in dict.fromkeys(kinds)], max(limit, 0)
        view = await self._look(worker, names, limit if saga_ids is None else 0)
        if not view.alive:
            return Claim(sagas=(), attention=(), next_due=None, now=view.now)
        met, owned = await self._met_anew(worker_id) if saga_ids is None else ({}, [])
        taken: list[StoredSaga] = []
        try:
            if saga_ids is not None:
                await self._take_named(worker, names, limit, list(dict.fromkeys(saga_ids)), taken)
            else:
                await self._take_due(worker, names, limit, view, taken)
            if taken:
                view = await self._look(worker, names, 0)
        except StoreUnavailable:
            if not taken:
                raise
            # What was taken is the worker's already. The next claim will find out what is wrong.
            view = attrs.evolve(view, next_due=0.0)
        if met:
            self._met[worker_id] = met
        attention = tuple(dict.fromkeys((*view.attention, *owned)))
        return Claim(sagas=taken, attention=attention, next_due=view.next_due, now=view.now)

    async def _met_anew(self, worker_id: str) -> tuple[dict[Partition, Meeting], list[str]]:
        """On which connection each partition is now, and what the worker owns where that is not as it was."""
        now = await self._router.meetings(self._partitions.all)
        before = self._met.get(worker_id, now)
        if now == before:
            return now, []
        doubtful = [partition for partition in self._partitions.all if now[partition] != before.get(partition)]
        calls = [script(partition, OWNED, (), encode(worker_id)) for partition in doubtful]
        answers = await self._router.all(calls, write=False)
        return now, [_text(saga_id) for answer in answers for saga_id in answer]

    async def _look(self, worker: bytes, kinds: Sequence[bytes], limit: int) -> _View:
        calls = [script(partition, LOOK, (), worker, limit, *kinds) for partition in self._partitions.all]
        answers = await self._router.all(calls, write=False)
        due = sorted(found for answer in answers for found in answer[3])
        times = [float(answer[4]) for answer in answers if answer[4] is not None]
        return _View(
            now=float(answers[0][0]),
            alive=all(answer[1] for answer in answers),
            attention=[_text(saga_id) for answer in answers for saga_id in answer[2]],
            due=[_text(found[9:]) for found in due[:limit]],
            next_due=min(times, default=None),
        )

    async def _take_due(
        self, worker: bytes, kinds: Sequence[bytes], limit: int, view: _View, taken: list[StoredSaga]
    ) -> None:
        for _ in range(ROUNDS):
            more = await self._take(worker, kinds, "due", view.due[: limit - len(taken)])
            taken += more
            if more or not view.due:
                break
            view = await self._look(worker, kinds, limit)

    async def _take_named(
        self, worker: bytes, kinds: Sequence[bytes], limit: int, saga_ids: Sequence[str], taken: list[StoredSaga]
    ) -> None:
        left = list(saga_ids)
        while left and (room := limit - len(taken)) > 0:
            taken += await self._take(worker, kinds, "named", left[:room])
            left = left[room:]

    async def _take(
        self, worker: bytes, kinds: Sequence[bytes], mode: str, saga_ids: Sequence[str]
    ) -> list[StoredSaga]:
        """Those of these sagas that are free, in this order."""
        if not saga_ids:
            return []
        groups: dict[Partition, list[str]] = {}
        for saga_id in saga_ids:
            groups.setdefault(self._partitions.of(encode(saga_id)), []).append(saga_id)
        calls = []
        for partition, wanted in groups.items():
            names = [encode(saga_id) for saga_id in wanted]
            keys = [key for name in names for key in saga_keys(partition, name)]
            values: list[Value] = [worker, mode, len(names), *names, *kinds]
            calls.append(script(partition, TAKE, keys, *values))
        answers = await self._router.all(calls, write=True, replicated=True)  # a fence must not be given out twice
        taken: dict[str, StoredSaga] = {}
        for wanted, answer in zip(groups.values(), answers, strict=True):
            for place, saga in answer:
                taken[wanted[place - 1]] = read_saga(wanted[place - 1], saga)
        return [taken[saga_id] for saga_id in saga_ids if saga_id in taken]


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogatepass")
