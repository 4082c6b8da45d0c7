"""A saga played by hand: readable examples of what the pure core decides.

Steps are called by name, with ``~`` before a compensation and ``?`` before a probe; every decision is also held
against all invariants.
"""

import warnings
from typing import Any

import msgspec

from sagafsm.core import commands as c
from sagafsm.core import events as e
from sagafsm.core.codec import decode_snapshot, encode_snapshot
from sagafsm.core.decider import decide, next_wake
from sagafsm.core.declaration import Compensation, Fallback, Parallel, Sequence, Sleep, Step, SubSaga, WaitFor
from sagafsm.core.definition import SagaDefinition
from sagafsm.core.errors import DefinitionWarning
from sagafsm.core.retry import RetryPolicy
from sagafsm.core.turn import Surroundings
from sagafsm.testing import checker
from tests.core.strategies import act, holds, look, other_way, undo

K = c.OutcomeKind
ONCE = RetryPolicy(max_attempts=1)
TWICE = RetryPolicy(max_attempts=2, initial_interval=10, jitter=0)
WHO = {"actor": "ann", "reason": "looked into it"}


def step(name: str, **options: Any) -> Step:
    """A step that is tried once, and can be undone unless it says otherwise."""
    options.setdefault("retry", ONCE)
    if not options.get("pivot") and options.get("compensatable", True):
        options.setdefault("compensation", Compensation(undo, retry=ONCE))
    return Step(name, act, **options)


class Script:
    """One saga and what is told to it. ``running``: the calls under way; ``called``: every call there was."""

    def __init__(self, *steps: Any, when: Any = True, data: Any = None, parent: str | None = None, **options: Any):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DefinitionWarning)
            self.definition = SagaDefinition(name="Example", steps=steps, **options)
        self.surroundings = Surroundings(condition=lambda spec, progress: when)
        self.log = checker.LogChecker(self.definition)
        self.now = 0.0
        self.calls: dict[str, c.Call] = {}
        self.called: list[str] = []
        self.cancelled: list[str] = []
        self.aborted_children: list[str] = []
        self.appends = 0
        born = e.SagaStarted(
            saga_id="saga", saga_type="Example", definition_version=1, fingerprint=self.definition.fingerprint,
            steps=tuple(self.definition.steps), data=msgspec.Raw(msgspec.json.encode(data)), correlation_id="saga",
            parent_id=parent, deadline=self.definition.deadline,
        )  # fmt: skip
        self.progress = self.log.see(born, self.now)

    # --- what happens ---

    def tell(self, given: c.Input, *, advance: bool = True) -> c.Delivery:
        decision = decide(self.definition, self.progress, given, self.now, self.surroundings, advance=advance)
        checker.check_decision(self.progress, decision)
        for event in decision.events:
            self.progress = self.log.see(event, self.now)
        assert self.progress == decision.progress
        self.appends += bool(decision.events)
        for command in decision.commands:
            if isinstance(command, c.Call):
                self.calls[_name(command)] = command
                self.called.append(_name(command))
            elif isinstance(command, c.CancelCall):
                self.cancelled.append(command.step)
                self.calls.pop(command.step, None)
            else:
                self.aborted_children.append(command.child_id)
        if advance:
            checker.check_awake(self.definition, self.progress, self.now)
        return decision.delivery

    def begin(self) -> "Script":
        self.tell(c.Begin())
        return self

    def ends(self, *names: str, kind: c.OutcomeKind = K.SUCCEEDED, **facts: Any) -> "Script":
        for name in names:
            self.tell(c.CallEnded(call=self.calls.pop(name), kind=kind, **facts))
        return self

    def ok(self, *names: str, result: Any = None) -> "Script":
        return self.ends(*names, result=msgspec.Raw(msgspec.json.encode(result)))

    def fails(self, name: str) -> "Script":
        return self.ends(name, kind=K.FAILED)

    def rejects(self, name: str) -> "Script":
        return self.ends(name, kind=K.REJECTED)

    def lost(self, name: str) -> "Script":
        """Nobody can tell how the call ended: it timed out, or its connection broke."""
        return self.ends(name, kind=K.UNKNOWN)

    def answers(self, name: str, *, happened: bool) -> "Script":
        return self.ends(f"?{name}", happened=happened)

    def crash(self) -> "Script":
        """The process dies and another takes the saga up, from its snapshot."""
        self.calls.clear()
        self.progress = decode_snapshot("saga", encode_snapshot(self.progress))
        self.tell(c.TakenOver())
        return self

    def passes(self, seconds: float) -> "Script":
        self.now += seconds
        self.tell(c.Tick())
        return self

    def reply(self, name: str, kind: c.OutcomeKind = K.SUCCEEDED, **facts: Any) -> c.Delivery:
        return self.tell(c.ReplyArrived(step=name, kind=kind, **facts))

    def signal(self, name: str, message_id: str | None = None) -> c.Delivery:
        return self.tell(c.SignalArrived(name=name, message_id=message_id))

    def abort(self, **how: Any) -> "Script":
        self.tell(c.AbortAsked(reason="changed our mind", actor="ann", **how))
        return self

    def retry(self) -> "Script":
        self.tell(c.RetryAsked(**WHO))
        return self

    def skip(self, name: str) -> "Script":
        self.tell(c.SkipAsked(step=name, **WHO))
        return self

    def suspend(self) -> "Script":
        self.tell(c.SuspendAsked(**WHO))
        return self

    def resume(self) -> "Script":
        self.tell(c.ResumeAsked(**WHO))
        return self

    # --- where it stands ---

    @property
    def state(self) -> str:
        """The saga's state, with its outcome or with what holds it up."""
        progress = self.progress
        told = progress.state.value
        if progress.outcome:
            told += f" ({progress.outcome})"
        return told + (", stuck" if progress.stuck else "") + (", suspended" if progress.suspended else "")

    def at(self, name: str) -> str:
        return self.progress.steps[name].state.value

    @property
    def running(self) -> list[str]:
        return sorted(self.calls)

    @property
    def wake(self) -> float | None:
        return next_wake(self.definition, self.progress, self.now)

    @property
    def events(self) -> list[str]:
        return [type(entry.event).__name__ for entry in self.log.entries]

    def last(self, kind: type[Any]) -> Any:
        return next(entry.event for entry in reversed(self.log.entries) if isinstance(entry.event, kind))


def _name(call: c.Call) -> str:
    return {c.Role.FORWARD: "", c.Role.PROBE: "?", c.Role.BACKWARD: "~"}[call.role] + call.step


__all__ = [
    "ONCE", "TWICE", "WHO", "Compensation", "Fallback", "K", "Parallel", "RetryPolicy", "Script", "Sequence", "Sleep",
    "Step", "SubSaga", "WaitFor", "act", "holds", "look", "other_way", "step", "undo",
]  # fmt: skip
