"""The permits of one saga's calls, as its driver handles them.

What must stay true: every permit that was granted is given back, once: when the body of its call has ended, or when the
call will not be made.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING

from ..core import commands as c
from ..core.decision import Decision
from .bodies import Bodies
from .wishes import Place, Wish, place_of

if TYPE_CHECKING:
    from .driver import Driver
    from .permits import Permits


class Passes:
    """What the driver of a saga with limits has besides. ``held``: the steps whose calls wait for a permit."""

    __slots__ = ("_begun", "_driver", "_permits", "held")

    def __init__(self, driver: Driver, permits: Permits) -> None:
        self._driver = driver
        self._permits = permits
        self._begun: dict[Place, Wish] = {}  # of the calls that are about to begin
        self.held: Collection[str] = ()

    async def asked(self, decision: Decision, calls: Sequence[c.Call], running: int) -> bool:
        """Ask for the permits that a decision lacks; whether to decide again, because there is one now.

        ``running``: how many calls would be live by that decision.
        """
        saga_id = self._driver.saga_id
        if not decision.held and not self._permits.concerns(saga_id):
            self.held = ()
            return False
        used = [place_of(call) for call in calls]
        again = await self._permits.ask(self._driver, decision.progress, decision.held, used, busy=running > 0)
        self.held = self._permits.waiting(saga_id, used)
        return again

    def hold(self, worker_id: str, now: float, due_at: float | None) -> tuple[str | None, float | None]:
        """Who owns a saga that waits for permits and for nothing more, and when it is due."""
        back_at = self._permits.until(self._driver.saga_id)
        if back_at is None:
            return worker_id, now
        return None, back_at if due_at is None else min(back_at, due_at)

    def begin(self, calls: Sequence[c.Call]) -> None:
        """These calls were recorded as begun."""
        self._begun |= self._permits.begin(self._driver.saga_id, map(place_of, calls))

    def take(self, call: c.Call) -> Wish | None:
        """The permit of a call that begins now, if it needs one."""
        return self._begun.pop(place_of(call), None)

    def give_back(self, step: str, permit: Wish, bodies: Bodies) -> None:
        """The call has ended; where its body goes on all the same, so does the permit."""
        bodies.when_gone(step, partial(self._permits.end, permit))

    def leave(self) -> None:
        """The saga is no longer driven here."""
        begun, self._begun = self._begun, {}
        self._permits.forget(self._driver, begun)
