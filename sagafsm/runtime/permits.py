"""Permits for calls under limits: asked for before an attempt begins, given back when its call has ended.

What must stay true: a call under a limit begins only with a permit, which the store grants; a saga that has to wait for
one has begun no attempt, and uses up nothing. Of those that wait only a few stay in memory, the longest waiting first;
the others are let go and come back at a time that is worked out here. However many wait, the store is asked a bounded
number of times a second. A store that cannot be asked grants nothing.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ..core import commands as c
from ..core import events as e
from ..core.errors import StoreError
from ..core.progress import Progress
from ..supports import Permit, SupportsLimits
from .gates import Gate
from .logs import LOGGER
from .wishes import Place, Stand, Wish, place_of

if TYPE_CHECKING:
    from .driver import Driver
    from .engine import Engine

AT_ONCE = 500  # permits in one request
TROUBLE = 1.0  # seconds until a store that failed is asked again
REMEMBERED = 10_000  # sagas of which it is remembered when they come back


class Permits:
    """All wishes of one orchestrator. ``stay``: how many sagas may stay in memory only to wait for a permit."""

    def __init__(self, engine: Engine, *, stay: int) -> None:
        self._engine = engine
        self._stay = stay
        self._wishes: dict[str, dict[Place, Wish]] = {}
        self._later: dict[str, float] = {}
        self._gates: dict[str, Gate[Wish]] = {}
        self._crowded: dict[str, Gate[Wish]] = {}
        self._many = 64
        self._staying: set[Wish] = set()
        self._lasts: dict[str, float] = {}
        self._asked: list[tuple[list[Wish], asyncio.Future[None]]] = []
        self._returned: list[str] = []
        self._numbers = itertools.count()
        self._something = asyncio.Event()
        self._work: asyncio.Task[None] | None = None

    # --- what the decider and drivers ask ---

    def permitted(self, saga_id: str, step: str, backward: bool) -> bool | e.Failure:
        """Whether a call under a limit may begin; a Failure where the limit's key could not be worked out."""
        wish = self._wishes.get(saga_id, {}).get((step, backward))
        if wish is None:
            return False
        return wish.failure if wish.failure is not None else wish.stand is Stand.GRANTED

    def concerns(self, saga_id: str) -> bool:
        """Whether there is any wish of a saga."""
        return saga_id in self._wishes

    async def ask(
        self, driver: Driver, progress: Progress, held: Iterable[c.Held], used: Collection[Place], *, busy: bool
    ) -> bool:
        """Ask for what a decision was held up by; whether to decide again, because something of it may begin now.

        ``progress`` and ``used``: where the saga would stand, and what may begin, by this decision. ``busy``: it stays
        here in any case.
        """
        mine = self._wishes.setdefault(driver.saga_id, {})
        wanted = {place_of(one): one for one in held}
        for place, wish in list(mine.items()):
            # A call that died with its process is not named again before it may begin.
            unnamed = wish.interrupted and progress.steps[place[0]].calling
            if not (place in wanted or place in used or unnamed):
                self._drop(wish)
        new: list[Wish] = []
        for place, one in wanted.items():
            known = mine.get(place)
            wish = known or Wish(driver, progress, one, self._engine, next(self._numbers))
            mine[place] = wish
            wish.interrupted, wish.busy = one.interrupted, busy
            if wish.stand is Stand.NEW or known is None:  # one whose key is broken is to be decided on as well
                new.append(wish)
        if not mine:
            del self._wishes[driver.saga_id]
        asked = [wish for wish in new if wish.permit is not None and not self._is_behind(wish)]
        if asked:
            answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._asked.append((asked, answered))
            self._go()
            await answered
        if any(wish.stand in (Stand.GRANTED, Stand.BROKEN) for wish in new):
            return True
        self._seat(list(mine.values()))
        return False

    def waiting(self, saga_id: str, used: Collection[Place]) -> Collection[str]:
        """The steps of a saga that wait for a permit, or have one and begin at the next look.

        ``used``: the calls that begin now. A call that died begins only when it is taken over anew, so what is granted
        to it does not count.
        """
        return {
            place[0]
            for place, wish in self._wishes.get(saga_id, {}).items()
            if wish.stand in (Stand.WAITING, Stand.LATER)
            or (wish.stand is Stand.GRANTED and not wish.interrupted and place not in used)
        }

    def until(self, saga_id: str) -> float | None:
        """When a saga that is to be let go comes back, by the store's clock; None: it stays here and waits."""
        wishes = self._wishes[saga_id].values()
        return min(wish.back_at for wish in wishes) if all(wish.stand is Stand.LATER for wish in wishes) else None

    def back_in(self, saga_id: str) -> float:
        """Seconds until a saga that was let go comes back; 0.0 where none was."""
        return max(0.0, self._later.get(saga_id, 0.0) - self._engine.clock())

    def begin(self, saga_id: str, places: Iterable[Place]) -> dict[Place, Wish]:
        """The permits of calls that begin now; they are to be given to :meth:`end`, each once."""
        mine = self._wishes.get(saga_id, {})
        begun = {place: mine.pop(place) for place in places if place in mine}
        if not mine:
            self._wishes.pop(saga_id, None)
        return begun

    def end(self, wish: Wish) -> None:
        """A call has ended, or will not begin."""
        permit = wish.permit
        if wish.stand is Stand.GONE or permit is None:
            return
        wish.stand = Stand.GONE
        if permit.concurrency is None:
            return
        now = asyncio.get_running_loop().time()
        base = permit.name.partition(":")[0]
        lasted = max(0.0, now - wish.began)
        self._lasts[base] = 0.8 * self._lasts.get(base, lasted) + 0.2 * lasted
        self._returned.append(permit.token)
        if permit.name in self._crowded:
            self._crowded[permit.name].freed(now)
        self._go()

    def forget(self, driver: Driver, begun: Mapping[Place, Wish]) -> None:
        """A saga is no longer driven here; the calls of ``begun`` will not be made."""
        for wish in begun.values():
            self.end(wish)
        for wish in list(self._wishes.get(driver.saga_id, {}).values()):
            if wish.driver is driver:
                self._drop(wish)
        if not self._wishes.get(driver.saga_id, True):
            del self._wishes[driver.saga_id]

    async def close(self) -> None:
        """Ask for nothing more. What is held ends with this worker's lease."""
        if self._work is not None:
            self._work.cancel()
            await asyncio.wait({self._work})

    # --- wishes ---

    def _drop(self, wish: Wish) -> None:
        """Nobody wants it any more."""
        self._leave(wish)
        mine = self._wishes.get(wish.driver.saga_id, {})
        if mine.get(wish.place) is wish:
            del mine[wish.place]
        if wish.stand is Stand.GRANTED:
            self.end(wish)
        wish.stand = Stand.GONE

    # --- gates ---

    def _gate(self, permit: Permit) -> Gate[Wish]:
        gate = self._gates.get(permit.name)
        if gate is None:
            if len(self._gates) >= self._many:
                now = asyncio.get_running_loop().time()
                self._gates = {name: one for name, one in self._gates.items() if not one.is_idle(now)}
                self._many = max(64, 2 * len(self._gates))
            gate = self._gates[permit.name] = Gate(permit.concurrency, permit.rate, permit.burst)
        return gate

    def _is_behind(self, wish: Wish) -> bool:
        gate = self._crowded.get(wish.permit.name) if wish.permit is not None else None
        return gate is not None and gate.is_behind(wish.since)

    def _seat(self, wishes: Sequence[Wish]) -> None:
        """What cannot begin waits: here if there is room, else the saga comes back later."""
        open_ = [wish for wish in wishes if wish.stand in (Stand.NEW, Stand.WAITING, Stand.LATER)]
        for wish in open_:
            self._wait(wish)
        stays = any(wish.busy or self._has_room(wish) for wish in open_)
        for wish in open_:
            if stays and not wish.busy:
                self._staying.add(wish)
            elif not stays:
                self._come_back(wish)

    def _has_room(self, wish: Wish) -> bool:
        assert wish.permit is not None  # noqa: S101 - else it is broken
        room = wish in self._staying or len(self._staying) < self._stay
        return room and any(one is wish for one in self._gates[wish.permit.name].seated())

    def _wait(self, wish: Wish) -> None:
        if wish.stand is Stand.WAITING or wish.permit is None:
            return
        gate = self._gate(wish.permit)
        gate.enter(wish.since, wish.number, wish)
        self._crowded[wish.permit.name] = gate
        wish.stand = Stand.WAITING
        displaced = gate.next()
        if displaced is not None and displaced is not wish and not displaced.busy:
            displaced.driver.go_on(())  # it looks again, and finds no seat
        self._go()

    def _come_back(self, wish: Wish) -> None:
        assert wish.permit is not None  # noqa: S101 - else it is broken
        gate = self._gates[wish.permit.name]
        self._leave(wish)
        now = asyncio.get_running_loop().time()
        lasts = self._lasts.get(wish.permit.name.partition(":")[0], 1.0)
        back = gate.slot(now, max(0.0, gate.ask_at - now), lasts)
        wish.stand, wish.back_at = Stand.LATER, self._engine.clock() + (back - now)
        self._later[wish.driver.saga_id] = wish.back_at
        if len(self._later) > REMEMBERED:
            del self._later[next(iter(self._later))]

    def _leave(self, wish: Wish) -> None:
        self._staying.discard(wish)
        if wish.stand is Stand.WAITING and wish.permit is not None:
            gate = self._gates[wish.permit.name]
            gate.leave(wish)
            if not gate:
                self._crowded.pop(wish.permit.name, None)

    # --- asking the store ---

    def _go(self) -> None:
        if self._work is None:
            self._work = asyncio.get_running_loop().create_task(self._serve(), name="sagafsm permits")
        self._something.set()

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._something.clear()
            ask_at = min((gate.ask_at for gate in self._crowded.values()), default=None)
            pause = None if ask_at is None else ask_at - loop.time()
            if not (self._asked or self._returned) and (pause is None or pause > 0):
                try:
                    async with asyncio.timeout(pause):
                        await self._something.wait()
                except TimeoutError:
                    pass
                else:
                    continue
            await self._give_back()
            await self._ask_for(loop.time())

    async def _give_back(self) -> None:
        tokens, self._returned = self._returned, []
        if not tokens:
            return
        try:
            await self._store.give_back(self._engine.worker_id, tokens)
        except Exception as exc:  # whatever it is, calls go on
            LOGGER.warning("%d permits could not be given back, tried again: %s", len(tokens), exc, exc_info=_bug(exc))
            self._engine.background(self._give_back_later(tokens))

    async def _give_back_later(self, tokens: list[str]) -> None:
        await asyncio.sleep(TROUBLE)
        self._returned += tokens
        self._go()

    @property
    def _store(self) -> SupportsLimits:
        store = self._engine.store
        assert isinstance(store, SupportsLimits)  # noqa: S101 - checked when the orchestrator is made
        return store

    async def _ask_for(self, now: float) -> None:
        asked, self._asked = self._asked, []
        wishes = [wish for several, _ in asked for wish in several]
        waiting = [wish for gate in self._crowded.values() if gate.ask_at <= now for wish in gate.seated()]
        everything = wishes + waiting
        try:
            for start in range(0, len(everything), AT_ONCE):
                await self._ask_some(everything[start : start + AT_ONCE])
        finally:
            for _, answered in asked:
                if not answered.done():
                    answered.set_result(None)

    async def _ask_some(self, wishes: Sequence[Wish]) -> None:
        permits = [wish.permit for wish in wishes if wish.permit is not None]
        try:
            waits = await self._store.acquire(permits)
            if len(waits) != len(permits):
                raise StoreError(f"it answered {len(waits)} of {len(permits)} requests")
        except Exception as exc:  # whatever it is, nothing begins and everybody asks again
            LOGGER.warning(
                "the store cannot be asked for permits, next try in %.0f s: %s", TROUBLE, exc, exc_info=_bug(exc)
            )
            waits = [TROUBLE] * len(permits)
        now = asyncio.get_running_loop().time()
        for wish, permit, wait in zip(wishes, permits, waits, strict=True):
            gate = self._gate(permit)
            if wait > 0:
                gate.refused(now, wait)
                continue
            gate.granted()
            wish.began = now
            waited = wish.stand is not Stand.NEW  # also one that left its seat while we asked
            self._leave(wish)
            if wish.stand is Stand.GONE:  # its saga was let go while we asked
                wish.stand = Stand.GRANTED
                self.end(wish)
                continue
            wish.stand = Stand.GRANTED
            if waited:
                wish.driver.go_on((wish.place[0],) if wish.interrupted else ())


def _bug(error: Exception) -> Exception | None:
    return None if isinstance(error, StoreError) else error
