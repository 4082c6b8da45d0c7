"""Who is taken up first when more sagas are due than there is room for: the definitions take turns.

What must stay true: no definition keeps the others waiting, however many of its sagas are due; where only one has any,
it gets all the room. Where there is room for all nobody is asked twice; where there is not, those that have nothing due
are asked for once per pause.

Who was served least goes first, and whoever had nothing to do catches up with the others: start-time fair queueing
(Goyal, Vin and Cheng, 1996), in its simplest form.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from ..core.errors import StoreError
from ..store import Claim

if TYPE_CHECKING:
    from .engine import Engine

Ask = Callable[[int, Sequence[str]], Awaitable[Claim]]


class Shares:
    """Claims for one worker. ``ask``: so many at most, of these kinds. ``pause``: seconds between two extra looks."""

    def __init__(self, engine: Engine, ask: Ask, *, pause: float) -> None:
        self._engine = engine
        self._ask = ask
        self._pause = pause
        self._names = {kind: definition.name for kind, definition in engine.definitions.items()}
        self._several = len(set(self._names.values())) > 1
        self._served: Counter[str] = Counter()  # sagas taken up while not all found room, by their definition's name
        self._idle_until = dict.fromkeys(self._names.values(), 0.0)

    async def claim(self, room: int) -> Claim:
        """Take up to ``room`` sagas; those of definitions that are behind go first while not all find room."""
        everything = list(self._names)
        if not self._engine.backlog:
            self._served.clear()
            return await self._ask(room, everything)
        behind = self._behind() if self._several and room > 0 else ()
        if not behind:
            return self._counted(await self._ask(room, everything))
        first = self._counted(await self._ask(room, [kind for kind in everything if self._names[kind] in behind]))
        left = room - len(first.sagas)
        if left <= 0:
            return replace(first, next_due=0.0)  # what made us look twice still waits
        self._let_rest(behind, first.next_due)
        try:
            rest = self._counted(await self._ask(left, everything))
        except StoreError:
            if not (first.sagas or first.attention):
                raise
            return replace(first, next_due=0.0)  # these are ours, and nobody else would ever drive them
        # A store may say only once what is to be looked at.
        attention = list(dict.fromkeys((*first.attention, *rest.attention)))
        return replace(rest, sagas=[*first.sagas, *rest.sagas], attention=attention)

    def _behind(self) -> Collection[str]:
        """The definitions that were served less than another, and of which something may be due."""
        now, most = self._engine.environment.monotonic(), max(self._served.values(), default=0)
        return {name for name, idle in self._idle_until.items() if self._served[name] < most and idle <= now}

    def _let_rest(self, names: Collection[str], next_due: float | None) -> None:
        """Nothing of these is due: they have missed nothing, and are not asked for again at once."""
        pause = self._pause if next_due is None else min(self._pause, next_due)
        until, most = self._engine.environment.monotonic() + pause, max(self._served.values())
        for name in names:
            self._idle_until[name] = until
            self._served[name] = most

    def _counted(self, claim: Claim) -> Claim:
        self._served.update(self._names[stored.record.kind] for stored in claim.sagas)
        return claim
