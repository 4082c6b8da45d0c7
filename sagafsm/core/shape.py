"""The shape of a definition: what a running saga depends on, as plain JSON values. Never function bodies.

What must stay true: a definition made again from its shape has the same shape, so an operator without the code can
look at sagas, stop them and send them on; its functions are missing, so it can call nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .step import Handler, StepDefinition, StepKind

if TYPE_CHECKING:
    from .definition import SagaDefinition


def shape_of(definition: SagaDefinition) -> dict[str, Any]:
    """Names, order and flags."""
    return {
        "name": definition.name,
        "version": definition.version,
        "on_compensation_failure": definition.on_compensation_failure,
        "parallel_compensation": definition.parallel_compensation,
        "steps": [_shape_of_step(step) for step in definition.steps.values()],
    }


def _shape_of_step(step: StepDefinition) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "name": step.name,
        "kind": step.kind.value,
        "after": sorted(step.after),
        "when": step.when is not None,
        "compensation": step.compensation is not None,
        "fallback": step.fallback is not None,
        "fallback_compensation": step.fallback_compensation is not None,
        "probe": step.probe is not None,
        "pivot": step.pivot,
        "compensatable": step.compensatable,
        "on_unknown": step.on_unknown,
        "idempotent": step.idempotent,
        "compensate_failed": step.compensate_failed,
        "awaits_reply": step.action is not None and step.action.awaits_reply,
        "compensation_awaits_reply": step.compensation is not None and step.compensation.awaits_reply,
        "signal": step.signal,
        "on_timeout": step.on_timeout if step.kind is StepKind.SIGNAL else None,
        "child": step.child.name if step.child is not None else None,
    }
    return {key: value for key, value in facts.items() if value not in (None, False, [])}


def definition_from_shape(shape: Mapping[str, Any]) -> SagaDefinition:
    """A definition without functions: enough to read, draw and operate its sagas."""
    from .definition import SagaDefinition

    return SagaDefinition(
        name=shape["name"],
        version=shape["version"],
        on_compensation_failure=shape["on_compensation_failure"],
        parallel_compensation=shape["parallel_compensation"],
        steps={facts["name"]: _step_from_shape(facts) for facts in shape["steps"]},
        trusted=True,
    )


def _step_from_shape(facts: Mapping[str, Any]) -> StepDefinition:
    def handler(role: str, *, awaits_reply: bool = False) -> Handler | None:
        if not facts.get(role):
            return None
        return Handler(name=f"{facts['name']}.{role}", function=None, awaits_reply=awaits_reply)

    kind = StepKind(facts["kind"])
    action = None
    if kind is StepKind.ACTION:
        action = Handler(name=facts["name"], function=None, awaits_reply=bool(facts.get("awaits_reply")))
    return StepDefinition(
        name=facts["name"],
        kind=kind,
        after=tuple(facts.get("after", ())),
        when=handler("when"),
        action=action,
        compensation=handler("compensation", awaits_reply=bool(facts.get("compensation_awaits_reply"))),
        fallback=handler("fallback"),
        fallback_compensation=handler("fallback_compensation"),
        probe=handler("probe"),
        pivot=bool(facts.get("pivot")),
        compensatable=bool(facts.get("compensatable")),
        on_unknown=facts.get("on_unknown"),
        idempotent=bool(facts.get("idempotent")),
        compensate_failed=bool(facts.get("compensate_failed")),
        signal=facts.get("signal"),
        on_timeout=facts.get("on_timeout", "fail"),
    )
