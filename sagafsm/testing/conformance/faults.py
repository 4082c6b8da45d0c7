"""Obligations when something goes wrong: an answer is lost, a call is cut short, many come at once."""

# ruff: noqa: S101

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import pytest

from ...core.errors import OutcomeUnknown
from ...store import Append, AppendResult, Committed, Conflict, Duplicate, Exists, Fenced, Store
from ..appends import KIND, create, events, follow
from ..cutting import cut_short
from ..faults import Fault, FaultyStore
from .base import LONG, StoreTests, commit, owned, put, read, whole
from .calls import WRITES, Call, calls_of

WAITS = 40  # no call waits as often
COMMITS = tuple(call for call in WRITES if call.name.startswith("commit"))
TROUBLES = (Fault.UNTOLD, Fault.LOST, Fault.LATE)


class _Held:
    """A store behind which commits wait until they are let go."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.let_go = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, batch: Sequence[Append]) -> Sequence[AppendResult]:
        await self.let_go.wait()
        return await self._store.commit(batch)


class FaultConformance(StoreTests):
    """What is handed in again is applied once; what is cut short leaves nothing half done and holds nothing back."""

    async def test_a_batch_whose_answer_was_lost_is_applied_once(self, store: Store) -> None:
        faulty = FaultyStore(store)
        for call in COMMITS:
            for fault in TROUBLES:
                batch = await call.begin(store, f"{fault.value}-{COMMITS.index(call)}")
                faulty.plan(fault)
                with pytest.raises(OutcomeUnknown):
                    await faulty.commit(batch)
                faulty.heal()
                await call.made(faulty, batch)
                await faulty.settled()
                await call.made(faulty, batch)
                await self._once(store, batch)

    async def _once(self, store: Store, batch: Sequence[Append]) -> None:
        for append in batch:
            assert (await whole(store, append.saga_id)).version == append.expected_version + len(append.events)

    async def test_a_batch_handed_in_again_while_it_is_under_way_is_applied_once(self, store: Store) -> None:
        await self._at_once([store], store)

    async def test_a_batch_handed_in_again_through_a_second_store_is_applied_once(self, store: Store) -> None:
        second = await self.open_again(store)
        try:
            await self._at_once([store, second], store)
        finally:
            await second.close()

    async def _at_once(self, stores: Sequence[Store], store: Store) -> None:
        for round_ in range(5):
            for number, call in enumerate(COMMITS):
                batch = await call.begin(store, f"{round_}-{number}")
                answers = await asyncio.gather(*(stores[n % len(stores)].commit(batch) for n in range(4)))
                for results in answers:
                    call.right(batch, results)
                for n, append in enumerate(batch):
                    applied = [results[n] for results in answers if isinstance(results[n], Committed)]
                    assert len(applied) == 1 or not append.events, "the same append was applied twice"
                await self._once(store, batch)

    async def test_a_batch_that_arrives_late_is_harmless(self, store: Store) -> None:
        """Applied after its writer gave up: by then somebody else has the saga, or has written what came next."""
        held = _Held(store)
        faulty = FaultyStore(cast(Store, held))
        first, second = await owned(store, "lost", "gone"), await commit(store, create("ahead"))
        late = [follow(first, state="compensating"), follow(second), create("born")]
        faulty.plan(Fault.LATE)
        with pytest.raises(OutcomeUnknown):
            await faulty.commit(late)
        await store.retire("gone")
        await store.heartbeat("w", LONG)
        assert len((await store.claim("w", [KIND], limit=1, saga_ids=["lost"])).sagas) == 1
        ahead = await commit(store, follow(second, state="compensating"))
        await commit(store, create("born", digest="other"))
        before = await store.load(["lost", "ahead", "born"])
        assert list(await store.commit(late)) == [Fenced(first.fence + 1), Conflict(ahead.version), Exists(same=False)]
        held.let_go.set()
        await faulty.settled()
        assert await store.load(["lost", "ahead", "born"]) == before

    async def test_an_append_from_a_stale_read_is_refused(self, store: Store) -> None:
        faulty = FaultyStore(store)
        await put(store, "s")
        await faulty.load(["s"])
        await store.heartbeat("w", LONG)
        (saga,) = (await store.claim("w", [KIND], limit=1)).sagas
        faulty.plan(Fault.STALE, "load", times=2)
        stale = (await read(faulty, "s")).record
        assert list(await faulty.commit([follow(stale)])) == [Fenced(saga.record.fence)]
        now = await commit(store, follow(saga.record))
        stale = (await read(faulty, "s")).record
        assert list(await faulty.commit([follow(stale)])) == [Conflict(now.version)]
        assert (await commit(faulty, follow((await read(faulty, "s")).record))).version == now.version + 1

    # --- cut short ---

    async def test_a_call_that_is_cut_short_anywhere_is_done_or_not_done(self, store: Store) -> None:
        abouts: list[tuple[Call, Any]] = []
        for number, call in enumerate(calls_of(store)):
            for turns in (0, 1, 3):
                for wait in range(1, WAITS):
                    about = await call.begin(store, f"{number}-{turns}-{wait}")
                    cut = await cut_short(partial(call.make, store, about), wait, turns=turns)
                    assert cut.error is None, f"{call.name}, cut short at its {wait}. wait: {cut.error!r}"
                    if call.done is not None:
                        await call.done(store, about)  # where it is done by halves, this fails
                    await call.made(store, about)
                    abouts.append((call, about))
                    if not cut.reached:
                        break
        for call, about in abouts:  # what was cut short may have arrived since
            assert call.done is None or await call.done(store, about), call.name

    async def test_a_call_that_is_cut_short_holds_nothing_back(self, store: Store) -> None:
        """Neither a lock nor a transaction stays open: others can write the same at once."""
        second = await self.open_again(store)
        try:
            for number, call in enumerate(WRITES):
                for turns in (0, 2):
                    about = await call.begin(store, f"{number}-{turns}")
                    await cut_short(partial(call.make, store, about), 1, turns=turns)
                    async with asyncio.timeout(self.patience):
                        await call.made(second, about)
        finally:
            await second.close()

    async def test_however_often_calls_are_cut_short_the_store_goes_on(self, store: Store) -> None:
        """A pool that loses a connection each time is empty in the end."""
        record = await commit(store, create("s"))
        for turn in range(100):
            tasks = [
                asyncio.ensure_future(work)
                for work in (store.load(["s"]), store.commit([follow(record)]), store.heartbeat("w", LONG))
            ]
            for _ in range(turn % 4):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        async with asyncio.timeout(self.patience):
            result: AppendResult | None = None
            while not isinstance(result, Committed):  # the last of those that were cut short may arrive at this moment
                record = (await read(store, "s")).record
                assert record.version in (2, 3)
                (result,) = await store.commit([follow(record, events=events(2))])
                assert isinstance(result, (Committed, Conflict))
        await whole(store, "s")

    async def test_answers_belong_to_their_questions(self, store: Store) -> None:
        """A reply that its reader did not wait for must not be taken for the answer to what is asked next."""
        chance, names = random.Random(7), [f"s{n}" for n in range(12)]
        await store.commit([create(name, correlation_id=name) for name in names])

        async def ask(name: str) -> str:
            (found,) = (await store.load([name])).values()
            assert list(found.record.correlation_id) == list(name)
            return found.record.saga_id

        for _ in range(20):
            tasks = {name: asyncio.ensure_future(ask(name)) for name in names}
            cut = set(chance.sample(names, 6))
            for name in names:
                if chance.random() < 0.5:
                    await asyncio.sleep(0)
                if name in cut:
                    tasks[name].cancel()
            answers = await asyncio.gather(*tasks.values(), return_exceptions=True)
            for name, answer in zip(names, answers, strict=True):
                assert answer == name or (name in cut and isinstance(answer, asyncio.CancelledError)), answer

    # --- many at once ---

    async def test_many_tasks_at_once_leave_every_saga_whole(self, store: Store) -> None:
        """Writers, owners and readers on few sagas, some of them cut short: no event is lost, none is there twice."""
        names = [f"s{n}" for n in range(4)]
        for name in names:
            await put(store, name)
        applied: list[Append] = []
        doubtful: list[Append] = []

        async def write(chance: random.Random, worker: str) -> None:
            await store.heartbeat(worker, LONG)
            for _ in range(12):
                record = (await read(store, chance.choice(names))).record
                append = follow(record, events=events(chance.randint(1, 3)), due_at=record.due_at, owner=None)
                call = asyncio.ensure_future(store.commit([append]))
                if chance.random() < 0.2:
                    for _ in range(chance.randint(0, 3)):
                        await asyncio.sleep(0)
                    call.cancel()
                try:
                    (result,) = await call
                except asyncio.CancelledError:
                    doubtful.append(append)
                    continue
                assert isinstance(result, (Committed, Conflict, Fenced)), result
                if isinstance(result, Committed):
                    applied.append(append)
                if chance.random() < 0.3:
                    claim = await store.claim(worker, [KIND], limit=1)
                    for saga in claim.sagas:
                        await store.release(saga.record.saga_id, worker_id=worker, fence=saga.record.fence)

        await asyncio.gather(*(write(random.Random(n), f"w{n}") for n in range(8)))
        for append in doubtful:  # handed in again, each says whether it stands
            (result,) = await store.commit([append])
            if isinstance(result, (Committed, Duplicate)):
                applied.append(append)
        for name in names:
            record = await whole(store, name)
            mine = sorted((a.expected_version, len(a.events)) for a in applied if a.saga_id == name)
            version = 2
            for expected, count in mine:
                assert expected == version, "an append is missing, or two stand at one place"
                version += count
            assert record.version == version

    async def test_fences_of_many_claims_at_once_are_never_given_twice(self, store: Store) -> None:
        names = [f"s{n}" for n in range(6)]
        for name in names:
            await put(store, name)
        granted: list[tuple[str, int]] = []

        async def take(worker: str) -> None:
            await store.heartbeat(worker, LONG)
            for _ in range(8):
                for saga in (await store.claim(worker, [KIND], limit=3)).sagas:
                    granted.append((saga.record.saga_id, saga.record.fence))
                    assert await store.release(saga.record.saga_id, worker_id=worker, fence=saga.record.fence)

        await asyncio.gather(*(take(f"w{n}") for n in range(6)))
        assert len(granted) == len(set(granted))
        for name in names:
            fences = sorted(fence for saga_id, fence in granted if saga_id == name)
            assert fences == list(range(2, 2 + len(fences)))
            assert (await read(store, name)).record.owner is None
