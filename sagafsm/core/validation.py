"""Checks a whole saga definition: its names, its graph, its pivot, what can be undone.

What must stay true: what passes here, the engine can run to its end or back to its beginning. Every error names the
step, the file and the line of its declaration, and a way out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from .errors import DefinitionError
from .graph import ancestors, find_cycle
from .options import dead_unknown_errors, retry_problem, seconds_problem
from .payload import unstorable
from .step import StepDefinition, StepKind

if TYPE_CHECKING:
    from .definition import SagaDefinition

_STEP_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_SAGA_NAME = re.compile(r"[A-Za-z0-9._:-]{1,200}")
_RESERVED = {"ctx": "the context", "self": "the saga's class"}


def check_definition(definition: SagaDefinition) -> None:
    """Refuse a definition that cannot work. Raises :class:`~sagafsm.DefinitionError`."""
    place = f" ({definition.where})" if definition.where else ""
    for problem in _saga_problems(definition):
        raise DefinitionError(f"saga {definition.name!r}{place}: {problem}")
    check_steps(definition.steps)
    for problem in _step_problems(definition):
        raise DefinitionError(f"saga {definition.name!r}: {problem}")


def _saga_problems(definition: SagaDefinition) -> Iterator[str]:
    name: Any = definition.name
    if not isinstance(name, str) or not _SAGA_NAME.fullmatch(name):
        yield "a saga's name is 1 to 200 letters, digits and . _ : -; give it another name="
    version: Any = definition.version
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        yield f"version is a whole number from 1 up, got {version!r}"
    if not definition.steps:
        yield "it has no steps; a saga needs at least one"
    yield from seconds_problem("deadline", definition.deadline)
    yield from retry_problem("retry", definition.retry)
    yield from retry_problem("compensation_retry", definition.compensation_retry)
    if definition.on_compensation_failure not in ("continue", "stick"):
        yield f"on_compensation_failure is 'continue' or 'stick', got {definition.on_compensation_failure!r}"
    parallel: Any = definition.parallel_compensation
    if not isinstance(parallel, bool):
        yield f"parallel_compensation is True or False, got {parallel!r}"
    for hook in ("on_completed", "on_failed"):
        if not (getattr(definition, hook) is None or callable(getattr(definition, hook))):
            yield f"{hook} is a function of the finished saga, got {getattr(definition, hook)!r}"
    if reason := unstorable(definition.input):
        yield f"its input cannot be stored as JSON: {reason}"


# --- the graph ---


def check_steps(steps: Mapping[str, StepDefinition]) -> None:
    """Refuse bad names, unknown names and cycles. Raises :class:`~sagafsm.DefinitionError`."""
    for step in steps.values():
        for problem in _name_problems(step, steps):
            raise DefinitionError(f"{subject(step.name, step.where)}: {problem}")
    if cycle := find_cycle({name: step.after for name, step in steps.items()}):
        first = steps[cycle[0]]
        raise DefinitionError(
            f"{subject(first.name, first.where)}: the steps wait for each other in a circle: {' → '.join(cycle)}; "
            "remove one after="
        )


def _name_problems(step: StepDefinition, steps: Mapping[str, StepDefinition]) -> Iterator[str]:
    if not _STEP_NAME.fullmatch(step.name):
        yield "a step's name is 1 to 100 letters, digits and _, and begins with no digit; give it another name"
    if step.name in _RESERVED:
        yield f"the name {step.name!r} is taken: such a parameter is {_RESERVED[step.name]}; give it another name"
    for before in step.after:
        if before not in steps:
            close = get_close_matches(before, steps, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"the steps are {', '.join(steps)}"
            yield f"it comes after {before!r}, which is no step of this saga; {hint}"


def duplicate(name: str, first: str, second: str) -> DefinitionError:
    """The error for two steps of one name; it names both places."""
    return DefinitionError(f"two steps are called {name!r}, at {first} and at {second}; rename one")


def subject(name: str, where: str) -> str:
    """How an error names a step."""
    return f"step {name!r} ({where})" if where else f"step {name!r}"


# --- what can be undone ---


def _step_problems(definition: SagaDefinition) -> Iterator[str]:
    steps = definition.steps
    pivots = [step for step in steps.values() if step.pivot]
    if len(pivots) > 1:
        names = " and ".join(subject(step.name, step.where) for step in pivots)
        yield f"it has more than one pivot: {names}; there is one point of no return"
    earlier = ancestors({name: step.after for name, step in steps.items()})
    pivot = pivots[0] if pivots else None
    for step in steps.values():
        at_or_after = pivot is not None and (step is pivot or pivot.name in earlier[step.name])
        before = pivot is not None and step.name in earlier[pivot.name]
        who = subject(step.name, step.where)
        if pivot is not None and not at_or_after and not before:
            yield (
                f"{who} runs beside the pivot {pivot.name!r}, so nobody could tell whether it may still be undone; put "
                f"it before ({pivot.name} after {step.name}) or after the pivot (after={pivot.name!r})"
            )
        for problem in _undo_problems(step, at_or_after):
            yield f"{who}: {problem}"
        retry = definition.forward_retry[step.name, "action"]
        if dead := dead_unknown_errors(step.unknown_errors, retry):
            yield (
                f"{who}: {dead[0].__name__} is in unknown_errors (it may have happened) and non_retryable in its retry "
                "policy (it did not happen); it is one or the other"
            )
        if step.child is not None and (path := _path_to(definition.name, step.child)):
            circle = " → ".join([definition.name, *path])
            yield f"{who}: the saga contains itself: {circle}; a saga cannot be its own child"


def _undo_problems(step: StepDefinition, at_or_after_pivot: bool) -> Iterator[str]:
    if at_or_after_pivot or not step.compensatable:
        return
    if step.kind is StepKind.ACTION and step.compensation is None:
        yield (
            "it has no compensation, so the saga could not undo it; add one, or say compensatable=False if it cannot "
            "or need not be undone"
        )
    if step.kind is StepKind.CHILD and step.child is not None and step.child.pivot is not None:
        yield (
            f"sub-saga {step.child.name!r} has a pivot ({step.child.pivot}), so it cannot be undone once completed; "
            "put it after this saga's pivot, or say compensatable=False"
        )


def _path_to(name: str, child: SagaDefinition) -> list[str] | None:
    """The names of the sub-sagas that lead from ``child`` to a saga called ``name``."""
    if child.name == name:
        return [name]
    for step in child.steps.values():
        if step.child is not None and (path := _path_to(name, step.child)):
            return [child.name, *path]
    return None
