"""Where a saga stands, as data: what the fold of its log (``fold``) builds, and everybody else reads.

What must stay true: immutable; only the fold makes one from another.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from . import events as e
from .lifecycle import SagaState, StepState

MAX_EVENTS = 10_000  # a log that reaches this is stopped for a person to look at: nothing grows for ever


class StepProgress(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """Where one step stands.

    ``attempts`` numbers the calls of the action and of its fallback, one after the other; ``attempts - base`` of them
    count against the current policy. ``open``: one of them may have happened although it did not succeed.
    ``calling``: a call was begun and has not come to an end. ``waiting``: what the step waits for, between calls
    (reply, child, signal, sleep, backoff), under ``waiting_name`` and until ``due_at``. ``ended`` is the number of
    the event that ended the step: the order of completion; ``began`` that of the last one that began a call of it.
    ``again``: a person granted new attempts.
    """

    state: StepState = StepState.WAITING
    via: e.Via = "action"
    attempts: int = 0
    base: int = 0
    interruptions: int = 0
    calling: bool = False
    open: bool = False
    waiting: Literal["backoff", "reply", "signal", "sleep", "child"] | None = None
    waiting_name: str | None = None
    due_at: float | None = None
    started_at: float | None = None
    began: int = 0
    stored: msgspec.Raw | msgspec.UnsetType = msgspec.field(default=msgspec.UNSET, name="result")
    error: e.Failure | None = None
    ended: int = 0
    again: bool = False
    halted: bool = False
    probes: int = 0
    probe_base: int = 0
    probe_interruptions: int = 0
    probing: bool = False
    probe_error: e.Failure | None = None
    compensation_attempts: int = 0
    compensation_base: int = 0
    compensation_interruptions: int = 0
    compensation_error: e.Failure | None = None
    waived: bool = False

    @property
    def result(self) -> msgspec.Raw | None:
        """What the step returned; None where it has not. JSON's null is a result: a snapshot must keep it."""
        return None if isinstance(self.stored, msgspec.UnsetType) else self.stored

    @property
    def done(self) -> bool:
        """Whether the steps after this one may start."""
        return self.state is StepState.SUCCEEDED or self.state is StepState.SKIPPED


WAITING_STEP = StepProgress()


class Progress(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """Where one saga stands after ``version`` events. Times are seconds since the epoch by the store's clock."""

    saga_id: str
    saga_type: str
    definition_version: int
    fingerprint: str
    state: SagaState
    data: msgspec.Raw
    steps: Mapping[str, StepProgress]
    correlation_id: str
    created_at: float
    updated_at: float
    version: int
    parent_id: str | None = None
    parent_step: str | None = None
    tags: Mapping[str, str] = {}
    deadline: float | None = None
    outcome: e.Outcome | None = None
    stuck: bool = False
    stuck_reason: str | None = None
    stuck_step: str | None = None
    stuck_child: str | None = None
    suspended: bool = False
    deadline_expired: bool = False
    abort: e.AbortRequested | None = None
    turned_at: int = 0  # the number of the first event that asked for the way back: abort or deadline
    cut_at: int = 0  # the number of the last event that asked for running calls to be cut short
    cause: e.Failure | None = None
    done: int = 0  # steps that succeeded or were skipped
    troubled: int = 0  # steps that failed or whose outcome is unknown
    signals: tuple[e.SignalReceived, ...] = ()
    message_ids: frozenset[str] = frozenset()
    finished_at: float | None = None
    event_budget: int = MAX_EVENTS

    @property
    def kind(self) -> str:
        """Which definition exactly this saga needs."""
        return f"{self.saga_type}@{self.definition_version}#{self.fingerprint}"
