"""One turn of the decider: the events decided so far and the progress after them.

What must stay true: a turn touches nothing outside itself; its random numbers, conditions and time are handed in.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import msgspec

from . import events as e
from .commands import (
    DELIVERY_ACCEPTED,
    ROLE_BACKWARD,
    ROLE_FORWARD,
    ROLE_PROBE,
    AbortChild,
    Call,
    CancelCall,
    Command,
    Delivery,
    Held,
    Role,
)
from .definition import SagaDefinition
from .fold import FOLDS
from .keys import Purpose, derived_key, templated_key
from .lifecycle import SAGA_COMPLETED, SAGA_FAILED, STEP_RUNNING, STEP_UNKNOWN, StepState
from .progress import Progress, StepProgress
from .retry import RetryPolicy
from .step import StepDefinition
from .template import TemplateError


def always(step: StepDefinition, progress: Progress) -> bool | e.Failure:
    """The condition of a step that has none."""
    return True


def unlimited(saga_id: str, step: str, backward: bool) -> bool | e.Failure:
    """The answer where nobody counts calls."""
    return True


@attrs.frozen(kw_only=True)
class Surroundings:
    """What the decider may ask of the outside. All of it answers the same way when asked again in one turn.

    ``condition`` works out a step's ``when`` (a Failure: it raised); ``spread`` gives the random part of a backoff,
    in [-1, 1]; ``namespace`` goes into the idempotency keys. ``permitted`` says whether a call under a limit may begin:
    the action or fallback of a saga's step, or its compensation (a Failure: the limit's key cannot be worked out).
    """

    namespace: str = "default"
    condition: Callable[[StepDefinition, Progress], bool | e.Failure] = always
    spread: Callable[[], float] = lambda: 0.0
    permitted: Callable[[str, str, bool], bool | e.Failure] = unlimited


def pivot_passed(definition: SagaDefinition, progress: Progress) -> bool:
    """Whether the saga can only go forward."""
    pivot = definition.pivot
    return pivot is not None and progress.steps[pivot].done


def pivot_open(definition: SagaDefinition, progress: Progress) -> bool:
    """Whether the pivot may have happened, or is about to: it runs, or its outcome is unknown."""
    pivot = definition.pivot
    if pivot is None:
        return False
    step = progress.steps[pivot]
    if step.state is STEP_UNKNOWN:
        return definition.steps[pivot].on_unknown != "compensate"
    return step.state is STEP_RUNNING and (step.calling or step.open or step.waiting in ("reply", "child"))


class Turn:
    """Collects what one input leads to."""

    __slots__ = ("commands", "definition", "delivery", "events", "held", "now", "progress", "surroundings")

    def __init__(self, definition: SagaDefinition, progress: Progress, now: float, surroundings: Surroundings) -> None:
        self.definition = definition
        self.progress = progress
        self.now = now
        self.surroundings = surroundings
        self.events: list[e.SagaEvent] = []
        self.commands: list[Command] = []
        self.delivery: Delivery = DELIVERY_ACCEPTED
        self.held: tuple[Held, ...] = ()

    def emit(self, event: e.SagaEvent) -> None:
        """Decide that this happened."""
        self.progress = FOLDS[type(event)](self.progress, event, self.now)
        self.events.append(event)

    # --- questions ---

    def step(self, name: str) -> StepProgress:
        """Where a step stands."""
        return self.progress.steps[name]

    def in_state(self, *states: StepState) -> list[tuple[str, StepProgress]]:
        """The steps that stand there, in the order of their declaration."""
        found: list[tuple[str, StepProgress]] = []
        for name, step in self.progress.steps.items():
            if step.state in states:
                found.append((name, step))
        return found

    @property
    def halted(self) -> bool:
        """Whether nothing new may start."""
        progress = self.progress
        return progress.stuck or progress.suspended

    @property
    def pivot_passed(self) -> bool:
        """Whether the saga can only go forward."""
        return pivot_passed(self.definition, self.progress)

    @property
    def pivot_open(self) -> bool:
        """Whether the pivot may have happened, or is about to: it runs, or its outcome is unknown."""
        return pivot_open(self.definition, self.progress)

    def policy(self, name: str) -> RetryPolicy:
        """The policy of the action or fallback at work."""
        return self.definition.forward_retry[name, self.progress.steps[name].via]

    def failure(self, name: str | None, kind: str, message: str) -> e.Failure:
        """A failure that the engine itself states."""
        return e.Failure(type=kind, message=message, step=name, at=self.now)

    def key(self, name: str, purpose: Purpose) -> str:
        """The idempotency key of a step's action, fallback or compensation."""
        template = self.definition.steps[name].idempotency_key
        if template is not None:
            return templated_key(template, self.progress.data, purpose)
        return derived_key(self.surroundings.namespace, self.progress.saga_id, name, purpose)

    # --- decisions that several rules share ---

    def call(self, name: str, *, attempt: int, via: e.Via = "action", interruption: int = 0) -> None:
        """Begin a call of the action or fallback, if its limit allows it now."""
        if self.definition.limited and self._is_held(name, ROLE_FORWARD, via, interruption):
            return
        try:
            key = self.key(name, "fallback" if via == "fallback" else "action")
        except TemplateError as exc:
            self.emit(e.StepFailed(step=name, error=self.failure(name, type(exc).__name__, str(exc))))
            return
        self.emit(e.AttemptStarted(step=name, attempt=attempt, idempotency_key=key, via=via, interruption=interruption))
        self.commands.append(
            Call(
                step=name,
                role=ROLE_FORWARD,
                via=via,
                attempt=attempt,
                interruption=interruption,
                idempotency_key=key,
            )
        )

    def call_probe(self, name: str, *, attempt: int, interruption: int = 0) -> None:
        """Begin to ask whether a step happened."""
        step = self.step(name)
        self.emit(e.ProbeStarted(step=name, attempt=attempt, interruption=interruption))
        key = self.key(name, "fallback" if step.via == "fallback" else "action")
        self.commands.append(
            Call(
                step=name,
                role=ROLE_PROBE,
                via=step.via,
                attempt=attempt,
                interruption=interruption,
                idempotency_key=key,
            )
        )

    def call_compensation(self, name: str, *, attempt: int, interruption: int = 0) -> None:
        """Begin a call of the compensation, if its limit allows it now."""
        via = self.progress.steps[name].via
        if self.definition.limited and self._is_held(name, ROLE_BACKWARD, via, interruption):
            return
        key = self.key(name, "compensation")
        self.emit(
            e.CompensationAttemptStarted(step=name, attempt=attempt, idempotency_key=key, interruption=interruption)
        )
        self.commands.append(
            Call(
                step=name,
                role=ROLE_BACKWARD,
                via=via,
                attempt=attempt,
                interruption=interruption,
                idempotency_key=key,
            )
        )

    def _is_held(self, name: str, role: Role, via: str, interruption: int) -> bool:
        """Whether a call has to wait for its limit; then nothing of it is recorded."""
        spec, backward = self.definition.steps[name], role is ROLE_BACKWARD
        handler = spec.backward(via) if backward else spec.forward(via)
        if handler is None or handler.limit is None:
            return False
        answer = self.surroundings.permitted(self.progress.saga_id, name, backward)
        if answer is False:
            died = interruption > 0 and self.step(name).calling
            self.held = (*self.held, Held(step=name, role=role, via=via, interrupted=died))
        elif answer is not True:
            what = f"the compensation of step {name}" if backward else f"step {name}"
            self.stick(f"{what} cannot be called: the key of its limit failed: {answer}", name)
        return answer is not True

    def cancel(self, name: str) -> None:
        """Cut a running call short."""
        self.commands.append(CancelCall(step=name))

    def abort_child(self, child_id: str, reason: str) -> None:
        """Ask a sub-saga to stop."""
        self.commands.append(AbortChild(child_id=child_id, reason=reason))

    def succeed(self, name: str, result: msgspec.Raw, by: str, message_id: str | None = None) -> None:
        """Record that a step happened."""
        attempt = self.progress.steps[name].attempts or None
        self.emit(e.StepSucceeded(step=name, result=result, attempt=attempt, by=by, message_id=message_id))

    def stick(self, reason: str, step: str | None = None, child: str | None = None) -> None:
        """Stop for a person."""
        if not self.progress.stuck:
            self.emit(e.SagaStuck(reason=reason, step=step, child=child))

    @property
    def ended(self) -> bool:
        """Whether the saga is terminal."""
        state = self.progress.state
        return state is SAGA_COMPLETED or state is SAGA_FAILED
