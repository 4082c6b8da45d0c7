"""What may stand in the body of a saga class: ``@step`` and its parts, ``wait_for``, ``sleep``, ``subsaga``.

What must stay true: these objects only remember what was said; nothing is checked or compiled before the class is
complete. To a type checker, and when called on an instance by hand, a decorated method is the method.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeAlias, TypeVar, overload

import attrs

from .core.declaration import Compensation, Fallback, Sleep, Step, SubSaga, WaitFor
from .core.errors import DefinitionError
from .core.limit import Limit
from .core.location import caller, location
from .core.retry import RetryPolicy
from .core.step import OnTimeout, OnUnknown

if TYPE_CHECKING:
    from .core.definition import SagaDefinition
    from .declare import Saga

S = TypeVar("S")
P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])
Item: TypeAlias = Step | WaitFor | Sleep | SubSaga


class Binder(Protocol):
    """Turns what was said in a class body into what the list form takes."""

    def method(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function of the class body, bound; the override of a subclass where there is one."""
        ...

    def plain(self, function: Callable[..., Any] | None) -> Callable[..., Any] | None:
        """A function handed over as an option, bound only if its first parameter is called ``self``."""
        ...

    def after(self, given: After | None) -> tuple[str, ...] | None:
        """The names of steps."""
        ...


class Declared:
    """A step, declared in a class body. Its name is the attribute's unless it has been given one."""

    def __init__(self, where: str, after: After | None) -> None:
        self.where = where
        self.given_after = after
        self.given_name: str | None = None
        self.attribute = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.attribute = self.attribute or name

    @property
    def step_name(self) -> str:
        """The step's name."""
        return self.attribute if self.given_name is None else self.given_name

    def item(self, binder: Binder) -> Item:
        """The step as the list form has it."""
        raise NotImplementedError


After: TypeAlias = str | Declared | Iterable[str | Declared]


class Method(Generic[S, P, R]):
    """A decorated method: called through an instance it is the method itself."""

    def __init__(self, function: Callable[Concatenate[S, P], R]) -> None:
        self.function = function
        functools.update_wrapper(self, function)

    @overload
    def __get__(self, instance: None, owner: type, /) -> Self: ...
    @overload
    def __get__(self, instance: S, owner: type, /) -> Callable[P, R]: ...
    def __get__(self, instance: S | None, owner: type, /) -> Self | Callable[P, R]:
        if instance is None:
            return self
        bound: Callable[P, R] = self.function.__get__(instance, owner)
        return bound

    def __call__(self, saga: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(saga, *args, **kwargs)


class DeclaredFallback(Method[S, P, R]):
    """The other action of a step; ``.compensation`` undoes it."""

    def __init__(self, function: Callable[Concatenate[S, P], R], options: dict[str, Any], of: str) -> None:
        super().__init__(function)
        self.options = options
        self.undo: Compensation | None = None
        self.of = of

    @overload
    def compensation(self, function: F, /) -> F: ...
    @overload
    def compensation(
        self,
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        awaits_reply: bool = False,
        limit: Limit | None = None,
    ) -> Callable[[F], F]: ...
    def compensation(
        self,
        function: F | None = None,
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        awaits_reply: bool = False,
        limit: Limit | None = None,
    ) -> F | Callable[[F], F]:
        """How the fallback is undone; without it, the step's own compensation does it."""

        def declare(function: F) -> F:
            _refuse_second(self.undo, f"the fallback of step {self.of!r}", "compensation", function)
            self.undo = Compensation(function, retry=retry, timeout=timeout, awaits_reply=awaits_reply, limit=limit)
            return function

        return declare if function is None else declare(function)


class DeclaredStep(Method[S, P, R], Declared):
    """A step that calls a method; ``.compensation``, ``.fallback`` and ``.probe`` add to it."""

    def __init__(self, function: Callable[Concatenate[S, P], R], options: dict[str, Any]) -> None:
        given: Any = function
        if not (callable(given) or isinstance(given, (staticmethod, classmethod))):
            raise DefinitionError(f"@step decorates a method, got {function!r} at {caller()}; options are keywords")
        Method.__init__(self, function)
        Declared.__init__(self, location(function) or caller(), options.pop("after"))
        self.given_name = options.pop("name")
        self.options = options
        self.undo: Compensation | None = None
        self.other: DeclaredFallback[Any, Any, Any] | None = None
        self.asks: Callable[..., Any] | None = None
        self.built_by = ""  # the class that has been built with it; from then on it is shared, and fixed

    @property
    def step_name(self) -> str:
        """The step's name."""
        return self.given_name if self.given_name is not None else self.attribute or self.function.__name__

    @overload
    def compensation(self, function: F, /) -> F: ...
    @overload
    def compensation(
        self,
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        awaits_reply: bool = False,
        limit: Limit | None = None,
    ) -> Callable[[F], F]: ...
    def compensation(
        self,
        function: F | None = None,
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        awaits_reply: bool = False,
        limit: Limit | None = None,
    ) -> F | Callable[[F], F]:
        """How the step is undone: input, then the action's result (None where its outcome is unknown)."""

        def declare(function: F) -> F:
            self._add(self.undo, "compensation", function)
            self.undo = Compensation(function, retry=retry, timeout=timeout, awaits_reply=awaits_reply, limit=limit)
            return function

        return declare if function is None else declare(function)

    @overload
    def fallback(self, function: Callable[Concatenate[S, P], R], /) -> DeclaredFallback[S, P, R]: ...
    @overload
    def fallback(
        self, /, *, retry: RetryPolicy | None = None, timeout: float | None = None, limit: Limit | None = None
    ) -> FallbackDecorator: ...
    def fallback(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        limit: Limit | None = None,
    ) -> Any:
        """Another action, tried when the first certainly failed and is used up."""
        options = {"retry": retry, "timeout": timeout, "limit": limit}

        def declare(function: Callable[..., Any]) -> DeclaredFallback[Any, Any, Any]:
            self._add(self.other, "fallback", function)
            self.other = DeclaredFallback(function, options, self.step_name)
            return self.other

        return declare if function is None else declare(function)

    def probe(self, function: F, /) -> F:
        """Finds out whether an action of unknown outcome has happened; answers a ``Probe``."""
        self._add(self.asks, "probe", function)
        self.asks = function
        return function

    def _add(self, present: object, part: str, function: Callable[..., Any]) -> None:
        if self.built_by:
            raise DefinitionError(
                f"step {self.step_name!r} ({self.where}) belongs to {self.built_by}, which is complete; to change it "
                f"in a subclass, declare the step again there, or override the method of its {part} by name "
                f"(at {location(function)})"
            )
        _refuse_second(present, f"step {self.step_name!r} ({self.where})", part, function)

    def item(self, binder: Binder) -> Step:
        """The step as the list form has it."""
        fallback = self.other and Fallback(
            binder.method(self.other.function),
            compensation=_bound(self.other.undo, binder),
            **_with_limit(self.other.options, binder),
        )
        options: dict[str, Any] = {**_with_limit(self.options, binder), "when": binder.plain(self.options["when"])}
        return Step(
            self.step_name,
            binder.method(self.function),
            compensation=_bound(self.undo, binder),
            fallback=fallback,
            probe=binder.method(self.asks) if self.asks is not None else None,
            after=binder.after(self.given_after),
            where=self.where,
            **options,
        )


def _bound(undo: Compensation | None, binder: Binder) -> Compensation | None:
    if undo is None:
        return None
    return attrs.evolve(undo, function=binder.method(undo.function), limit=_bound_limit(undo.limit, binder))


def _with_limit(options: dict[str, Any], binder: Binder) -> dict[str, Any]:
    return {**options, "limit": _bound_limit(options["limit"], binder)}


def _bound_limit(limit: Any, binder: Binder) -> Any:
    """A limit whose key, where it has one, can be called; what is no limit is refused later."""
    return attrs.evolve(limit, key=binder.plain(limit.key)) if isinstance(limit, Limit) else limit


def _refuse_second(present: object, owner: str, part: str, function: Callable[..., Any]) -> None:
    if present is not None:
        raise DefinitionError(f"{owner} already has a {part}; remove the second one, at {location(function)}")


class StepDecorator(Protocol):
    """What ``step(…)`` with options returns."""

    def __call__(self, function: Callable[Concatenate[S, P], R], /) -> DeclaredStep[S, P, R]:
        """Decorate the method."""
        ...


class FallbackDecorator(Protocol):
    """What ``.fallback(…)`` with options returns."""

    def __call__(self, function: Callable[Concatenate[S, P], R], /) -> DeclaredFallback[S, P, R]:
        """Decorate the method."""
        ...


@overload
def step(function: Callable[Concatenate[S, P], R], /) -> DeclaredStep[S, P, R]: ...
@overload
def step(
    *,
    name: str | None = None,
    after: After | None = None,
    when: Callable[..., bool] | None = None,
    retry: RetryPolicy | None = None,
    timeout: float | None = None,
    pivot: bool = False,
    compensatable: bool = True,
    on_unknown: OnUnknown | None = None,
    idempotent: bool = True,
    compensate_failed: bool = False,
    idempotency_key: str | None = None,
    unknown_errors: type[Exception] | Iterable[type[Exception]] = (),
    awaits_reply: bool = False,
    limit: Limit | None = None,
) -> StepDecorator: ...
def step(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    after: After | None = None,
    when: Callable[..., bool] | None = None,
    retry: RetryPolicy | None = None,
    timeout: float | None = None,
    pivot: bool = False,
    compensatable: bool = True,
    on_unknown: OnUnknown | None = None,
    idempotent: bool = True,
    compensate_failed: bool = False,
    idempotency_key: str | None = None,
    unknown_errors: type[Exception] | Iterable[type[Exception]] = (),
    awaits_reply: bool = False,
    limit: Limit | None = None,
) -> Any:
    """Declare a method of a saga class as a step; the options are those of :class:`~sagafsm.Step`."""
    options = {
        "name": name, "after": after, "when": when, "retry": retry, "timeout": timeout, "pivot": pivot,
        "compensatable": compensatable, "on_unknown": on_unknown, "idempotent": idempotent,
        "compensate_failed": compensate_failed, "idempotency_key": idempotency_key,
        "unknown_errors": unknown_errors, "awaits_reply": awaits_reply, "limit": limit,
    }  # fmt: skip

    def declare(function: Callable[..., Any]) -> DeclaredStep[Any, Any, Any]:
        return DeclaredStep(function, options.copy())

    return declare if function is None else declare(function)


class DeclaredWait(Declared):
    """A step without a method: a wait, a sleep or a sub-saga."""

    def __init__(self, make: Callable[..., Item], after: After | None, when: Any, data: Any = None) -> None:
        super().__init__(caller(), after)
        self._make = make
        self._when = when
        self._data = data

    def item(self, binder: Binder) -> Item:
        """The step as the list form has it."""
        data = {} if self._data is None else {"data": binder.plain(self._data)}
        when = binder.plain(self._when)
        return self._make(self.step_name, after=binder.after(self.given_after), when=when, where=self.where, **data)


def wait_for(
    signal: str,
    *,
    timeout: float | None = None,
    on_timeout: OnTimeout = "fail",
    after: After | None = None,
    when: Callable[..., bool] | None = None,
) -> DeclaredWait:
    """A step that waits for a signal; its result is the signal's payload. ``timeout`` in seconds, default for ever."""
    make = functools.partial(WaitFor, signal=signal, timeout=timeout, on_timeout=on_timeout)
    return DeclaredWait(make, after, when)


def sleep(seconds: float, *, after: After | None = None, when: Callable[..., bool] | None = None) -> DeclaredWait:
    """A step that waits for ``seconds``, durably: no process has to stay up."""
    return DeclaredWait(functools.partial(Sleep, seconds=seconds), after, when)


def subsaga(
    saga: type[Saga[Any]] | SagaDefinition,
    *,
    data: Callable[..., Any] | None = None,
    after: After | None = None,
    when: Callable[..., bool] | None = None,
    compensatable: bool = True,
) -> DeclaredWait:
    """A step that runs another saga. ``data`` makes its input; without it the child gets the parent's input."""
    return DeclaredWait(functools.partial(SubSaga, saga=saga, compensatable=compensatable), after, when, data)
