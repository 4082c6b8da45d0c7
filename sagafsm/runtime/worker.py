"""This process's worker: takes up what is due, as far as there is room, and buries the dead.

What must stay true: recovery is this loop, not a moment at the start; a saga that cannot be taken up never holds up
the others; sagas that wait cost nothing here; polling is the truth and every wake-up only a hint.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any

import attrs

from ..core import commands as c
from ..core.errors import OutcomeUnknown, StoreError
from ..store import Claim, StoredSaga
from ..supports import SupportsWakeups
from .driver import Driver, LostOwnership
from .engine import Engine
from .heart import Heart
from .outside import park_unreadable
from .retention import retain
from .shares import Shares
from .strays import Strays
from .waiters import closed

LOGGER = logging.getLogger("sagafsm")
CLAIM_AT_ONCE = 250
UNKNOWN_EVERY = 60.0
MEND_AFTER = 1.0
TROUBLE = 5.0  # seconds until a store that fails is asked again, at most (at least the interval)
HINTS_APART = 0.02  # seconds: a neighbour may write all the time
SOON = 0.05  # seconds until the next look, after one that found something; each in vain doubles it
FORGOTTEN_AFTER = 86_400.0  # seconds after the end of its lease that a worker's record is kept


@attrs.frozen
class Swept:
    """What one look for work took. ``taking_up``: a task per saga. ``more``: there may be more, and there is room."""

    saga_ids: Sequence[str]
    taking_up: Sequence[asyncio.Task[None]]
    more: bool


NOTHING = Swept((), (), more=False)


class Worker:
    """Claims and runs sagas. ``polling`` false: only what it is told to take."""

    def __init__(self, engine: Engine, *, poll_interval: float, polling: bool) -> None:
        self._engine = engine
        self.poll_interval = poll_interval
        self.works = polling
        self._tasks: list[asyncio.Task[None]] = []
        self._heart = Heart(engine)
        self._claiming = asyncio.Lock()
        self._shares = Shares(engine, self._claim, pause=poll_interval)
        self._answered = engine.environment.monotonic()  # when the store was last asked for work with success
        self._registered = asyncio.Lock()
        self._announced = False  # the store may know of this worker
        self._alive = False  # its lease is kept
        self._strays = Strays(engine)
        self._told_unknown: set[str] = set()

    async def start(self) -> None:
        """Begin to claim (where this process is to work by itself)."""
        if self.works:
            await self.ensure_lease()
            self._spawn(self._poll(), "sagafsm worker")
            settings = self._engine.settings
            if settings.retention > 0:
                self._spawn(retain(self._engine, settings.retention, settings.keep_ids), "sagafsm retention")
            if isinstance(self._engine.store, SupportsWakeups):
                self._spawn(self._listen(self._engine.store), "sagafsm wake-ups")

    async def ensure_lease(self) -> None:
        """Register this worker, if it is not yet, and keep its lease from now on. Raises InvalidInput when leaving."""
        async with self._registered:
            if self._engine.draining:
                raise closed()
            if not self._alive:
                self._announced = True
                await self._engine.beat()
                await self._bury_the_dead()
                self._alive = True
                self._heart.start()
                self._spawn(self._look_around(), "sagafsm burials")
                self._spawn(self._mend(), "sagafsm orphans")

    async def stop(self) -> None:
        """Claim nothing more; what was being written goes on in the background, where closing the engine sees it."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def retire(self) -> None:
        """Give up the lease: what is left can be claimed at once."""
        await self._engine.to_the_end(self._retire())

    async def _retire(self) -> None:
        async with self._registered:  # whoever registers it just now must not do so afterwards
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)
            await self._heart.stop()
            if self._announced:
                try:
                    await self._engine.store.retire(self._engine.worker_id)
                except StoreError as exc:
                    LOGGER.warning("the lease could not be given up and will run out by itself: %s", exc)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        self._tasks.append(asyncio.get_running_loop().create_task(work, name=name))
        return self._tasks[-1]

    @property
    def broken(self) -> list[str]:
        """What should never end, and has."""
        return [task.get_name() for task in self._tasks if task.done() and not self._engine.draining]

    @property
    def silent(self) -> float:
        """Seconds since the store was last asked for work with success."""
        return self._engine.environment.monotonic() - self._answered

    # --- the dead ---

    async def _look_around(self) -> None:
        """Whether this process polls or not: its own sagas may wait for what a dead one owns."""
        pause = self._engine.lease / 3
        if self.works:
            pause = min(pause, self.poll_interval)  # what a dead one leaves behind is to be taken over at once
        while True:
            await asyncio.sleep(pause)
            try:
                await self._bury_the_dead()
            except Exception as exc:  # whatever it is, the loop goes on
                LOGGER.warning("the store cannot be asked for workers: %s", exc)

    async def _bury_the_dead(self) -> bool:
        """Workers of this host whose process is gone need not be waited for; whether there were any.

        Records of others whose lease ended long ago say nothing any more, and would only pile up.
        """
        engine, found = self._engine, False
        long_ago = engine.clock() - FORGOTTEN_AFTER
        for worker in await engine.store.workers():
            if worker.worker_id == engine.worker_id:
                continue
            if worker.until < long_ago or engine.environment.is_dead(worker.worker_id):
                await engine.store.retire(worker.worker_id)
                engine.wake.set()
                found = True
        return found

    # --- claiming ---

    async def _poll(self) -> None:
        engine, failures, said = self._engine, 0, float("-inf")
        pause = self.poll_interval
        swept = NOTHING
        while True:
            engine.wake.clear()
            try:
                swept = await self._next(swept)
                # Where there was something there may soon be more; where there is nothing, hints and due times tell,
                # and where there is no room, whoever ends.
                pause = SOON if swept.saga_ids else pause * 2
                if engine.backlog or pause > self.poll_interval:
                    pause = self.poll_interval
                delay = pause
                if engine.environment.monotonic() - said > UNKNOWN_EVERY:
                    said = engine.environment.monotonic()
                    await self._say_unknown()
                failures = 0
                if swept.more:
                    delay = 0.0
                elif engine.next_due is not None:
                    delay = min(delay, max(0.0, engine.next_due - engine.clock()))
            except Exception as exc:  # whatever it is, the loop goes on
                failures += 1
                delay = min(self.poll_interval * 2 ** min(failures, 10), max(self.poll_interval, TROUBLE))
                unforeseen = None if isinstance(exc, StoreError) else exc
                LOGGER.warning(
                    "the store cannot be asked for work, next try in %.1f s: %s", delay, exc, exc_info=unforeseen
                )
            if delay <= 0:
                await asyncio.sleep(0)
                continue
            alarm = asyncio.get_running_loop().call_later(delay, engine.wake.set)
            try:
                await engine.wake.wait()
            finally:
                alarm.cancel()

    async def _listen(self, store: SupportsWakeups) -> None:
        told = False  # of an error that lasts, once
        while True:
            try:
                if await store.wait_for_change(30.0):
                    self._engine.wake.set()
                    await asyncio.sleep(HINTS_APART)
                told = False
            except Exception as exc:
                if not told:
                    LOGGER.warning("the store cannot tell of changes, polling goes on: %s", exc)
                told = True
                await asyncio.sleep(self.poll_interval)

    async def _next(self, last: Swept) -> Swept:
        """Look for work while what the last look took is being stored; then wait for that."""
        swept = await self.sweep()
        await self._settle(last)
        return swept

    async def _settle(self, swept: Swept) -> None:
        """Wait until all of it is stored; one interval at most, for a hook may take its time, or for ever."""
        if swept.taking_up:
            await asyncio.wait(swept.taking_up, timeout=self.poll_interval)

    async def sweep(self) -> Swept:
        """Begin to take up what is due, as far as there is room; that it is taken up is stored in the background."""
        engine = self._engine
        async with self._claiming:  # two sweeps at once would take twice as much as there is room for
            room = max(0, min(engine.room, CLAIM_AT_ONCE))
            claim = await self._shares.claim(room)
            engine.clock.set(claim.now)
            self._answered = engine.environment.monotonic()
            going = [engine.background(self._take_up(stored)) for stored in claim.sagas]
            if going:
                await asyncio.sleep(0)  # now each has its driver, and counts
        full = len(claim.sagas) >= room
        engine.backlog = full and claim.next_due is not None and claim.next_due <= 0
        # Without room, what is due already would be asked for again and again: the next driver that ends wakes us.
        engine.next_due = None if engine.backlog or claim.next_due is None else claim.now + claim.next_due
        for saga_id in claim.attention:
            driver = engine.drivers.get(saga_id)
            if driver is not None:
                engine.background(self._refresh(driver))
            elif saga_id not in engine.unborn and saga_id not in engine.orphans:
                engine.background(self._adopt(saga_id))
        saga_ids = [stored.record.saga_id for stored in claim.sagas]
        return Swept(saga_ids, going, more=engine.backlog and engine.room > 0)

    async def _claim(self, limit: int, kinds: Sequence[str], saga_ids: Sequence[str] | None = None) -> Claim:
        engine = self._engine
        if engine.draining:  # it would be given back at once, and whoever waits for it would ask again
            return Claim(sagas=(), attention=(), next_due=None, now=engine.clock())
        try:
            return await engine.store.claim(engine.worker_id, kinds, limit=limit, saga_ids=saga_ids)
        except OutcomeUnknown:
            self._strays.lost()
            raise

    async def sweep_all(self) -> list[str]:
        """Take up everything that is due and owned by nobody alive, as far as there is room; return the ids."""
        return await self._engine.to_the_end(self._sweep_all())

    async def _sweep_all(self) -> list[str]:
        engine, taken, swept = self._engine, dict[str, None](), NOTHING
        while True:
            swept = await self._next(swept)
            new = [saga_id for saga_id in swept.saga_ids if saga_id not in taken]
            taken |= dict.fromkeys(new)
            if not (swept.more and new):
                await self._settle(swept)  # what ends as it is taken up makes room
            if not (new and engine.backlog and engine.room > 0):
                return list(taken)

    async def _refresh(self, driver: Driver) -> None:
        try:
            await driver.refresh()
        except LostOwnership:
            return
        except StoreError as exc:
            self._engine.orphaned(driver, exc)

    async def _adopt(self, saga_id: str) -> None:
        """Somebody wrote to a saga of ours that nobody drives: it was let go while they were about to write."""
        engine = self._engine
        try:
            stored = (await engine.store.load([saga_id])).get(saga_id)
        except StoreError:
            self._strays.lost()  # the store may not name it again
            raise
        if stored is not None and stored.record.owner == engine.worker_id and saga_id not in engine.drivers:
            engine.orphan(saga_id, stored.record.fence)

    async def take(self, saga_ids: Sequence[str]) -> Sequence[str]:
        """Take up these sagas, due or not, if nobody alive owns them; return those that were taken."""
        await self.ensure_lease()
        return await self._engine.to_the_end(self._take(saga_ids))

    async def _take(self, saga_ids: Sequence[str]) -> Sequence[str]:
        kinds = list(self._engine.definitions)
        claim = await self._claim(len(saga_ids), kinds, saga_ids)
        if not claim.sagas and await self._bury_the_dead():
            claim = await self._claim(len(saga_ids), kinds, saga_ids)
        await asyncio.gather(*(self._take_up(stored) for stored in claim.sagas))
        return [stored.record.saga_id for stored in claim.sagas]

    async def _take_up(self, stored: StoredSaga, *, claimed: bool = True) -> None:
        """Go on with a saga that is ours; ``claimed``: since just now."""
        engine, record = self._engine, stored.record
        old = engine.drivers.get(record.saga_id)
        if old is not None:
            old.abandon()
        problem = engine.memory.loss(record, claimed=claimed)
        try:
            if problem is not None:
                raise problem
            progress = engine.progress_of(stored)
        except StoreError as exc:
            LOGGER.error("saga %s cannot be read and is set aside: %s", record.saga_id, exc)
            await self._set_aside(stored, exc)
            return
        driver = Driver(engine, engine.definitions[record.kind], progress, record.fence)
        engine.drivers[record.saga_id] = driver
        try:
            # First of all: what is told to this driver earlier may begin calls, and they are not those that died.
            await driver.apply(c.TakenOver())
            if any(step.waiting == "child" for step in driver.progress.steps.values()):
                await engine.family.look_at_children(driver.progress)
        except LostOwnership:
            return
        except StoreError as exc:
            engine.orphaned(driver, exc)
        except Exception as exc:
            engine.strand_failed(driver, exc)

    async def _set_aside(self, stored: StoredSaga, problem: StoreError) -> None:
        try:
            if await park_unreadable(self._engine, stored.record, problem):
                return
        except StoreError as exc:
            LOGGER.warning("saga %s could not be set aside: %s", stored.record.saga_id, exc)
        self._engine.orphan(stored.record.saga_id, stored.record.fence)

    async def _mend(self) -> None:
        """Whether this process polls or not: what it owns it drives."""
        engine = self._engine
        while True:
            await engine.stranded.wait()
            await asyncio.sleep(min(self.poll_interval, MEND_AFTER))  # what failed just now would fail again at once
            if not engine.lease_holds():
                continue  # the calls could not begin: each try would count as one more interruption
            engine.stranded.clear()
            try:
                await self._strays.look()
                await self._take_back_orphans()
            except Exception as exc:
                engine.stranded.set()
                LOGGER.warning("the store cannot be asked for %d interrupted sagas: %s", len(engine.orphans), exc)

    async def _take_back_orphans(self) -> None:
        """Sagas that are still ours but that nobody drives: go on with them, as after a crash."""
        engine = self._engine
        orphans, asked = dict(engine.orphans), engine.environment.monotonic()  # the answer may take its time
        found = await engine.store.load(list(orphans))
        for saga_id, orphan in orphans.items():
            stored = found.get(saga_id)
            too_old = stored is None or stored.record.fence < orphan.fence
            if too_old and asked < orphan.until:
                engine.stranded.set()  # its birth may still arrive, or this is a view from before our claim
                continue
            if engine.orphans.get(saga_id) != orphan:
                continue  # it was put aside once more meanwhile, and is looked at again
            del engine.orphans[saga_id]
            if stored is None or stored.record.fence != orphan.fence or stored.record.owner != engine.worker_id:
                continue
            if not self._strays.drives(stored.record):
                engine.background(self._take_up(stored, claimed=False))

    async def _say_unknown(self) -> None:
        """Say which live sagas wait for a definition that this process does not have."""
        engine = self._engine
        for count in await engine.store.counts():
            if count.state in ("completed", "failed") or count.kind in engine.definitions or count.stuck:
                continue
            if count.kind not in self._told_unknown:
                self._told_unknown.add(count.kind)
                LOGGER.warning("%s", self._explain(count.kind, count.count))

    def _explain(self, kind: str, count: int) -> str:
        same = kind.rpartition("#")[0]
        for known in self._engine.definitions:
            if known.rpartition("#")[0] == same:
                return (
                    f"{count} sagas of {kind} were started with another shape of this definition (now {known}): "
                    "its steps changed but its version did not; raise the version and register the old one as well"
                )
        return f"{count} sagas of {kind} are left to a worker that has this definition; this process does not"
