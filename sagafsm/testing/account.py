"""What a log says, counted up by itself: the second opinion that the checker holds against the library's fold.

What must stay true: nothing here calls the core's fold, decider or tables. It reads the events alone, so that a
mistake there cannot hide itself. It is a record of facts: whether they may be is the checker's question.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import msgspec

from ..core import events as e
from ..core.definition import SagaDefinition
from ..core.step import StepDefinition, StepKind

_WITH_MESSAGE = frozenset(kind for kind in e.EVENT_TYPES.values() if "message_id" in kind.__struct_fields__)
_WITH_STEP = frozenset(kind for kind in e.EVENT_TYPES.values() if "step" in kind.__struct_fields__)


def message_id_of(event: e.SagaEvent) -> str | None:
    """The message that an event is the answer to, if it is to one."""
    return event.message_id if type(event) in _WITH_MESSAGE else None  # type: ignore[attr-defined]


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One event of a log: its number, when it happened (seconds since the epoch), and what it says."""

    seq: int
    at: float
    event: e.SagaEvent


@attrs.define
class Calls:
    """The calls of one function: of an action or its fallback, of a probe, of a compensation."""

    attempt: int = 0
    before: int = 0  # attempts that an earlier grant (or the action, before its fallback) paid for
    interruption: int = 0
    live: bool = False
    awaits: bool = False
    retry_at: float | None = None

    def begin(self, attempt: int, interruption: int, *, fresh: bool) -> None:
        if fresh:
            self.before = attempt - 1
        self.attempt, self.interruption = attempt, interruption
        self.live, self.awaits, self.retry_at = True, False, None

    def end(self, retry_at: float | None = None) -> None:
        self.live, self.awaits, self.retry_at = False, False, retry_at

    @property
    def counted(self) -> int:
        """The attempts that count against the policy."""
        return self.attempt - self.before


@attrs.define
class StepAccount:
    """What the log says of one step."""

    name: str
    state: str = "waiting"
    via: str = "action"
    open: bool = False  # one of its calls may have happened although it did not succeed
    granted: bool = False  # a person gave it new attempts, which have not begun
    waived: bool = False
    ended: int = 0
    waits: str | None = None
    waits_for: str | None = None
    calls: Calls = attrs.field(factory=Calls)
    probes: Calls = attrs.field(factory=Calls)
    undoing: Calls = attrs.field(factory=Calls)
    keys: dict[str, str] = attrs.field(factory=dict)

    @property
    def done(self) -> bool:
        return self.state in ("succeeded", "skipped")


class Account:
    """What the log of one saga says so far."""

    def __init__(self, definition: SagaDefinition) -> None:
        self.definition = definition
        self.steps: Mapping[str, StepAccount] = {name: StepAccount(name) for name in definition.steps}
        self.undoable = frozenset(name for name, spec in definition.steps.items() if can_be_undone(definition, spec))
        self.state = "none"
        self.seq = 0
        self.is_child = False
        self.stuck = False
        self.suspended = False
        self.deadline: float | None = None
        self.turned: str | None = None  # what asked for the way back: abort, deadline
        self.abort: e.AbortRequested | None = None
        self.compensating_since = 0
        self.granted_at = 0  # when a person last looked at the saga
        self.message_ids: set[str] = set()
        self.signals: list[str] = []  # those that came and are not consumed yet

    # --- questions ---

    def step(self, event: e.SagaEvent) -> StepAccount | None:
        """The step that an event is about."""
        return self.steps.get(event.step) if type(event) in _WITH_STEP else None  # type: ignore[attr-defined]

    @property
    def pivot(self) -> StepAccount | None:
        return self.steps[self.definition.pivot] if self.definition.pivot is not None else None

    @property
    def pivot_passed(self) -> bool:
        return self.pivot is not None and self.pivot.done

    @property
    def pivot_open(self) -> bool:
        """Whether the pivot may have happened, or is about to."""
        pivot = self.pivot
        if pivot is None:
            return False
        if pivot.state == "unknown":
            return self.definition.steps[pivot.name].on_unknown != "compensate"
        return pivot.state == "running" and (pivot.calls.live or pivot.calls.awaits or pivot.open)

    def due(self) -> list[StepAccount]:
        """The steps that have to be undone and are not yet, the next one first."""
        found = [step for step in self.steps.values() if self._owes(step)]
        return sorted(found, key=lambda step: step.ended, reverse=True)

    def _owes(self, step: StepAccount) -> bool:
        if step.waived or step.name not in self.undoable:
            return False
        if step.state == "failed":
            return self.definition.steps[step.name].compensate_failed and step.calls.attempt > 0
        return step.state in ("succeeded", "unknown", "compensating", "compensation_failed")

    # --- the record ---

    def add(self, entry: Entry) -> None:
        """Note one more event."""
        self.seq = entry.seq
        self._of_messages(entry.event)
        step = self.step(entry.event)
        if step is not None:
            self._of_step(step, entry)
            if self.state == "started" and type(entry.event) in _BEGINNING:
                self.state = "pending"
        if type(entry.event) in _OF_SAGA:
            self._of_saga(entry)

    def _of_messages(self, event: e.SagaEvent) -> None:
        message_id = message_id_of(event)
        if message_id is not None:
            self.message_ids.add(message_id)
        if isinstance(event, e.SignalReceived):
            self.signals.append(event.name)
        elif isinstance(event, e.StepSucceeded) and event.by == "signal":
            self.signals.remove(self.steps[event.step].waits_for or "")

    def _of_step(self, step: StepAccount, entry: Entry) -> None:
        match entry.event:
            case e.AttemptStarted() as event:
                step.open = (step.open or event.interruption > step.calls.interruption) and event.via == step.via
                step.calls.begin(event.attempt, event.interruption, fresh=event.via != step.via or step.granted)
                step.via, step.state, step.granted, step.waits = event.via, "running", False, None
                step.keys[event.via] = event.idempotency_key
            case e.WaitStarted() as event:
                step.state, step.waits, step.waits_for, step.granted = "running", event.kind, event.name, False
            case e.ReplyAwaited() as event:
                step.calls.live, step.calls.awaits, step.waits = False, True, "child" if event.child else "reply"
            case e.AttemptFailed() as event:
                step.calls.end(event.retry_at)
                step.open = step.open or event.open
            case e.StepSucceeded() | e.StepFailed() | e.StepUnknown() | e.StepSkipped() as event:
                step.state = _ENDS[type(event)]
                step.calls.end()
                step.probes.end()
                step.probes.before = step.probes.attempt
                step.open = step.state == "unknown"
                step.granted, step.waits, step.ended = False, None, entry.seq
            case e.ProbeStarted() as event:
                step.probes.begin(event.attempt, event.interruption, fresh=step.granted)
                step.granted = False
            case e.ProbeFailed() as event:
                step.probes.end(event.retry_at)
            case _:
                self._of_undoing(step, entry.event)

    def _of_undoing(self, step: StepAccount, event: e.SagaEvent) -> None:
        match event:
            case e.CompensationAttemptStarted():
                step.undoing.begin(event.attempt, event.interruption, fresh=step.granted)
                step.state, step.granted = "compensating", False
                step.keys["compensation"] = event.idempotency_key
            case e.CompensationReplyAwaited():
                step.undoing.live, step.undoing.awaits = False, True
            case e.CompensationAttemptFailed():
                step.undoing.end(event.retry_at)
            case e.CompensationFailed():
                step.undoing.end()
                step.state = "compensation_failed"
            case e.StepCompensated():
                step.undoing.end()
                step.state = "compensated"
            case e.CompensationWaived():
                step.waived = True
            case _:
                pass

    def _of_saga(self, entry: Entry) -> None:
        match entry.event:
            case e.SagaStarted() as event:
                self.state, self.deadline, self.is_child = "started", event.deadline, event.parent_id is not None
            case e.AbortRequested() as event:
                self.abort, self.turned = event, self.turned or "abort"
            case e.DeadlineExpired():
                self.turned = self.turned or "deadline"
            case e.CompensationStarted():
                self.state, self.compensating_since = "compensating", entry.seq
                for step in self.steps.values():
                    step.probes.end()
            case e.SagaStuck():
                self.stuck = True
            case e.SagaUnstuck() as event:
                self.stuck, self.granted_at = False, entry.seq
                for name in event.steps:
                    self.steps[name].granted = True
            case e.SagaSuspended():
                self.suspended = True
            case e.SagaResumed():
                self.suspended = False
            case e.SagaCompleted():
                self.state = "completed"
            case e.SagaFailed():
                self.state = "failed"
            case _:
                pass


_BEGINNING = {e.AttemptStarted, e.WaitStarted, e.StepSkipped, e.StepFailed}
_OF_SAGA = frozenset(kind for kind in e.EVENT_TYPES.values() if kind not in _WITH_STEP) | {e.SagaStuck}
_ENDS: Mapping[type[e.SagaEvent], str] = {
    e.StepSucceeded: "succeeded",
    e.StepFailed: "failed",
    e.StepUnknown: "unknown",
    e.StepSkipped: "skipped",
}


def can_be_undone(definition: SagaDefinition, spec: StepDefinition) -> bool:
    """Whether undoing this step is ever due: it has something to undo it, and no pivot lies before it."""
    if not spec.compensatable or lies_after_pivot(definition, spec):
        return False
    return spec.compensation is not None or spec.kind is StepKind.CHILD


def lies_after_pivot(definition: SagaDefinition, spec: StepDefinition) -> bool:
    """Whether the step only starts once the pivot has succeeded."""
    waiting = list(spec.after)
    while waiting:
        before = definition.steps[waiting.pop()]
        if before.pivot:
            return True
        waiting.extend(before.after)
    return False
