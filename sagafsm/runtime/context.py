"""What a step can ask about the saga and the attempt it runs in."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any

from ..core.commands import Call, Role
from ..core.definition import SagaDefinition
from ..core.events import Failure
from ..core.instance import SagaInstance
from ..core.progress import Progress

LOGGER = logging.getLogger("sagafsm.steps")


class StepContext:
    """Given to a step that has a parameter ``ctx``.

    ``idempotency_key`` is the same for every attempt of this call; hand it to whatever the step talks to.
    ``action_key`` is the key of the action, for a compensation, a fallback and a probe to refer to. ``cause`` is what
    made the saga compensate, or the fallback run. ``attempt`` counts calls from 1, those of the action and of its
    fallback together (a reply names its attempt by it). ``deadline`` is the saga's, in seconds since the epoch. ``via``
    is ``"action"`` or ``"fallback"``.
    """

    def __init__(
        self,
        progress: Progress,
        definition: SagaDefinition,
        call: Call,
        action_key: str,
        heartbeat: Callable[[], Awaitable[None]],
    ) -> None:
        self.saga_id: str = progress.saga_id
        self.saga_type: str = progress.saga_type
        self.step: str = call.step
        self.attempt: int = call.attempt
        self.idempotency_key: str = call.idempotency_key
        self.action_key: str = action_key
        self.correlation_id: str = progress.correlation_id
        self.deadline: float | None = progress.deadline
        self.via: str = call.via
        self._progress = progress
        self._definition = definition
        self._backward = call.role is Role.BACKWARD
        self._heartbeat = heartbeat

    @property
    def cause(self) -> Failure | None:
        """What made the saga compensate; in a fallback, why the action failed."""
        if self._backward:
            return self._progress.cause
        return self._progress.steps[self.step].error if self.via == "fallback" else None

    @cached_property
    def results(self) -> Mapping[str, Any]:
        """The results of the steps so far, by name."""
        return MappingProxyType(dict(SagaInstance(self._progress, self._definition).results))

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose lines carry the saga's id, its correlation id, the step and the attempt."""
        extra = {
            "saga_id": self.saga_id,
            "correlation_id": self.correlation_id,
            "step": self.step,
            "attempt": self.attempt,
        }
        return logging.LoggerAdapter(LOGGER, extra)

    async def heartbeat(self) -> None:
        """Say that a long step is alive, and learn whether it should go on.

        Raises asyncio.CancelledError when the saga now belongs to another worker, or this call was cut short.
        """
        await self._heartbeat()
