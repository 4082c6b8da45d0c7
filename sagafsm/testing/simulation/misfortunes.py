"""Which calls of a saga are meant to go wrong, in which way: one behaviour for each run of an exhaustive test.

What must stay true: every function of every step has its turn, unless nothing can make the saga call it; a behaviour
goes by ``Saga.step.role``, as :mod:`.real` reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ...core.definition import SagaDefinition
from ...core.step import StepDefinition
from .plan import ALL_WELL
from .real import label_of

Behaviour = Mapping[str, str]

FAILURES = ("reject", "fail", "open", "lost")
HICCUPS = ("fail 1", "lost 1")


def failures(family: Sequence[SagaDefinition], without: Sequence[str] = ()) -> list[Behaviour]:
    """Every function fails: an action and a fallback in each way for good, a compensation once in each way."""
    found: list[Behaviour] = []
    for definition, step in _steps(family, without):
        for role, first in _forward(definition, step):
            found += [{**first, label_of(definition.name, step.name, role): how} for how in FAILURES]
        for role, first in _backward(definition, step):
            found += [{**first, label_of(definition.name, step.name, role): how} for how in HICCUPS]
    return found


def repetitions(family: Sequence[SagaDefinition], without: Sequence[str] = ()) -> list[Behaviour]:
    """Every function is called again with the same key after it has done its work; then all of them at once."""
    found: list[Behaviour] = []
    forward: dict[str, str] = {}
    backward: dict[str, str] = {}
    for definition, step in _steps(family, without):
        for role, first in _forward(definition, step) if step.idempotent else ():
            twice = {label_of(definition.name, step.name, role): "twice 1"}
            found.append({**first, **twice})
            forward.update(twice if role == "action" else {})
        for role, first in _backward(definition, step):
            twice = {label_of(definition.name, step.name, role): "twice 1"}
            found.append({**first, **twice})
            backward.update(twice if role == "compensation" else {})
    if len(forward) > 1:
        found.append(forward)
    if len(backward) > 1:
        found.append({**undoing_all(family[0]), **backward})
    return found


def undoing_all(definition: SagaDefinition) -> Behaviour:
    """What makes a saga undo as much as possible: the last step that can turn it back is rejected."""
    candidates = [step for step in definition.steps.values() if step.action and not _past_pivot(definition, step)]
    if not candidates:
        return ALL_WELL
    last = candidates[-1]
    how = {label_of(definition.name, last.name, "action"): "reject"}
    return {**how, label_of(definition.name, last.name, "fallback"): "reject"} if last.fallback else how


# --- steps ---


def _steps(family: Sequence[SagaDefinition], without: Sequence[str]) -> Iterator[tuple[SagaDefinition, StepDefinition]]:
    for definition in family:
        for step in definition.steps.values():
            if step.action is not None and step.name not in without:
                yield definition, step


def _forward(definition: SagaDefinition, step: StepDefinition) -> Iterator[tuple[str, Behaviour]]:
    """The roles in which a step goes forward, each with what must go wrong before that."""
    yield "action", ALL_WELL
    if step.fallback is not None:
        yield "fallback", {label_of(definition.name, step.name, "action"): "reject"}


def _backward(definition: SagaDefinition, step: StepDefinition) -> Iterator[tuple[str, Behaviour]]:
    """The roles in which a step is undone, each with what makes the saga do so; none where nothing can."""
    if step.compensation is None:
        return
    first = _undoing(definition, step)
    if first is None:
        return
    yield "compensation", first
    if step.fallback_compensation is not None and label_of(definition.name, step.name, "action") not in first:
        yield "fallback_compensation", {**first, label_of(definition.name, step.name, "action"): "reject"}


def _undoing(definition: SagaDefinition, step: StepDefinition) -> Behaviour | None:
    """What makes the saga undo this step: a later step fails for good, or else nobody knows whether this one did."""
    later = [
        other
        for other in definition.steps.values()
        if other.action is not None
        and step.name in _before(definition, other.name)
        and not _past_pivot(definition, other)
    ]
    if not _past_pivot(definition, step) and later and not step.pivot:
        roles = ("action", "fallback") if later[-1].fallback is not None else ("action",)
        return {label_of(definition.name, later[-1].name, role): "reject" for role in roles}
    if step.on_unknown == "compensate" and not _past_pivot(definition, step):
        return {label_of(definition.name, step.name, "action"): "lost"}
    return None


def _before(definition: SagaDefinition, name: str) -> set[str]:
    """The steps that must have ended well before this one."""
    found: set[str] = set()
    queue = list(definition.steps[name].after)
    while queue:
        one = queue.pop()
        if one not in found:
            found.add(one)
            queue += definition.steps[one].after
    return found


def _past_pivot(definition: SagaDefinition, step: StepDefinition) -> bool:
    return any(definition.steps[one].pivot for one in _before(definition, step.name))
