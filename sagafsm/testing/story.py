"""Playing a story: every call of a function waits for its cue, so the order of things is exactly the one told.

What must stay true: nothing of the user is called but what a story cannot say; a cue that cannot be given is an error
that says what is under way instead; a definition with held functions has the shape of the real one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from ..core.definition import SagaDefinition
from ..core.step import Handler, StepDefinition
from .cues import Cue
from .script import ROLES, Called, NotReached, Script


@attrs.define(eq=False)
class Held:
    """A call that waits for its cue."""

    names: frozenset[str]
    shown: str
    end: asyncio.Future[Any]


class Prompter(Script):
    """Holds every call until its cue comes. ``conditions``: what the steps' conditions answer (None: they raise), in
    order where there are several; ``inputs``: what sub-sagas are given.
    """

    def __init__(
        self,
        definitions: Iterable[SagaDefinition],
        calls: list[Called],
        conditions: Mapping[str, Any],
        inputs: Mapping[str, Any],
    ) -> None:
        super().__init__(definitions)
        self.calls = calls
        self.held: list[Held] = []
        self._conditions = {name: list(said) if isinstance(said, list) else [said] for name, said in conditions.items()}
        self._inputs = inputs
        self._main = next(iter(self._definitions)).name

    def scripted(self, definition: SagaDefinition) -> SagaDefinition:
        """The same saga, whose functions wait for their cues."""
        steps = {name: self._held_step(definition.name, step) for name, step in definition.steps.items()}
        return attrs.evolve(definition, steps=steps, on_completed=None, on_failed=None, trusted=True)

    def _held_step(self, saga: str, step: StepDefinition) -> StepDefinition:
        changes: dict[str, Any] = {}
        for role in ROLES:
            handler: Handler | None = getattr(step, role)
            if handler is not None:
                changes[role] = self._held_handler(saga, step.name, role, handler)
        if step.when is not None and step.name in self._conditions:
            changes["when"] = attrs.evolve(step.when, function=self._answer(step.name), arguments=(), is_async=False)
        if step.child_data is not None and step.name in self._inputs:
            given = self._inputs[step.name]
            changes["child_data"] = attrs.evolve(step.child_data, function=lambda: given, arguments=(), is_async=False)
        if step.child is not None:
            changes["child"] = self.scripted(step.child)
        return attrs.evolve(step, **changes)

    def _answer(self, step: str) -> Any:
        left = self._conditions[step]

        def answer() -> Any:
            said = left.pop(0) if len(left) > 1 else left[0]
            if said is None:
                raise LookupError(f"the condition of {step} is to fail")
            return said

        return answer

    def _held_handler(self, saga: str, step: str, role: str, handler: Handler) -> Handler:
        place = step if role == "action" else f"{step}.{role}"
        names = {f"{saga}.{place}"} | (frozenset({place}) if saga == self._main else frozenset())
        if role == "fallback_compensation":
            names |= {name.replace(".fallback_compensation", ".compensation") for name in names}
        shown = place if saga == self._main else f"{saga}.{place}"
        parameters = [argument.parameter for argument in handler.arguments if not argument.keyword_only]

        async def call(*arguments: Any, **keywords: Any) -> Any:
            self.calls.append(Called(handler.name, {**dict(zip(parameters, arguments, strict=True)), **keywords}))
            held = Held(frozenset(names), shown, asyncio.get_running_loop().create_future())
            self.held.append(held)
            try:
                return await held.end
            finally:
                if held in self.held:
                    self.held.remove(held)

        return attrs.evolve(handler, function=call, is_async=True)

    def find_held(self, name: str) -> Held | None:
        """The call of this function that has waited longest."""
        return next((held for held in self.held if name in held.names and not held.end.done()), None)

    @property
    def under_way(self) -> str:
        """What calls wait for their cues, in words."""
        return ", ".join(held.shown for held in self.held) or "nothing"

    def lose_all(self) -> None:
        """The process that made the calls is gone."""
        self.held.clear()


def cannot(cue: Cue, number: int, cues: Sequence[Cue], prompter: Prompter, where: str) -> NotReached:
    """The error for a cue that cannot be given."""
    told = ", ".join(map(str, cues[max(0, number - 3) : number])) or "nothing"
    return NotReached(
        f"cue {number + 1}, {cue}, cannot be given: the saga is {where}, and what is under way is "
        f"{prompter.under_way} (told before: {told})"
    )
