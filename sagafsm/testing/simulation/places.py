"""Definitions whose functions belong to the simulation: the same sagas, but every call goes through the run's world.

What must stay true: a definition made here has the shape (and so the kind) of the original; it is made once and serves
every run, because the world that its functions ask is the one of the run under way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import attrs
import msgspec

from ...core.definition import SagaDefinition
from ...core.retry import ACTION_RETRY, COMPENSATION_RETRY
from ...core.step import Argument, Handler, StepDefinition
from ...runtime.context import StepContext
from ..checker import Effect

CONTEXT = "sagafsm_context"
ROLES: Mapping[str, tuple[str, str]] = {
    "action": ("forward", "action"),
    "fallback": ("forward", "fallback"),
    "compensation": ("backward", "action"),
    "fallback_compensation": ("backward", "fallback"),
    "probe": ("probe", "action"),
}


@attrs.frozen(eq=False)
class Place:
    """Where a function is called: which role it has in which step. ``takes``: its own parameters, by position."""

    definition: SagaDefinition
    step: StepDefinition
    role: str
    via: str
    handler: Handler
    takes: tuple[str, ...]


class World(Protocol):
    """Who answers the calls of a run. ``effects``: what took effect, by saga, in order."""

    effects: dict[str, list[Effect]]

    async def perform(
        self, place: Place, context: StepContext, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> Any:
        """Make one call."""
        ...

    def settle(self) -> None:
        """All is over: let land what is still under way."""
        ...

    def ask_again(self, saga: str, step: str, keys: Mapping[str, str]) -> None:
        """A person sees to it that what was refused can be done now."""
        ...

    def holds(self, key: str) -> bool:
        """Whether what was asked under this key stands; if not, it never will."""
        ...


class Stagehand:
    """Makes such definitions, and knows which world they ask. ``definitions``: by the kind of the original."""

    def __init__(self, definitions: Iterable[SagaDefinition]) -> None:
        self.world: World | None = None
        self.definitions: dict[str, SagaDefinition] = {}
        for definition in definitions:
            self._add(definition)

    def _add(self, definition: SagaDefinition) -> SagaDefinition:
        known = self.definitions.get(definition.kind)
        if known is not None:
            return known
        steps = {name: self._step(definition, step) for name, step in definition.steps.items()}
        mine = attrs.evolve(
            definition,
            steps=steps,
            trusted=True,
            retry=definition.retry or ACTION_RETRY,
            compensation_retry=definition.compensation_retry or COMPENSATION_RETRY,
        )
        self.definitions[definition.kind] = mine
        return mine

    def _step(self, definition: SagaDefinition, step: StepDefinition) -> StepDefinition:
        changes: dict[str, Any] = {}
        for attribute, (role, via) in ROLES.items():
            handler: Handler | None = getattr(step, attribute)
            if handler is not None:
                changes[attribute] = self._handler(definition, step, role, via, handler)
        if step.child is not None:
            changes["child"] = self._add(step.child)
        return attrs.evolve(step, **changes)

    def _handler(
        self, definition: SagaDefinition, step: StepDefinition, role: str, via: str, handler: Handler
    ) -> Handler:
        takes = tuple(argument.parameter for argument in handler.arguments if not argument.keyword_only)
        place = Place(definition, step, role, via, handler, takes)

        async def call(*arguments: Any, sagafsm_context: StepContext, **keywords: Any) -> Any:
            world = self.world
            if world is None:
                raise RuntimeError("this definition belongs to a simulation, and none runs")
            return await world.perform(place, sagafsm_context, arguments, keywords)

        own = Argument(CONTEXT, "context", keyword_only=True)
        return attrs.evolve(handler, function=call, is_async=True, arguments=(*handler.arguments, own))


def payload_text(arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> str:
    """What a function was given, as text that is the same in every run; the context is left out."""
    given = [value for value in (*arguments, *keywords.values()) if not isinstance(value, StepContext)]
    try:
        return msgspec.json.encode(given, enc_hook=repr).decode()
    except (TypeError, ValueError):
        return ", ".join(type(value).__name__ for value in given)
