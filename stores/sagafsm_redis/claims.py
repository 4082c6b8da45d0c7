"""Takes sagas for a worker, in two steps: look for what is due, then take what is still free.

What must stay true: who may have what is decided by the second step alone, in the saga's own partition, by the lease of
its owner there and the clock of the server there. Sagas that were taken but whose claim was not answered are handed out
by the worker's next claim: nobody else would take them up while it lives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import attrs

from sagafsm.core.errors import StoreError
from sagafsm.store import Claim, StoredSaga

from .keys import Partition, Partitions, encode
from .packing import Value
from .reading import load, saga_keys
from .records import read_saga
from .router import Router, script
from .scripts import LOOK, TAKE

DOUBT = 60.0  # seconds after which a message that was lost does not arrive any more
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
        self._unanswered: dict[str, dict[str, float]] = {}  # of each worker: ids, and how long they are in doubt

    async def claim(self, worker_id: str, kinds: Sequence[str], limit: int, saga_ids: Sequence[str] | None) -> Claim:
        """Take up to so many; see :meth:`sagafsm.store.Store.claim`."""
        worker, names, limit = encode(worker_id), [encode(kind) for kind in dict.fromkeys(kinds)], max(limit, 0)
        view = await self._look(worker, names, limit if saga_ids is None else 0)
        if not view.alive:
            return Claim(sagas=(), attention=(), next_due=None, now=view.now)
        taken = await self._found_again(worker_id, limit)
        try:
            if saga_ids is not None:
                await self._take_named(worker, names, limit, list(dict.fromkeys(saga_ids)), taken)
            else:
                await self._take_due(worker, names, limit, view, taken)
            if taken:
                view = await self._look(worker, names, 0)
        except StoreError:
            if not taken:
                raise
            # What was taken is the worker's already. The next claim will find out what is wrong.
            view = attrs.evolve(view, next_due=0.0)
        return Claim(sagas=taken, attention=view.attention, next_due=view.next_due, now=view.now)

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
        try:
            answers = await self._router.all(calls, write=True)
        except StoreError:
            self._doubt(_text(worker), saga_ids)
            raise
        taken: dict[str, StoredSaga] = {}
        for wanted, answer in zip(groups.values(), answers, strict=True):
            for place, saga in answer:
                taken[wanted[place - 1]] = read_saga(wanted[place - 1], saga)
        self._settle(_text(worker), taken)
        return [taken[saga_id] for saga_id in saga_ids if saga_id in taken]

    def unheard(self, worker_id: str, claim: Claim) -> None:
        """A claim whose caller had gone away when it was answered."""
        self._doubt(worker_id, [saga.record.saga_id for saga in claim.sagas])

    def _doubt(self, worker_id: str, saga_ids: Sequence[str]) -> None:
        until = asyncio.get_running_loop().time() + DOUBT
        self._unanswered.setdefault(worker_id, {}).update(dict.fromkeys(saga_ids, until))

    def _settle(self, worker_id: str, saga_ids: Iterable[str]) -> None:
        doubts = self._unanswered.get(worker_id, {})
        for saga_id in saga_ids:
            doubts.pop(saga_id, None)
        if not doubts:
            self._unanswered.pop(worker_id, None)

    async def _found_again(self, worker_id: str, limit: int) -> list[StoredSaga]:
        """What the worker owns of that which a lost claim asked for."""
        doubts = self._unanswered.get(worker_id)
        if not doubts:
            return []
        found = await load(self._router, self._partitions, list(doubts))
        ours = [saga for saga in found.values() if saga.record.owner == worker_id][:limit]
        now = asyncio.get_running_loop().time()
        over = [saga_id for saga_id, until in doubts.items() if until < now]
        self._settle(worker_id, [*over, *(saga.record.saga_id for saga in ours)])
        return ours


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogatepass")
