"""How much of what can happen is explored, and the outline of a definition that is small enough for it.

What must stay true: an outline has the shape of its definition. A policy only becomes smaller, never another kind of
policy; what the core decides depends on whether attempts are used up, not on how many there were, so two stand for ten.
"""

from __future__ import annotations

from typing import Any

import attrs

from ...core.definition import SagaDefinition
from ...core.errors import InvalidInput
from ...core.retry import ACTION_RETRY, COMPENSATION_RETRY, RetryPolicy
from ...core.step import Handler, StepDefinition
from ...declare import definition_of
from ...runtime.session import Definable

_HANDLERS = ("action", "compensation", "fallback", "fallback_compensation", "probe")


@attrs.frozen(kw_only=True)
class Bounds:
    """What is explored.

    ``attempts`` and ``interruptions``: no function is called (or cut short by a dying process) more often on the way,
    however often its policy allows it; policies without end stay so. ``faults``: at most so many things go wrong on
    one path (None: any number). ``states`` and ``seconds``: stop there, and say what was not seen. ``crashes``,
    ``aborts``, ``suspensions``, ``duplicates``: whether processes die, somebody stops or pauses the saga, messages
    come twice or too late. ``unreadable``: whether a call may turn out to be impossible (data that cannot be decoded,
    an operation that nobody registered). Raises :class:`~sagafsm.InvalidInput` for numbers that make no sense.
    """

    attempts: int = 2
    interruptions: int = 1
    faults: int | None = None
    states: int = 100_000
    seconds: float = 60.0
    crashes: bool = True
    aborts: bool = True
    suspensions: bool = False
    duplicates: bool = True
    unreadable: bool = False

    def __attrs_post_init__(self) -> None:
        for name, least in (("attempts", 1), ("interruptions", 0), ("faults", 0), ("states", 1), ("seconds", 0)):
            value: float | None = getattr(self, name)
            if value is not None and not value >= least:
                raise InvalidInput(f"{name} must be at least {least}, got {value!r}")


def outline(saga: Definable, bounds: Bounds | None = None) -> SagaDefinition:
    """The same saga without its data and with small policies: what the model checker explores.

    Its functions are given nothing, and take what they are told to return as it is; so a path can be played by
    :meth:`SagaTestHarness.play <sagafsm.testing.SagaTestHarness.play>` without an input.
    """
    bounds = bounds or Bounds()
    definition = definition_of(saga)
    return attrs.evolve(
        definition,
        steps={name: _step(step, bounds) for name, step in definition.steps.items()},
        retry=_policy(definition.retry or ACTION_RETRY, bounds),
        compensation_retry=_policy(definition.compensation_retry or COMPENSATION_RETRY, bounds),
        input=Any,
        on_completed=None,
        on_failed=None,
        trusted=True,
    )


def _step(step: StepDefinition, bounds: Bounds) -> StepDefinition:
    changes: dict[str, Any] = {"idempotency_key": None, "child_data": None}
    for role in _HANDLERS:
        handler: Handler | None = getattr(step, role)
        if handler is not None:
            retry = None if handler.retry is None else _policy(handler.retry, bounds)
            changes[role] = attrs.evolve(handler, arguments=(), input_type=Any, result_type=Any, retry=retry)
    if step.child is not None:
        changes["child"] = outline(step.child, bounds)
    return attrs.evolve(step, **changes)


def _policy(policy: RetryPolicy, bounds: Bounds) -> RetryPolicy:
    most = None if policy.max_attempts is None else min(policy.max_attempts, bounds.attempts)
    return attrs.evolve(
        policy, max_attempts=most, max_interruptions=min(policy.max_interruptions, bounds.interruptions), jitter=0.0
    )
