"""The class form of a saga: ``class Order(Saga[Input])`` with ``@step``, built into a definition when it is created.

What must stay true: this is another way to write the list form and nothing more; the class is read once, turned into
items, and never looked at again. A saga holds no state on ``self``: another process may run its next step.
"""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from .core.definition import OnCompensationFailure, SagaDefinition
from .core.errors import DefinitionError
from .core.location import caller, location, names_around
from .core.retry import RetryPolicy
from .decorators import After, Declared, DeclaredStep, Method, sleep, step, subsaga, wait_for

if TYPE_CHECKING:
    from .core.instance import SagaInstance

__all__ = ["Saga", "definition_of", "sleep", "step", "subsaga", "wait_for"]

T = TypeVar("T")


class Saga(Generic[T]):
    """The base of sagas declared as classes; ``T`` is the type of the input.

    The class is checked, and its ``definition`` set, when it is created (:class:`~sagafsm.DefinitionError`). A base
    class without steps says ``abstract=True``. ``deadline`` is in seconds, for the whole saga.
    """

    definition: ClassVar[SagaDefinition]
    name: ClassVar[str]
    version: ClassVar[int] = 1
    deadline: ClassVar[float | None] = None
    retry: ClassVar[RetryPolicy | None] = None
    compensation_retry: ClassVar[RetryPolicy | None] = None
    on_compensation_failure: ClassVar[OnCompensationFailure] = "continue"
    parallel_compensation: ClassVar[bool] = False

    def __init_subclass__(cls, *, abstract: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not abstract:
            cls.definition = _build(cls)

    def __setattr__(self, name: str, value: object) -> None:
        raise DefinitionError(
            f"{type(self).__name__}.{name} cannot be set: a saga holds no state on self, because another process may "
            "run its next step; return what later steps need, and keep clients in the module"
        )

    def on_completed(self, saga: SagaInstance) -> Any:
        """Called after the saga was stored as completed, best effort: what must happen belongs in a step."""

    def on_failed(self, saga: SagaInstance) -> Any:
        """Called after the saga was stored as failed, best effort: what must happen belongs in a step."""


_ATTRIBUTES = frozenset(name for name in vars(Saga) if not name.startswith("_")) | {"definition", "name"}


def definition_of(saga: object) -> SagaDefinition:
    """The definition of a :class:`Saga` class, or the definition itself. Raises :class:`~sagafsm.DefinitionError`."""
    if isinstance(saga, SagaDefinition):
        return saga
    if isinstance(saga, type) and issubclass(saga, Saga):
        given: type[Saga[Any]] = saga
        own = vars(given).get("definition")
        if isinstance(own, SagaDefinition):
            return own
        raise DefinitionError(f"{given.__name__} is abstract and has no steps to run; use a subclass of it")
    if isinstance(saga, Saga):
        instance: Saga[Any] = saga
        raise DefinitionError(f"got an instance of {type(instance).__name__}; pass the class itself, without ()")
    raise DefinitionError(f"a saga is a class derived from Saga, or a SagaDefinition; got {saga!r}")


# --- from the class to the definition ---


def _build(cls: type[Saga[Any]]) -> SagaDefinition:
    if cls.__init__ is not object.__init__:
        raise DefinitionError(
            f"{cls.__name__} has an __init__, but a saga holds no state on self; keep clients in the module, and "
            "return what later steps need"
        )
    declared = _declared(cls)
    if not declared:
        raise DefinitionError(
            f"saga {cls.__name__!r} ({caller()}) has no steps; decorate its methods with @step, or say "
            f"class {cls.__name__}(…, abstract=True) if it is a base for others"
        )
    binder = _Binder(cls, declared)
    definition = SagaDefinition(
        name=vars(cls).get("name", cls.__name__),
        version=cls.version,
        steps=[one.item(binder) for one in declared.values()],
        deadline=cls.deadline,
        retry=cls.retry,
        compensation_retry=cls.compensation_retry,
        on_compensation_failure=cls.on_compensation_failure,
        parallel_compensation=cls.parallel_compensation,
        input=_input_of(cls),
        on_completed=binder.hook("on_completed"),
        on_failed=binder.hook("on_failed"),
        description=inspect.cleandoc(vars(cls).get("__doc__") or ""),
        where=caller(),
    )
    for one in declared.values():
        if isinstance(one, DeclaredStep):
            one.built_by = one.built_by or cls.__name__
    return definition


def _declared(cls: type) -> Mapping[str, Declared]:
    """The steps by attribute, in the order of the classes and of their bodies; an override keeps its place."""
    found: dict[str, Declared] = {}
    for base in reversed(cls.__mro__):
        for attribute, value in vars(base).items():
            if isinstance(value, Declared):
                if attribute in _ATTRIBUTES:
                    raise DefinitionError(
                        f"step {attribute!r} ({value.where}): Saga has an attribute of that name; call the method "
                        f"otherwise and say @step(name={attribute!r})"
                    )
                if not any(value is other for other in found.values()):
                    found[attribute] = value
            elif attribute in found and not (isinstance(found[attribute], DeclaredStep) and _is_method(value)):
                raise DefinitionError(
                    f"{base.__name__}.{attribute} replaces the step of that name ({found[attribute].where}) with "
                    f"{value!r}; a step can be overridden by a method or by another step"
                )
    return found


def _is_method(value: object) -> bool:
    return callable(value) or isinstance(value, (staticmethod, classmethod))


def _function_of(value: Any) -> Any:
    return cast("Method[Any, ..., Any]", value).function if isinstance(value, Method) else value


class _Binder:
    """Binds the functions of a class body to the one instance of the class."""

    def __init__(self, cls: type[Saga[Any]], declared: Mapping[str, Declared]) -> None:
        self._cls = cls
        self._declared = declared
        self._attributes: dict[int, str] = {}
        for base in reversed(cls.__mro__):
            for attribute, value in vars(base).items():
                self._attributes[id(_function_of(value))] = attribute
        self._instance = object.__new__(cls)

    def method(self, function: Callable[..., Any]) -> Callable[..., Any]:
        attribute = self._attributes.get(id(function))
        if attribute is not None:
            function = _function_of(inspect.getattr_static(self._cls, attribute))
        if not _is_method(function):
            raise DefinitionError(f"{self._cls.__name__}.{attribute} overrides a part of a step with {function!r}")
        if getattr(function, "__isabstractmethod__", False):
            raise DefinitionError(
                f"{self._cls.__name__} does not override the abstract method {attribute} ({location(function)}); "
                "do, or say abstract=True"
            )
        bind = getattr(type(function), "__get__", None)
        bound: Callable[..., Any] = bind(function, self._instance, self._cls) if bind is not None else function
        return bound

    def plain(self, function: Callable[..., Any] | None) -> Callable[..., Any] | None:
        if not callable(function):
            return function
        try:
            first = next(iter(inspect.signature(function).parameters), "")
        except (ValueError, TypeError):
            return function
        return self.method(function) if first == "self" else function

    def after(self, given: After | None) -> tuple[str, ...] | None:
        if given is None:
            return None
        several = (given,) if isinstance(given, (str, Declared)) else given
        if not isinstance(several, Iterable):
            raise self._no_step(given)
        return tuple(one if isinstance(one, str) else self._name(one) for one in several)

    def _name(self, given: object) -> str:
        if not isinstance(given, Declared) or given.attribute not in self._declared:
            raise self._no_step(given)
        return self._declared[given.attribute].step_name

    def _no_step(self, given: object) -> DefinitionError:
        return DefinitionError(
            f"{self._cls.__name__}: after= takes a step of this class, a name, or several (() for none); got {given!r}"
        )

    def hook(self, name: str) -> Callable[..., Any] | None:
        if getattr(self._cls, name) is getattr(Saga, name):
            return None
        bound: Callable[..., Any] = getattr(self._instance, name)
        return bound


def _input_of(cls: type) -> Any:
    """The ``T`` of ``Saga[T]``, through generic bases; ``Any`` where it is left open."""
    found = _argument(cls, {})
    if isinstance(found, typing.TypeVar):
        return Any
    if isinstance(found, (str, typing.ForwardRef)):
        text = found if isinstance(found, str) else found.__forward_arg__

        def refers() -> None: ...

        refers.__annotations__ = {"return": text}
        module = sys.modules[cls.__module__]
        names = {**vars(module), **names_around(cls.__qualname__, getattr(module, "__file__", None) or "")}
        try:
            return typing.get_type_hints(refers, localns=names)["return"]
        except Exception as error:
            raise DefinitionError(f"{cls.__name__}: the input type {text!r} cannot be resolved: {error}") from error
    return found


def _argument(cls: type, known: Mapping[Any, Any]) -> Any:
    for base in vars(cls).get("__orig_bases__", cls.__bases__):
        origin = typing.get_origin(base) or base
        if not (isinstance(origin, type) and issubclass(origin, Saga)):
            continue
        given = [known.get(one, one) for one in typing.get_args(base)]
        if origin is Saga:
            return given[0] if given else Any
        generic: type[Saga[Any]] = origin
        return _argument(generic, dict(zip(getattr(generic, "__parameters__", ()), given, strict=False)))
    return Any
