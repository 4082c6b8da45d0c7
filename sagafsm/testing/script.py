"""What the functions of the sagas under test do: they are called for real, unless something else was configured.

What must stay true: a definition with scripted functions has the shape of the real one; every call is noted before
anything else happens; what is configured is used up in the order in which it was configured.
"""

from __future__ import annotations

import asyncio
import difflib
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import attrs

from ..core.definition import SagaDefinition
from ..core.errors import InvalidInput
from ..core.step import Handler, StepDefinition

Kind = Literal["failure", "result", "delay", "hang", "crash"]
ROLES = ("action", "compensation", "fallback", "fallback_compensation", "probe")


class NotReached(AssertionError):
    """Something was configured for a function that was never called: the test did not test it."""


@attrs.define
class Behaviour:
    """What the next calls of a function do. ``left`` None: all of them."""

    kind: Kind
    left: int | None = None
    error: BaseException | type[BaseException] | None = None
    value: Any = None
    seconds: float = 0.0
    after_effect: bool = False
    reached: int = 0


@attrs.frozen
class Called:
    """One call: the function's name, and what it was given, by parameter."""

    name: str
    arguments: Mapping[str, Any]


@attrs.define(eq=False)
class Function:
    """One function of the user, and where the sagas call it: (saga, step, role)."""

    name: str
    real: Callable[..., Any] | None
    is_async: bool
    places: list[tuple[str, str, str]] = attrs.Factory(list[tuple[str, str, str]])
    behaviours: list[Behaviour] = attrs.Factory(list[Behaviour])

    def add(self, behaviour: Behaviour) -> None:
        """Configure what comes after what is configured so far, or instead of what has no end."""
        if self.behaviours and self.behaviours[-1].left is None:
            self.behaviours.pop()
        self.behaviours.append(behaviour)

    def next(self) -> Behaviour | None:
        """What the call that begins now does; None: what it really does."""
        for behaviour in self.behaviours:
            if behaviour.left is None or behaviour.reached < behaviour.left:
                behaviour.reached += 1
                return behaviour
        return None

    @property
    def labels(self) -> set[str]:
        """Everything it can be called by."""
        found = {self.name}
        for saga, step, role in self.places:
            found |= {f"{saga}.{self.name}", f"{step}.{role}", f"{saga}.{step}.{role}"}
            if role == "action":
                found |= {step, f"{saga}.{step}"}
        return found


class Script:
    """The functions of several sagas, sub-sagas included. ``calls``: what was called, in order."""

    def __init__(self, definitions: Iterable[SagaDefinition]) -> None:
        self.calls: list[Called] = []
        self.crashed = False
        self._functions: list[Function] = []
        self._waiting: dict[str, str] = {}  # steps that call no function: what they do instead
        self._definitions = list(definitions)
        for definition in self._definitions:  # grows by the sub-sagas
            self._collect(definition)

    @property
    def definitions(self) -> Sequence[SagaDefinition]:
        """The sagas whose functions these are, sub-sagas included."""
        return self._definitions

    # --- names ---

    def _collect(self, definition: SagaDefinition) -> None:
        for step in definition.steps.values():
            if step.child is not None and step.child not in self._definitions:
                self._definitions.append(step.child)
            if step.action is None:
                self._waiting[step.name] = step.kind.value
            for role in ROLES:
                handler: Handler | None = getattr(step, role)
                if handler is not None:
                    self._entry(handler).places.append((definition.name, step.name, role))

    def _entry(self, handler: Handler) -> Function:
        for function in self._functions:
            if function.real == handler.function and function.name == handler.name:
                return function
        self._functions.append(Function(handler.name, handler.function, handler.is_async))
        return self._functions[-1]

    def find(self, name: str) -> Function:
        """The function of this name. Raises InvalidInput, which says what there is."""
        found = [function for function in self._functions if function.name == name]
        found = found or [function for function in self._functions if name in function.labels]
        if len(found) == 1:
            return found[0]
        if found:
            choices = ", ".join(f"{saga}.{step}.{role}" for one in found for saga, step, role in one.places)
            raise InvalidInput(f"{name!r} is the name of several functions; say which one: {choices}")
        if name in self._waiting:
            raise InvalidInput(f"step {name!r} calls no function (it is a {self._waiting[name]}): nothing to configure")
        known = [function.name for function in self._functions]
        close = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise InvalidInput(f"no function and no step is called {name!r}; {hint}There are: {', '.join(known)}")

    def not_reached(self) -> list[str]:
        """What was configured and never happened."""
        return [
            f"{behaviour.kind} of {function.name}"
            for function in self._functions
            for behaviour in function.behaviours
            if not behaviour.reached
        ]

    # --- definitions that follow the script ---

    def scripted(self, definition: SagaDefinition) -> SagaDefinition:
        """The same saga, whose functions do what is configured."""
        steps = {name: self._scripted_step(step) for name, step in definition.steps.items()}
        return attrs.evolve(definition, steps=steps, trusted=True)

    def _scripted_step(self, step: StepDefinition) -> StepDefinition:
        changes: dict[str, Any] = {}
        for role in ROLES:
            handler: Handler | None = getattr(step, role)
            if handler is not None:
                changes[role] = self._scripted_handler(handler)
        if step.child is not None:
            changes["child"] = self.scripted(step.child)
        return attrs.evolve(step, **changes)

    def _scripted_handler(self, handler: Handler) -> Handler:
        function = self._entry(handler)
        if function.real is None and not function.behaviours:
            return handler  # a contract's operation that nobody registered: the saga is to get stuck on it
        names = [argument.parameter for argument in handler.arguments if not argument.keyword_only]

        async def call(*arguments: Any, **keywords: Any) -> Any:
            self.calls.append(Called(function.name, {**dict(zip(names, arguments, strict=True)), **keywords}))
            return await self._perform(function, functools.partial(_real, function, *arguments, **keywords))

        return attrs.evolve(handler, function=call, is_async=True)

    async def _perform(self, function: Function, real: Callable[[], Any]) -> Any:
        behaviour = function.next()
        if behaviour is None:
            return await real()
        if behaviour.kind == "result":
            return behaviour.value
        if behaviour.kind == "delay":
            await asyncio.sleep(behaviour.seconds)
            return await real()
        if behaviour.after_effect:
            await real()
        if behaviour.kind == "failure" and behaviour.error is not None:
            raise behaviour.error
        if behaviour.kind == "crash":
            self.crashed = True
        return await asyncio.get_running_loop().create_future()  # for ever


async def _real(function: Function, *arguments: Any, **keywords: Any) -> Any:
    if function.real is None:
        raise NotImplementedError(f"nobody registered {function.name}; say what it does with configure_result")
    if function.is_async:
        return await function.real(*arguments, **keywords)
    call = functools.partial(function.real, *arguments, **keywords)
    value = await asyncio.get_running_loop().run_in_executor(None, call)
    return await value if inspect.isawaitable(value) else value
