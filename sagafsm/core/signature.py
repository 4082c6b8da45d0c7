"""Reads how a user's function wants to be called: its parameters by name, its types, whether it is async.

What must stay true: an argument is only ever passed for a reason that can be read off the parameter (the first is
the input, a compensation's second is the result, ``ctx`` the context, any other the step of that name). Where two
readings are possible the declaration is refused, because the wrong one would hand over wrong data without a word.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Literal

import attrs

from .errors import DefinitionError
from .limit import Limit, call_limit
from .location import location, names_around, unwrapped
from .payload import unstorable
from .retry import RetryPolicy
from .step import Argument, Handler, StepDefinition

Role = Literal[
    "action", "compensation", "fallback", "fallback's compensation", "probe", "condition", "data", "limit's key"
]

_UNDOES: Collection[Role] = ("compensation", "fallback's compensation")
_PLAIN: Collection[Role] = ("condition", "data", "limit's key")
_OPTION = {"condition": "when", "data": "data", "limit's key": "key"}


@attrs.frozen(kw_only=True)
class Reader:
    """Reads the functions of one step.

    ``earlier``: the steps that are certain to have ended before this one, so that their results can be asked for.
    ``steps``: all steps, in order.
    """

    step: str
    where: str
    earlier: Collection[str]
    steps: Collection[str]

    def read(
        self,
        function: Any,
        role: Role,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        awaits_reply: bool = False,
        limit: Limit | None = None,
    ) -> Handler:
        """How to call ``function``. Raises :class:`~sagafsm.DefinitionError`."""
        key = self.read(limit.key, "limit's key") if limit is not None and limit.key is not None else None
        bound = None if limit is None else call_limit(limit, key)
        if isinstance(function, Handler):  # a contract has worked it out already
            for argument in function.arguments:
                if argument.step is not None and argument.step not in self.earlier:
                    raise self._unknown(function, role, argument.step)
            return attrs.evolve(function, retry=retry, timeout=timeout, awaits_reply=awaits_reply, limit=bound)
        self._check_callable(function, role)
        hints = annotations_of(function)
        arguments = tuple(self._arguments(function, role, hints))
        input_type = next((a.type for a in arguments if a.source == "input"), Any)
        result_type = Any if role in _UNDOES else _result_type(hints.get("return", Any), awaits_reply)
        if role in ("action", "fallback") and (reason := unstorable(result_type)):
            raise self._error(function, role, f"returns what cannot be stored as JSON: {reason}; return plain data")
        return Handler(
            name=name_of(function) or f"{self.step}.{role}",
            function=function,
            arguments=arguments,
            is_async=is_async(function),
            input_type=input_type,
            result_type=result_type,
            retry=retry,
            timeout=timeout,
            awaits_reply=awaits_reply,
            limit=bound,
        )

    def _check_callable(self, function: Any, role: Role) -> None:
        if not callable(function):
            hint = (
                "pass the function itself, without calling it" if inspect.isawaitable(function) else "pass a function"
            )
            raise DefinitionError(f"{self._step}: the {role} is {function!r}, which cannot be called; {hint}")
        inner = unwrapped(function)
        if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
            raise self._error(function, role, "is a generator; return a value instead of yielding")
        if role in _PLAIN and (is_async(function) or inspect.iscoroutinefunction(inner)):
            raise self._error(
                function,
                role,
                f"is async, but {_OPTION[role]}= takes a plain function of the data; fetch what it needs in a step "
                "before this one and ask for that step's result by name",
            )

    def _arguments(self, function: Any, role: Role, hints: Mapping[str, Any]) -> Iterator[Argument]:
        positions = ["input", "result"] if role in _UNDOES else ["input"]
        by_keyword = False  # once a parameter is left out, those after it can only be passed by name
        for parameter in self._parameters(function, role):
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise self._error(
                    function,
                    role,
                    f"takes {parameter}, so nobody can tell which arguments it wants; name its parameters "
                    "(in a decorator: use functools.wraps)",
                )
            name, hint = parameter.name, hints.get(parameter.name, Any)
            keyword = by_keyword or parameter.kind is parameter.KEYWORD_ONLY
            if name == "ctx" or _is_context(hint):
                argument = Argument(name, "context", keyword_only=keyword)
            elif parameter.kind is not parameter.KEYWORD_ONLY and positions and not by_keyword:
                if name in self.earlier:
                    raise self._ambiguous(function, role, name, positions[0])
                source = positions.pop(0)
                argument = Argument(name, "input" if source == "input" else "result", type=_settled(hint))
            elif name in self.earlier:
                argument = Argument(name, "step", name, keyword_only=keyword, type=_settled(hint))
            elif role in _UNDOES and name == self.step:
                argument = Argument(name, "result", keyword_only=keyword, type=_settled(hint))
            elif parameter.default is not parameter.empty:
                by_keyword = True
                continue
            else:
                raise self._unknown(function, role, name)
            if keyword and parameter.kind is parameter.POSITIONAL_ONLY:
                raise self._error(
                    function, role, f"takes {name!r} by position only, after one that stays out; drop the /"
                )
            if argument.source == "input" and (reason := unstorable(argument.type)):
                raise self._error(function, role, f"takes {name!r} as what cannot be read from JSON: {reason}")
            yield argument

    def _parameters(self, function: Any, role: Role) -> list[inspect.Parameter]:
        try:
            return list(inspect.signature(function).parameters.values())
        except (ValueError, TypeError) as error:
            raise self._error(
                function, role, "has parameters that cannot be read; call it from a function of your own"
            ) from error

    def _ambiguous(self, function: Any, role: Role, name: str, position: str) -> DefinitionError:
        meant = "the saga's input" if position == "input" else "the action's result"
        number = "first" if position == "input" else "second"
        return self._error(
            function,
            role,
            f"takes {name!r} as its {number} parameter, which is {meant}, but {name!r} is also an earlier step; put a "
            f"parameter for {meant} before it to get the step's result, or rename it to get {meant}",
        )

    def _unknown(self, function: Any, role: Role, name: str) -> DefinitionError:
        first = "the saga's input (its first parameter)"
        second = ["the action's result (its second)"] if role in _UNDOES else []
        earlier = [step for step in self.steps if step in self.earlier]
        steps = [f"the results of the steps before it ({', '.join(earlier)})"] if earlier else []
        known = ", ".join([first, *second, "ctx", *steps])
        if name in self.steps and name != self.step:
            way_out = f"{name!r} is a step, but not one that is certain to have ended by then; see its after="
        elif close := get_close_matches(name, [*earlier, "ctx"], n=1):
            way_out = f"did you mean {close[0]!r}?"
        else:
            way_out = "rename it, or give it a default"
        return self._error(
            function, role, f"asks for {name!r}, which nobody can supply. It can have {known}; {way_out}"
        )

    @property
    def _step(self) -> str:
        return f"step {self.step!r}" + (f" ({self.where})" if self.where else "")

    def _error(self, function: Any, role: Role, problem: str) -> DefinitionError:
        place = location(function)
        shown = f"{name_of(function) or 'function'}" + (f" ({place})" if place and place != self.where else "")
        return DefinitionError(f"{self._step}: the {role} {shown} {problem}")


def name_of(function: Any) -> str | None:
    """The name a person would call the function by; None for a lambda."""
    if isinstance(function, Handler):
        return function.name
    name = getattr(unwrapped(function), "__name__", None) or type(unwrapped(function)).__name__
    return name if isinstance(name, str) and name.isidentifier() else None


def is_async(function: Any) -> bool:
    """Whether calling it gives a coroutine. A plain wrapper around an async function does not count: it may run it."""
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or (
        not inspect.isroutine(function)
        and not isinstance(function, type)
        and inspect.iscoroutinefunction(inspect.getattr_static(type(function), "__call__", None))
    )


def annotations_of(function: Any) -> dict[str, Any]:
    """The types in a signature; one that cannot be resolved (imported for type checkers only) is left out."""
    target = function
    while isinstance(target, functools.partial):
        target = target.func
    if isinstance(target, type):
        constructor = inspect.getattr_static(target, "__init__")
        return {**annotations_of(constructor), "return": target}
    if not inspect.isroutine(target):
        target = type(target).__call__
    inner = unwrapped(target)
    names = names_around(getattr(inner, "__qualname__", ""), location(inner).rpartition(":")[0])
    visible = {**getattr(inner, "__globals__", {}), **names}
    try:
        return typing.get_type_hints(target, localns=visible, include_extras=True)
    except Exception:  # whatever an annotation does when it is looked at
        return dict(_each_annotation(target, visible))


def _each_annotation(target: Callable[..., Any], visible: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, annotation in _raw_annotations(target).items():

        def one() -> None: ...

        one.__annotations__ = {name: annotation}
        try:
            yield name, typing.get_type_hints(one, globalns=visible, localns=visible, include_extras=True)[name]
        except Exception:
            if isinstance(annotation, str) and annotation.rpartition(".")[2] == "StepContext":
                yield name, StepContextName


def _raw_annotations(target: Callable[..., Any]) -> Mapping[str, Any]:
    try:
        return inspect.get_annotations(target)
    except NameError:  # Python 3.14 evaluates annotations late
        late: Any = importlib.import_module("annotationlib")
        found: Mapping[str, Any] = late.get_annotations(target, format=late.Format.FORWARDREF)
        return found


class StepContextName:
    """Stands for an annotation that says ``StepContext`` and cannot be resolved."""


def _is_context(hint: Any) -> bool:
    kinds = [hint]
    if typing.get_origin(hint) in (typing.Union, types.UnionType, typing.Annotated):
        kinds.extend(typing.get_args(hint))
    return any(kind is StepContextName or getattr(kind, "__name__", "") == "StepContext" for kind in kinds)


def _settled(hint: Any) -> Any:
    """A type to read JSON as, where the hint says anything."""
    open_ended = hint is object or isinstance(hint, typing.TypeVar) or hint in (typing.NoReturn, typing.Never)
    return Any if open_ended else hint


def _result_type(hint: Any, awaits_reply: bool) -> Any:
    if awaits_reply and (hint is None or hint is type(None)):
        return Any  # the call only hands the work over; the result comes with the reply
    return _settled(hint)


# --- the types of results ---


def settle_types(steps: Mapping[str, StepDefinition]) -> dict[str, StepDefinition]:
    """Give every argument that is a result its type: the parameter's own, else what the step says it returns.

    A result may always be None: a skipped step has that result, and so has an action of unknown outcome.
    """
    results = {name: _result_of(step) for name, step in steps.items()}
    return {name: _settle_step(step, results) for name, step in steps.items()}


def _result_of(step: StepDefinition) -> Any:
    kinds = [handler.result_type for handler in (step.action, step.fallback) if handler is not None]
    return kinds[0] if kinds and all(kind == kinds[0] for kind in kinds) else Any


def _settle_step(step: StepDefinition, results: Mapping[str, Any]) -> StepDefinition:
    changes: dict[str, Any] = {}
    for part in ("when", "action", "compensation", "fallback", "fallback_compensation", "probe", "child_data"):
        handler: Handler | None = getattr(step, part)
        if handler is not None and any(argument.source in ("result", "step") for argument in handler.arguments):
            arguments = tuple(_settle(argument, step, handler, results) for argument in handler.arguments)
            changes[part] = attrs.evolve(handler, arguments=arguments)
    return attrs.evolve(step, **changes) if changes else step


def _settle(argument: Argument, step: StepDefinition, handler: Handler, results: Mapping[str, Any]) -> Argument:
    if argument.source not in ("result", "step"):
        return argument
    produced = results[argument.step or step.name]
    reason = unstorable(argument.type)
    if reason is not None and produced is Any:
        place = f" ({step.where})" if step.where else ""
        raise DefinitionError(
            f"step {step.name!r}{place}: {handler.name} takes {argument.parameter!r} as what cannot be read from JSON: "
            f"{reason}; annotate what step {argument.step or step.name!r} returns with a type that can"
        )
    kind = produced if reason is not None or argument.type is Any else argument.type
    return attrs.evolve(argument, type=kind if kind is Any else kind | None)
