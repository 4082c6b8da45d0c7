"""What readers see of a saga: a view over its progress, with data and results decoded on demand.

What must stay true: reading changes nothing; a saga whose definition is not at hand, or whose log cannot be read,
can still be looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import attrs
import msgspec

from .definition import SagaDefinition
from .events import Failure
from .lifecycle import SagaState, StepState
from .payload import NotReadable, decode
from .progress import Progress, StepProgress


@attrs.frozen(kw_only=True)
class Waiting:
    """What a step waits for. ``kind``: reply, signal, sleep, backoff or child. ``until``: seconds since the epoch."""

    step: str
    kind: str
    name: str | None
    until: float | None
    attempt: int | None


@attrs.frozen(kw_only=True)
class StepView:
    """Where one step stands. ``due_at``: when it goes on by itself, in seconds since the epoch."""

    state: StepState
    attempts: int
    error: Failure | None
    compensation_error: Failure | None
    due_at: float | None
    via: str
    compensation_attempts: int = 0
    waived: bool = False


class SagaInstance:
    """A saga as it was when it was read.

    ``data`` and ``results`` are decoded to the definition's types where the reader's orchestrator knows the
    definition, else they are plain JSON values. Times are seconds since the epoch by the store's clock. ``version``
    is the number of events in the log. ``problem`` says why a saga was set aside: its log cannot be read (then the
    rest comes from the record alone), or lacks what was stored once.
    """

    def __init__(
        self, progress: Progress, definition: SagaDefinition | None = None, *, problem: str | None = None
    ) -> None:
        self._progress = progress
        self._definition = definition
        self.problem = problem

    @property
    def progress(self) -> Progress:
        """The fold of the saga's log, for tools that need all of it."""
        return self._progress

    @property
    def saga_id(self) -> str:
        """The saga's id."""
        return self._progress.saga_id

    @property
    def saga_type(self) -> str:
        """The name of its definition."""
        return self._progress.saga_type

    @property
    def definition_version(self) -> int:
        """The version of the definition that it was started with."""
        return self._progress.definition_version

    @property
    def state(self) -> SagaState:
        """started, pending, compensating, completed or failed."""
        return self._progress.state

    @property
    def outcome(self) -> str | None:
        """How a failed saga ended: compensated, aborted or forced. None before, and where it completed."""
        return self._progress.outcome

    @property
    def stuck(self) -> bool:
        """Whether it waits for a person."""
        return self._progress.stuck or self.problem is not None

    @property
    def stuck_reason(self) -> str | None:
        """What the person should know."""
        return self.problem or self._progress.stuck_reason

    @property
    def suspended(self) -> bool:
        """Whether a person paused it."""
        return self._progress.suspended

    @property
    def correlation_id(self) -> str:
        """What ties it to other things; the saga's id unless one was given."""
        return self._progress.correlation_id

    @property
    def parent_id(self) -> str | None:
        """The saga that this one is a step of."""
        return self._progress.parent_id

    @property
    def tags(self) -> Mapping[str, str]:
        """What it can be found by."""
        return self._progress.tags

    @property
    def version(self) -> int:
        """How many events its log has."""
        return self._progress.version

    @property
    def created_at(self) -> float:
        """When it was stored."""
        return self._progress.created_at

    @property
    def updated_at(self) -> float:
        """When its last event was stored."""
        return self._progress.updated_at

    @property
    def finished_at(self) -> float | None:
        """When it ended."""
        return self._progress.finished_at

    @property
    def deadline(self) -> float | None:
        """When it must be past its pivot."""
        return self._progress.deadline

    @cached_property
    def data(self) -> Any:
        """The input."""
        return decode(self._progress.data, Any if self._definition is None else self._definition.input)

    @cached_property
    def results(self) -> Mapping[str, Any]:
        """The results of the steps that succeeded or were skipped (then None), by step."""
        found: dict[str, Any] = {}
        for name, step in self._progress.steps.items():
            if step.result is not None:
                found[name] = decode(step.result, result_type(self._definition, name, step))
            elif step.state is StepState.SKIPPED:
                found[name] = None
        return found

    @cached_property
    def steps(self) -> Mapping[str, StepView]:
        """Every step, in the order of declaration."""
        return {
            name: StepView(
                state=step.state,
                attempts=step.attempts,
                error=step.error,
                compensation_error=step.compensation_error,
                due_at=step.due_at,
                via=step.via,
                compensation_attempts=step.compensation_attempts,
                waived=step.waived,
            )
            for name, step in self._progress.steps.items()
        }

    @property
    def waiting(self) -> tuple[Waiting, ...]:
        """Everything it waits for, what ends first in front."""
        found = [
            Waiting(
                step=name,
                kind=step.waiting,
                name=step.waiting_name,
                until=step.due_at,
                attempt=step.compensation_attempts or step.attempts or None,
            )
            for name, step in self._progress.steps.items()
            if step.waiting is not None
        ]
        return tuple(sorted(found, key=lambda waiting: (waiting.until is None, waiting.until or 0.0)))

    @property
    def waiting_for(self) -> Waiting | None:
        """What it waits for (of several: what ends first)."""
        return next(iter(self.waiting), None)

    @property
    def error(self) -> Failure | None:
        """The original error: what made the saga turn back, or stopped it."""
        if self._progress.cause is not None:
            return self._progress.cause
        return next(iter(self.errors), None)

    @property
    def errors(self) -> tuple[Failure, ...]:
        """The last error of each step and of each compensation that has one, in the order in which they happened."""
        found = [
            failure
            for step in self._progress.steps.values()
            for failure in (step.error, step.compensation_error)
            if failure is not None
        ]
        return tuple(sorted(found, key=lambda failure: failure.at or 0.0))

    def __repr__(self) -> str:
        flags = "".join(f", {flag}" for flag in ("stuck", "suspended") if getattr(self, flag))
        outcome = f" ({self.outcome})" if self.outcome else ""
        return f"<SagaInstance {self.saga_id} of {self.saga_type}: {self.state.value}{outcome}{flags}>"

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, for logs, scripts and web pages. Times are ISO 8601 in UTC."""
        progress = self._progress
        return {
            "saga_id": self.saga_id,
            "saga_type": self.saga_type,
            "definition_version": self.definition_version,
            "state": self.state.value,
            "outcome": self.outcome,
            "stuck": self.stuck,
            "stuck_reason": self.stuck_reason,
            "suspended": self.suspended,
            "correlation_id": self.correlation_id,
            "parent_id": self.parent_id,
            "tags": dict(self.tags),
            "version": self.version,
            "created_at": iso(self.created_at),
            "updated_at": iso(self.updated_at),
            "finished_at": iso(self.finished_at),
            "deadline": iso(self.deadline),
            "data": _plain(progress.data),
            "results": {name: _plain(step.result) for name, step in progress.steps.items() if step.result is not None},
            "steps": {
                name: {
                    "state": step.state.value,
                    "attempts": step.attempts,
                    "compensation_attempts": step.compensation_attempts,
                    "via": step.via,
                    "due_at": iso(step.due_at),
                    "error": _failure(step.error),
                    "compensation_error": _failure(step.compensation_error),
                    "waived": step.waived,
                }
                for name, step in progress.steps.items()
            },
            "waiting": [{**attrs.asdict(waiting), "until": iso(waiting.until)} for waiting in self.waiting],
            "error": _failure(self.error),
        }


def iso(at: float | None) -> str | None:
    """Seconds since the epoch as ISO 8601 in UTC."""
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def _failure(failure: Failure | None) -> dict[str, Any] | None:
    if failure is None:
        return None
    return {"type": failure.type, "message": failure.message, "step": failure.step, "at": iso(failure.at)}


def _plain(raw: msgspec.Raw) -> Any:
    """Stored JSON as plain values; where it is none, what is wrong with it."""
    try:
        return decode(raw)
    except NotReadable as exc:
        return {"unreadable": str(exc)}


def result_type(definition: SagaDefinition | None, name: str, step: StepProgress) -> Any:
    """What a step's result is decoded to: the return annotation of the function that gave it."""
    if definition is None or name not in definition.steps:
        return Any
    handler = definition.steps[name].forward(step.via)
    return Any if handler is None or handler.awaits_reply else handler.result_type
