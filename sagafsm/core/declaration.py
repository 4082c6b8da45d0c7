"""The list form of a saga: its items, and how they become the steps of a definition.

What must stay true: the items are plain data; the class form and the contract are turned into them, so that there is
one place where a declaration is read. Compiling settles every default (``after``, ``on_unknown``, types), so that the
engine never asks what a missing value means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias, cast

import attrs

from .errors import DefinitionError
from .graph import ancestors
from .limit import Limit
from .location import caller
from .options import check_options, warn_about
from .retry import RetryPolicy
from .signature import Reader, settle_types
from .step import Handler, OnTimeout, OnUnknown, StepDefinition, StepKind
from .validation import check_steps, duplicate, subject

Function: TypeAlias = Callable[..., Any]


@attrs.frozen
class Compensation:
    """How a step is undone: the function, with its own retries and timeout (seconds per attempt).

    ``awaits_reply``: the call only hands the work over; ``complete_step(…, compensation=True)`` ends it. ``limit``: of
    its calls.
    """

    function: Function
    retry: RetryPolicy | None = attrs.field(default=None, kw_only=True)
    timeout: float | None = attrs.field(default=None, kw_only=True)
    awaits_reply: bool = attrs.field(default=False, kw_only=True)
    limit: Limit | None = attrs.field(default=None, kw_only=True)


@attrs.frozen
class Fallback:
    """Another action, tried when the first certainly failed and is used up; undone by its own ``compensation``."""

    function: Function
    compensation: Function | Compensation | None = attrs.field(default=None, kw_only=True)
    retry: RetryPolicy | None = attrs.field(default=None, kw_only=True)
    timeout: float | None = attrs.field(default=None, kw_only=True)
    limit: Limit | None = attrs.field(default=None, kw_only=True)


def _exception_types(value: type[BaseException] | Iterable[type[BaseException]]) -> tuple[type[BaseException], ...]:
    if isinstance(value, type):
        return (value,)
    given: Any = value
    return tuple(given) if isinstance(given, Iterable) else (given,)


@attrs.frozen
class Step:
    """A step that calls a function.

    ``after``: a step, its name, or several; default the item above, ``()`` none. ``when``: a plain predicate of the
    data; false skips the step. ``timeout``: seconds per attempt. ``pivot``: the point of no return.
    ``compensatable=False``: it cannot or need not be undone. ``on_unknown``: what follows when nobody can tell
    whether it happened. ``idempotent=False``: a call of unknown outcome is never repeated. ``compensate_failed``:
    undo also after a definite failure. ``idempotency_key``: a template over the input, such as ``"order-{order_id}"``.
    ``unknown_errors``: more exceptions that leave the outcome open. ``awaits_reply``: the call only hands the work
    over; ``complete_step`` or ``fail_step`` ends the step. ``limit``: of the action's calls, for all workers together.
    """

    name: str
    action: Function
    compensation: Function | Compensation | None = attrs.field(default=None, kw_only=True)
    fallback: Function | Fallback | None = attrs.field(default=None, kw_only=True)
    probe: Function | None = attrs.field(default=None, kw_only=True)
    after: After | None = attrs.field(default=None, kw_only=True)
    when: Function | None = attrs.field(default=None, kw_only=True)
    retry: RetryPolicy | None = attrs.field(default=None, kw_only=True)
    timeout: float | None = attrs.field(default=None, kw_only=True)
    pivot: bool = attrs.field(default=False, kw_only=True)
    compensatable: bool = attrs.field(default=True, kw_only=True)
    on_unknown: OnUnknown | None = attrs.field(default=None, kw_only=True)
    idempotent: bool = attrs.field(default=True, kw_only=True)
    compensate_failed: bool = attrs.field(default=False, kw_only=True)
    idempotency_key: str | None = attrs.field(default=None, kw_only=True)
    unknown_errors: tuple[type[BaseException], ...] = attrs.field(default=(), kw_only=True, converter=_exception_types)
    awaits_reply: bool = attrs.field(default=False, kw_only=True)
    limit: Limit | None = attrs.field(default=None, kw_only=True)
    where: str = attrs.field(factory=caller, kw_only=True, eq=False, repr=False)


@attrs.frozen
class WaitFor:
    """A step that waits for a signal; its result is the signal's payload. ``timeout`` in seconds, default for ever."""

    name: str
    signal: str = attrs.field(kw_only=True)
    timeout: float | None = attrs.field(default=None, kw_only=True)
    on_timeout: OnTimeout = attrs.field(default="fail", kw_only=True)
    after: After | None = attrs.field(default=None, kw_only=True)
    when: Function | None = attrs.field(default=None, kw_only=True)
    where: str = attrs.field(factory=caller, kw_only=True, eq=False, repr=False)


@attrs.frozen
class Sleep:
    """A step that waits for ``seconds``, durably: no process has to stay up."""

    name: str
    seconds: float
    after: After | None = attrs.field(default=None, kw_only=True)
    when: Function | None = attrs.field(default=None, kw_only=True)
    where: str = attrs.field(factory=caller, kw_only=True, eq=False, repr=False)


@attrs.frozen
class SubSaga:
    """A step that runs another saga, whose id is ``<parent>:<name>``.

    ``data`` makes its input from the parent's (and from results by name); without it the child gets the parent's
    input. Undoing the parent undoes a completed child, unless ``compensatable=False``.
    """

    name: str
    saga: Any
    data: Function | None = attrs.field(default=None, kw_only=True)
    after: After | None = attrs.field(default=None, kw_only=True)
    when: Function | None = attrs.field(default=None, kw_only=True)
    compensatable: bool = attrs.field(default=True, kw_only=True)
    where: str = attrs.field(factory=caller, kw_only=True, eq=False, repr=False)


@attrs.frozen(init=False)
class Parallel:
    """Items that start together; the item below waits for all of them."""

    items: tuple[Item, ...]
    where: str = attrs.field(eq=False, repr=False)

    def __init__(self, *items: Item) -> None:
        object.__setattr__(self, "items", items)
        object.__setattr__(self, "where", caller())


@attrs.frozen(init=False)
class Sequence:
    """Items that follow one another: a branch of a :class:`Parallel`."""

    items: tuple[Item, ...]
    where: str = attrs.field(eq=False, repr=False)

    def __init__(self, *items: Item) -> None:
        object.__setattr__(self, "items", items)
        object.__setattr__(self, "where", caller())


SingleItem: TypeAlias = Step | WaitFor | Sleep | SubSaga
Item: TypeAlias = Step | WaitFor | Sleep | SubSaga | Parallel | Sequence
After: TypeAlias = str | Step | WaitFor | Sleep | SubSaga | Iterable[str | Step | WaitFor | Sleep | SubSaga]
_SINGLE = (Step, WaitFor, Sleep, SubSaga)


def compile_steps(items: Iterable[Item] | Mapping[str, StepDefinition]) -> Mapping[str, StepDefinition]:
    """The steps by name, in the order of their declaration. A compiled mapping is returned as it is.

    Raises :class:`~sagafsm.DefinitionError`; says :class:`~sagafsm.DefinitionWarning` for what can have no effect.
    """
    if isinstance(items, Mapping):
        return cast("Mapping[str, StepDefinition]", items)
    if isinstance(items, (str, bytes)) or not isinstance(items, Iterable):
        raise DefinitionError(
            f"steps= takes a list of Step, Parallel, Sequence, WaitFor, Sleep or SubSaga, got {items!r}"
        )
    plan: dict[str, tuple[SingleItem, tuple[str, ...]]] = {}
    _place(Sequence(*items), (), plan)
    for item, _ in plan.values():
        check_options(item)
    after = {name: before for name, (_, before) in plan.items()}
    check_steps(
        {name: StepDefinition(name=name, after=after[name], where=item.where) for name, (item, _) in plan.items()}
    )
    earlier = ancestors(after)
    steps: dict[str, StepDefinition] = {}
    for name, (item, before) in plan.items():
        reader = Reader(step=name, where=item.where, earlier=earlier[name], steps=plan.keys())
        steps[name] = _compile(item, before, reader)
    steps = settle_types(steps)
    pivot = next((name for name, one in steps.items() if one.pivot), None)
    for name, (item, _) in plan.items():
        warn_about(item, steps[name], pivot in earlier[name])
    return MappingProxyType(steps)


def _place(item: Item, before: tuple[str, ...], plan: dict[str, tuple[SingleItem, tuple[str, ...]]]) -> tuple[str, ...]:
    """Enter ``item`` into the plan, after ``before``; returns the names that the next item waits for."""
    if isinstance(item, Parallel):
        ends = [name for branch in _filled(item) for name in _place(branch, before, plan)]
        return tuple(dict.fromkeys(ends))
    if isinstance(item, Sequence):
        for part in item.items if not plan and not before else _filled(item):
            before = _place(part, before, plan)
        return before
    if not isinstance(item, _SINGLE):
        raise DefinitionError(
            f"{item!r} is no step; the list takes Step, Parallel, Sequence, WaitFor, Sleep and SubSaga"
        )
    name: Any = item.name
    if not isinstance(name, str):
        raise DefinitionError(f"step ({item.where}): its name comes first and is a text, got {name!r}")
    if item.name in plan:
        raise duplicate(item.name, plan[item.name][0].where, item.where)
    plan[item.name] = item, before if item.after is None else _names(item)
    return (item.name,)


def _filled(group: Parallel | Sequence) -> tuple[Item, ...]:
    if not group.items:
        raise DefinitionError(f"{type(group).__name__}() at {group.where} has no steps; remove it or fill it")
    return group.items


def _names(item: SingleItem) -> tuple[str, ...]:
    given = item.after
    several = [given] if isinstance(given, (str, *_SINGLE)) else given
    if not isinstance(several, Iterable):
        raise _not_a_step(item, given)
    names: list[str] = []
    for one in several:
        if not isinstance(one, (str, *_SINGLE)):
            raise _not_a_step(item, one)
        names.append(one if isinstance(one, str) else one.name)
    return tuple(dict.fromkeys(names))


def _not_a_step(item: SingleItem, given: Any) -> DefinitionError:
    return DefinitionError(
        f"{subject(item.name, item.where)}: after= takes a step, its name, or several (() for none), got {given!r}"
    )


# --- one item ---


def _compile(item: SingleItem, after: tuple[str, ...], reader: Reader) -> StepDefinition:
    when = reader.read(item.when, "condition") if item.when is not None else None
    common: dict[str, Any] = {"name": item.name, "after": after, "when": when, "where": item.where}
    if isinstance(item, WaitFor):
        return StepDefinition(
            **common,
            kind=StepKind.SIGNAL,
            signal=item.signal,
            seconds=item.timeout,
            on_timeout=item.on_timeout,
            on_unknown="compensate",
        )
    if isinstance(item, Sleep):
        return StepDefinition(**common, kind=StepKind.SLEEP, seconds=item.seconds, on_unknown="compensate")
    if isinstance(item, SubSaga):
        return StepDefinition(
            **common,
            kind=StepKind.CHILD,
            child=_child(item),
            child_data=reader.read(item.data, "data") if item.data is not None else None,
            compensatable=item.compensatable,
            on_unknown="compensate",
        )
    fallback, undo_fallback = _fallback(item, reader)
    return StepDefinition(
        **common,
        action=reader.read(
            item.action,
            "action",
            retry=item.retry,
            timeout=item.timeout,
            awaits_reply=item.awaits_reply,
            limit=item.limit,
        ),
        compensation=_undo(item.compensation, "compensation", reader),
        fallback=fallback,
        fallback_compensation=undo_fallback,
        probe=reader.read(item.probe, "probe") if item.probe is not None else None,
        pivot=item.pivot,
        compensatable=item.compensatable,
        on_unknown=_on_unknown(item),
        idempotent=item.idempotent,
        compensate_failed=item.compensate_failed,
        idempotency_key=item.idempotency_key,
        unknown_errors=item.unknown_errors,
    )


def _on_unknown(item: Step) -> OnUnknown:
    if item.on_unknown is not None:
        return item.on_unknown
    if item.pivot:
        return "probe" if item.probe is not None else "stick"
    return "compensate"


def _undo(given: Function | Compensation | None, role: Any, reader: Reader) -> Handler | None:
    if given is None:
        return None
    undo = given if isinstance(given, Compensation) else Compensation(given)
    return reader.read(
        undo.function, role, retry=undo.retry, timeout=undo.timeout, awaits_reply=undo.awaits_reply, limit=undo.limit
    )


def _fallback(item: Step, reader: Reader) -> tuple[Handler | None, Handler | None]:
    if item.fallback is None:
        return None, None
    fallback = item.fallback if isinstance(item.fallback, Fallback) else Fallback(item.fallback)
    handler = reader.read(
        fallback.function, "fallback", retry=fallback.retry, timeout=fallback.timeout, limit=fallback.limit
    )
    return handler, _undo(fallback.compensation, "fallback's compensation", reader)


def _child(item: SubSaga) -> Any:
    from .definition import SagaDefinition  # it imports this module

    child = item.saga if isinstance(item.saga, SagaDefinition) else getattr(item.saga, "definition", None)
    if not isinstance(child, SagaDefinition):
        raise DefinitionError(
            f"{subject(item.name, item.where)}: a sub-saga is a Saga class or a SagaDefinition, got {item.saga!r}"
        )
    return cast(Any, child)
