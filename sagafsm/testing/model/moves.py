"""What can happen to a saga in one state: every end of every call under way, every message, timer, crash and verb.

What must stay true: a move is plain data, so a path can be told, played again and written down as a test; it is a
fault unless it is what happens where nothing goes wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import attrs

from ...core.commands import OutcomeKind, Role
from ...core.definition import SagaDefinition
from ...core.lifecycle import SagaState, StepState
from ...core.progress import Progress, StepProgress
from ...core.step import StepKind
from .bounds import Bounds
from .state import NOW, State

K = OutcomeKind
Kind = Literal[
    "begin", "look", "end", "crash", "timer", "deadline", "reply", "signal", "abort", "suspend", "resume", "retry",
    "skip", "child stuck", "child unstuck",
]  # fmt: skip

PERSONS: frozenset[Kind] = frozenset({"abort", "retry", "skip", "resume"})  # what a person does about a saga
_SAID = {
    K.SUCCEEDED: "succeeds",
    K.FAILED: "fails, and did not happen",
    K.REJECTED: "is rejected",
    K.UNKNOWN: "times out, or its answer is lost: it may have happened",
    K.IMPOSSIBLE: "cannot be called",
}
_ABORTS = {
    "": "somebody aborts",
    "cut": "somebody aborts and cuts running calls short",
    "waive": "somebody aborts and lets everything stand as it is",
}


@attrs.frozen(kw_only=True)
class Move:
    """One thing that happens. ``how`` is a variant of it; ``foreign``: told by a process that does not own the saga."""

    kind: Kind
    step: str = ""
    role: Role = Role.FORWARD
    via: str = "action"
    outcome: OutcomeKind = K.SUCCEEDED
    how: str = ""
    foreign: bool = False
    fault: bool = False

    @property
    def text(self) -> str:
        """What happens, in words."""
        what = {
            Role.FORWARD: self.step if self.via == "action" else f"the fallback of {self.step}",
            Role.PROBE: f"the probe of {self.step}",
            Role.BACKWARD: f"the compensation of {self.step}",
        }[self.role]
        elsewhere = " (said in another process)" if self.foreign else ""
        match self.kind:
            case "begin":
                return "the saga begins"
            case "look":
                return "its owner sees what was said elsewhere"
            case "end" if self.role is Role.PROBE:
                return f"{what} {'says that it ' + self.how if self.how else 'cannot tell'}"
            case "end":
                return f"{what} {_SAID[self.outcome]}"
            case "crash":
                return "the process dies, and another takes the saga up"
            case "timer":
                return f"{what}: {self.how}"
            case "deadline":
                return "the deadline passes"
            case "reply":
                whose = "the sub-saga of " if self.how == "child" else "the reply to "
                said = {K.SUCCEEDED: "has completed" if self.how == "child" else "says that it is done"}
                if self.role is Role.BACKWARD and self.how == "child":
                    said = {K.SUCCEEDED: "is undone"}
                said[K.REJECTED] = "has failed" if self.how == "child" else "says that it did not happen, and will not"
                said[K.FAILED] = "says that it did not happen this time"
                return f"{whose}{what} {said[self.outcome]}{elsewhere}"
            case "signal":
                return f"the signal {self.how!r} comes{elsewhere}"
            case "abort":
                return f"{_ABORTS[self.how]}{elsewhere}"
            case "suspend":
                return f"somebody suspends the saga{elsewhere}"
            case "resume":
                return "somebody lets it go on"
            case "retry":
                return "a person grants new attempts"
            case "skip":
                return f"a person skips {self.step}"
            case "child stuck":
                return f"the sub-saga of {self.step} gets stuck"
            case "child unstuck":
                return f"the sub-saga of {self.step} goes on"


def moves(definition: SagaDefinition, state: State, bounds: Bounds) -> Iterator[Move]:
    """Everything that can happen in this state."""
    p = state.progress
    if p.state.terminal:
        return
    if state.asleep and p.abort is None:
        yield Move(kind="begin")
    if state.owed:  # whatever else comes now could have come before it
        yield Move(kind="look")
        yield from _ends(definition, state, bounds)
        if bounds.crashes:
            yield Move(kind="crash", fault=True)
        return
    yield from _ends(definition, state, bounds)
    if bounds.crashes and state.flights:
        yield Move(kind="crash", fault=True)
    yield from _timers(p, state)
    for move in _told(definition, p, bounds):
        yield move
        if state.flights and move.kind not in ("child stuck", "child unstuck"):
            yield attrs.evolve(move, foreign=True)


# --- calls ---


def _ends(definition: SagaDefinition, state: State, bounds: Bounds) -> Iterator[Move]:
    for call in state.flights:
        common: dict[str, Any] = {"kind": "end", "step": call.step, "role": call.role, "via": call.via}
        if call.role is Role.PROBE:
            yield Move(**common, how="happened")
            yield Move(**common, how="did not happen", fault=True)
            yield Move(**common, outcome=K.UNKNOWN, fault=True)
            continue
        kinds = [K.FAILED, K.REJECTED, K.UNKNOWN]
        if definition.steps[call.step].kind is StepKind.CHILD:
            kinds = [K.FAILED, K.REJECTED]  # creating a child, or asking for its undoing, leaves nothing open
        yield Move(**common)
        for kind in [*kinds, *([K.IMPOSSIBLE] if bounds.unreadable else [])]:
            yield Move(**common, outcome=kind, fault=True)


# --- time ---


def _timers(p: Progress, state: State) -> Iterator[Move]:
    if p.deadline is not None and p.deadline != NOW and not state.asleep and p.state is not SagaState.COMPENSATING:
        yield Move(kind="deadline", fault=True)
    if p.suspended or (p.stuck and not state.flights):
        return
    for name, step in p.steps.items():
        if step.due_at is None:
            continue
        role = Role.BACKWARD if step.state is StepState.COMPENSATING else Role.FORWARD
        said = {
            "backoff": "the wait before its next attempt is over",
            "sleep": "it has slept long enough",
            "signal": "the signal does not come in time",
            "reply": "the reply does not come in time: it may have happened",
        }[step.waiting or "backoff"]
        if step.state is StepState.UNKNOWN:
            role = Role.PROBE
        fault = step.waiting in ("signal", "reply")
        yield Move(kind="timer", step=name, role=role, via=step.via, how=said, fault=fault)


# --- what is said to it ---


def _told(definition: SagaDefinition, p: Progress, bounds: Bounds) -> Iterator[Move]:
    for name, step in p.steps.items():
        yield from _replies(definition, p, name, step)
    yield from _signals(definition, p)
    if bounds.aborts and p.state is not SagaState.COMPENSATING:
        if p.abort is None:
            yield Move(kind="abort", fault=True)
            yield Move(kind="abort", how="waive", fault=True)
        if p.abort is None or not p.abort.cut:
            yield Move(kind="abort", how="cut", fault=True)
    if p.suspended:
        yield Move(kind="resume")
    elif bounds.suspensions:
        yield Move(kind="suspend", fault=True)
    if p.stuck and p.stuck_child is None:
        yield Move(kind="retry", fault=True)
        for name in held(p):
            yield Move(kind="skip", step=name, fault=True)


def held(p: Progress) -> list[str]:
    """The steps that a person may have to decide about."""
    return [
        name
        for name, step in p.steps.items()
        if (step.state is StepState.COMPENSATION_FAILED and not step.waived)
        or step.state in (StepState.UNKNOWN, StepState.FAILED)
        or step.halted
    ]


def _replies(definition: SagaDefinition, p: Progress, name: str, step: StepProgress) -> Iterator[Move]:
    spec = definition.steps[name]
    backward = step.state is StepState.COMPENSATING
    role = Role.BACKWARD if backward else Role.FORWARD
    common: dict[str, Any] = {"kind": "reply", "step": name, "role": role, "via": step.via}
    if spec.kind is StepKind.CHILD:
        if not (step.waiting == "child" and step.state in (StepState.RUNNING, StepState.COMPENSATING)):
            return
        if not p.stuck:
            yield Move(kind="child stuck", step=name, fault=True)
        elif p.stuck_step == name and p.stuck_child is not None:
            yield Move(kind="child unstuck", step=name)
            return
        yield Move(**common, how="child")
        if not backward:
            yield Move(**common, how="child", outcome=K.REJECTED, fault=True)
        return
    handler = spec.backward(step.via) if backward else spec.forward(step.via)
    waits = handler is not None and handler.awaits_reply and (step.calling or step.waiting == "reply")
    settles = p.stuck and p.state is SagaState.PENDING and step.state is StepState.UNKNOWN
    if not (settles or (waits and step.state in (StepState.RUNNING, StepState.COMPENSATING))):
        return
    yield Move(**common, fault=settles)
    yield Move(**common, outcome=K.REJECTED, fault=True)
    if not settles:
        yield Move(**common, outcome=K.FAILED, fault=True)


def _signals(definition: SagaDefinition, p: Progress) -> Iterator[Move]:
    if p.state is SagaState.COMPENSATING:
        return
    wanted: dict[str, list[StepProgress]] = {}
    for name, spec in definition.steps.items():
        step = p.steps[name]
        if spec.signal is not None and step.state in (StepState.WAITING, StepState.RUNNING):
            wanted.setdefault(spec.signal, []).append(step)
    for signal, steps in wanted.items():
        kept = sum(one.name == signal for one in p.signals)
        if kept < len(steps):
            early = all(step.state is StepState.WAITING for step in steps)
            yield Move(kind="signal", how=signal, fault=early)
