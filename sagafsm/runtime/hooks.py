"""Hooks: being told of steps and transitions, without a say in them.

What must stay true: a hook that raises is logged and counted, and changes nothing about any saga.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import msgspec

from ..core import commands as c
from ..core.codec import encode_event
from ..core.events import Event, Failure, SagaEvent
from ..core.instance import SagaInstance
from ..core.progress import Progress
from .context import StepContext

LOGGER = logging.getLogger("sagafsm")


@attrs.frozen
class StepOutcome:
    """How a call ended: ``kind`` is succeeded, failed, rejected or unknown; ``result`` is a plain JSON value."""

    kind: str
    result: Any = None
    error: Failure | None = None


class Hooks:
    """The hooks of one orchestrator: objects with any of ``before_step``, ``after_step``, ``on_transition``."""

    def __init__(self, hooks: Sequence[Any]) -> None:
        self._before = _methods(hooks, "before_step")
        self._after = _methods(hooks, "after_step")
        self._transition = _methods(hooks, "on_transition")
        self.around_steps = bool(self._before or self._after)
        self.on_transitions = bool(self._transition)
        self.failures = 0

    async def before_step(self, context: StepContext) -> None:
        """A call is about to begin."""
        for hook in self._before:
            await self.best_effort(hook, context)

    async def after_step(self, context: StepContext, ended: c.CallEnded) -> None:
        """A call came to an end."""
        kind = "failed" if ended.kind is c.OutcomeKind.IMPOSSIBLE else ended.kind.value
        outcome = StepOutcome(kind, msgspec.json.decode(ended.result), ended.error)
        for hook in self._after:
            await self.best_effort(hook, context, outcome)

    async def on_transition(self, instance: SagaInstance, events: Sequence[SagaEvent], before: int) -> None:
        """Events were stored; ``before`` is the saga's version ahead of them."""
        for number, event in enumerate(events, before + 1):
            fields = msgspec.json.decode(encode_event(event))
            shown = Event(
                seq=number,
                type=type(event).__name__,
                at=instance.updated_at,
                step=fields.pop("step", None),
                attempt=fields.pop("attempt", None),
                data=fields,
            )
            for hook in self._transition:
                await self.best_effort(hook, instance, shown)

    async def best_effort(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call something whose failure must change nothing."""
        task = asyncio.current_task()
        cancellations = 0 if task is None else task.cancelling()
        try:
            answer = function(*arguments)
            if inspect.isawaitable(answer):
                await answer
        except asyncio.CancelledError:
            if task is not None and task.cancelling() > cancellations:
                raise
            self._failed(function)  # it waited for something that was cancelled: nobody wants us to stop
        except Exception:
            self._failed(function)

    def _failed(self, function: Callable[..., Any]) -> None:
        self.failures += 1
        LOGGER.exception("a hook failed: %s", getattr(function, "__qualname__", function))


def _methods(hooks: Sequence[Any], name: str) -> list[Callable[..., Any]]:
    return [method for hook in hooks if callable(method := getattr(hook, name, None))]


def log_event(progress: Progress, event: SagaEvent) -> None:
    """One structured line for one event."""
    step = getattr(event, "step", None)
    LOGGER.info(
        "saga=%s correlation=%s event=%s step=%s state=%s",
        progress.saga_id,
        progress.correlation_id,
        type(event).__name__,
        step or "-",
        progress.state.value,
        extra={
            "saga_id": progress.saga_id,
            "saga_type": progress.saga_type,
            "correlation_id": progress.correlation_id,
            "event": type(event).__name__,
            "step": step,
            "state": progress.state.value,
        },
    )
