"""The effect ledger: what a saga's functions add and remove, in the user's own words, and whether it adds up.

What must stay true: a call counts when its function has returned, once for each idempotency key; at the end of a run
the ledger of every saga has to be what its outcome says, and what the user counts has to be what the ledger says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Self

import attrs

from ...core.definition import SagaDefinition
from ...core.errors import InvalidInput
from ...core.lifecycle import SagaState
from ...core.progress import Progress
from ..laws import Broken

LAW = "C1 net effect"


@attrs.frozen
class Kept:
    """One saga at the end of a run. ``calls``: the functions that returned, in order, and whether that had an effect.

    ``doubtful``: a person had to say what happened, and nobody can tell whether that is so.
    """

    saga: Progress
    definition: SagaDefinition
    calls: Sequence[tuple[str, bool]]
    doubtful: bool = False


class EffectLedger:
    """What functions add and remove; functions go by their own name.

    ``EffectLedger().adds("stock", "reserve").removes("stock", "release").counts("stock", lambda: len(shelf))``: at the
    end of every run a completed saga has to have added exactly one ``stock`` for each step that does, and a failed one
    none; nothing may be removed before it was added; and in the world, where somebody counts, just that has to stand.
    """

    def __init__(self) -> None:
        self._changes: dict[str, list[tuple[str, int]]] = {}
        self._counts: dict[str, Callable[[], float]] = {}

    def adds(self, thing: str, *functions: str) -> Self:
        """Each of these functions adds one of a thing."""
        return self._note(thing, functions, 1)

    def removes(self, thing: str, *functions: str) -> Self:
        """Each of these functions removes one of a thing."""
        return self._note(thing, functions, -1)

    def counts(self, thing: str, count: Callable[[], float]) -> Self:
        """``count()`` says how many of a thing there are in the world, at the end of a run; ``before=`` makes it new.

        So it is found when a function does not do what it says, or does it twice.
        """
        if not callable(count):
            raise InvalidInput(f"counts({thing!r}, …) takes a function that counts, got {count!r}")
        self._counts[thing] = count
        return self

    def _note(self, thing: str, functions: Iterable[str], change: int) -> Self:
        names = list(functions)
        if not names:
            raise InvalidInput(f"say which functions change {thing!r}: adds({thing!r}, 'reserve_inventory')")
        for name in names:
            self._changes.setdefault(name, []).append((thing, change))
        return self

    def check_names(self, definitions: Iterable[SagaDefinition]) -> None:
        """Raise InvalidInput for a function that no step has, and for a count of what no function changes."""
        known = {
            handler.name
            for definition in definitions
            for step in definition.steps.values()
            for handler in (step.action, step.compensation, step.fallback, step.fallback_compensation)
            if handler is not None
        }
        for name in self._changes:
            if name not in known:
                raise InvalidInput(f"no function of the saga is called {name!r}; there are: {', '.join(sorted(known))}")
        things = {thing for changes in self._changes.values() for thing, _ in changes}
        for thing in self._counts:
            if thing not in things:
                raise InvalidInput(
                    f"{thing!r} is counted, and no function adds it: adds({thing!r}, 'reserve_inventory')"
                )

    def check(self, sagas: Iterable[Kept]) -> None:
        """Hold the sagas of a run that has ended against their calls, and the world against both. Raises Broken."""
        stand: Counter[str] = Counter()
        settled = True
        for kept in sagas:
            balance = self._balance(kept)
            if not kept.saga.state.terminal or kept.saga.outcome == "forced":
                settled = False
                continue
            settled = settled and not kept.doubtful
            wanted = self._wanted(kept)
            stand.update(wanted)
            for thing in {**balance, **wanted}:
                if balance[thing] != wanted[thing]:
                    raise Broken(
                        LAW,
                        f"{kept.saga.saga_id} is {kept.saga.state.value} and should leave {wanted[thing]} {thing!r}, "
                        f"but {balance[thing]} stand in the ledger",
                    )
        for thing, count in self._counts.items() if settled else ():
            found = count()
            if found != stand[thing]:
                raise Broken(LAW, f"{stand[thing]} {thing!r} should be left when all is over, but {found} are counted")

    def _balance(self, kept: Kept) -> Counter[str]:
        balance: Counter[str] = Counter()
        for name, effective in kept.calls:
            for thing, change in self._changes.get(name, ()) if effective else ():
                balance[thing] += change
                if balance[thing] < 0:
                    raise Broken(LAW, f"{kept.saga.saga_id}: {name} removed {thing!r}, and none was there")
        return balance

    def _wanted(self, kept: Kept) -> Counter[str]:
        wanted: Counter[str] = Counter()
        if kept.saga.state is not SagaState.COMPLETED:
            return wanted
        for name, step in kept.definition.steps.items():
            progress = kept.saga.steps[name]
            handler = step.forward(progress.via)
            if handler is not None and progress.state.value == "succeeded":
                for thing, change in self._changes.get(handler.name, ()):
                    wanted[thing] += change
        return wanted
