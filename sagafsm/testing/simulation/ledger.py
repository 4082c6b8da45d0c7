"""The effect ledger: what a saga's functions add and remove, in the user's own words, and whether it adds up.

What must stay true: a call counts when its function has returned, once for each idempotency key; at the end of a run
the ledger of every saga has to be what its outcome says.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from ...core.definition import SagaDefinition
from ...core.errors import InvalidInput
from ...core.lifecycle import SagaState
from ...core.progress import Progress
from ..laws import Broken


class EffectLedger:
    """What functions add and remove; functions go by their own name.

    ``ledger = EffectLedger().adds("stock", "reserve_inventory").removes("stock", "release_inventory")``: at the end of
    every run a completed saga has to have added exactly one ``stock`` for each step that does, and a failed one none.
    Nothing may be removed before it was added.
    """

    def __init__(self) -> None:
        self._changes: dict[str, list[tuple[str, int]]] = {}

    def adds(self, thing: str, *functions: str) -> Self:
        """Each of these functions adds one of a thing."""
        return self._note(thing, functions, 1)

    def removes(self, thing: str, *functions: str) -> Self:
        """Each of these functions removes one of a thing."""
        return self._note(thing, functions, -1)

    def _note(self, thing: str, functions: Iterable[str], change: int) -> Self:
        names = list(functions)
        if not names:
            raise InvalidInput(f"say which functions change {thing!r}: adds({thing!r}, 'reserve_inventory')")
        for name in names:
            self._changes.setdefault(name, []).append((thing, change))
        return self

    def check_names(self, definitions: Iterable[SagaDefinition]) -> None:
        """Raise InvalidInput for a function that no step has."""
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

    def check(self, saga: Progress, definition: SagaDefinition, calls: Iterable[tuple[str, str, bool]]) -> None:
        """Hold a saga that has ended against its calls, (function, key, had an effect), in order. Raises Broken."""
        balance: dict[str, int] = {}
        for name, _, effective in calls:
            for thing, change in self._changes.get(name, ()) if effective else ():
                balance[thing] = balance.get(thing, 0) + change
                if balance[thing] < 0:
                    raise Broken("C1 net effect", f"{saga.saga_id}: {name} removed {thing!r}, and none was there")
        if not saga.state.terminal or saga.outcome == "forced":
            return
        wanted = self._wanted(saga, definition)
        for thing, count in balance.items():
            if count != wanted.get(thing, 0):
                raise Broken(
                    "C1 net effect",
                    f"{saga.saga_id} is {saga.state.value} and should leave {wanted.get(thing, 0)} {thing!r}, "
                    f"but {count} stand in the ledger",
                )

    def _wanted(self, saga: Progress, definition: SagaDefinition) -> dict[str, int]:
        wanted: dict[str, int] = {}
        if saga.state is not SagaState.COMPLETED:
            return wanted
        for name, step in definition.steps.items():
            handler = step.forward(saga.steps[name].via)
            if handler is not None and saga.steps[name].state.value == "succeeded":
                for thing, change in self._changes.get(handler.name, ()):
                    wanted[thing] = wanted.get(thing, 0) + change
        return wanted
