"""One saga, run by the pure core through everything that can happen to it, and then brought to its end.

The run plays the runtime (an owner that stores, calls and is told how calls end; writers that do not own the saga; a
successor after a crash) and chooses what happens next. After every step of it the invariants of
``sagafsm.testing.checker`` are asserted; at the end all faults stop, and the saga has to arrive somewhere.
"""

import re

import attrs

from sagafsm.core import commands as c
from sagafsm.core import events as e
from sagafsm.core.codec import decode_snapshot, encode_snapshot
from sagafsm.core.decider import decide, next_wake
from sagafsm.core.definition import SagaDefinition
from sagafsm.core.errors import InvalidInput, PastPivot, SagaFinished
from sagafsm.core.lifecycle import SagaState, StepState
from sagafsm.core.progress import Progress
from sagafsm.core.step import StepDefinition, StepKind
from sagafsm.core.turn import Surroundings
from sagafsm.testing import checker
from sagafsm.testing.checker import Broken
from tests.core.strategies import Choices, definition
from tests.core.world import K, World

REFUSALS = (InvalidInput, PastPivot, SagaFinished)
OUTCOMES = (K.SUCCEEDED, K.FAILED, K.UNKNOWN, K.REJECTED, K.IMPOSSIBLE)
START = 1_000.0


@attrs.define(eq=False)
class Flight:
    """A call that this process is making. ``arrived``: the work was handed over before the call returned."""

    call: c.Call
    arrived: bool = False


class Run:
    def __init__(self, choose: Choices, drawn: SagaDefinition | None = None) -> None:
        self.choose = choose
        self.definition = drawn or definition(choose)
        self.world = World(self.definition)
        self.log = checker.LogChecker(self.definition)
        self.now = START
        self.owned = False
        self.owed = False  # somebody else wrote: the owner still has to look
        self.flights: list[Flight] = []
        self.ghosts: list[c.CallEnded] = []
        self.told: list[str] = []
        self.turns = 0
        self.decisions_with_events = 0
        self.deliveries: set[c.Delivery] = set()
        self.inputs: list[c.Input] = []
        self.message_ids = 0
        conditions = {name: choose.one_of(True, False, "error") for name, s in self.definition.steps.items() if s.when}

        def condition(step: StepDefinition, progress: Progress) -> bool | e.Failure:
            answer = conditions[step.name]
            return e.Failure(type="KeyError", step=step.name) if answer == "error" else answer

        spread = choose.one_of(0.0, 1.0, -1.0)
        self.surroundings = Surroundings(condition=condition, spread=lambda: spread)
        born = e.SagaStarted(
            saga_id="saga",
            saga_type=self.definition.name,
            definition_version=1,
            fingerprint=self.definition.fingerprint,
            steps=tuple(self.definition.steps),
            data=e.NULL,
            correlation_id="saga",
            parent_id="parent" if choose.chance(25) else None,
            deadline=None if self.definition.deadline is None else START + self.definition.deadline,
        )
        self.progress = self.log.see(born, self.now)

    # --- one decision ---

    def give(self, given: c.Input, *, advance: bool = True) -> c.Delivery | None:
        """Decide, store, carry out; None where the input was refused."""
        self.turns += 1
        self.inputs.append(given)
        self.told.append(f"{self.now:g} {'' if advance else '(foreign) '}{given}")
        before, now = self.progress, self.now
        # Where others have written, the owner's append is refused; it reads what is there, and looks at everything.
        anew = advance and self.owed and isinstance(given, c.CallEnded)
        try:
            decision = decide(self.definition, before, given, now, self.surroundings, advance=advance, anew=anew)
        except REFUSALS as refusal:
            if not isinstance(given, (c.AbortAsked, c.RetryAsked, c.SkipAsked, c.SignalArrived, c.UndoAsked)):
                raise Broken("total", f"{given} is refused: {refusal!r}") from refusal
            self.told.append(f"   refused: {refusal}")
            return None
        again = decide(self.definition, before, given, now, self.surroundings, advance=advance, anew=anew)
        checker.check_repeatable(decision, again)
        checker.check_decision(before, decision)
        for event in decision.events:
            self.told.append(f"   {self.log.account.seq + 1} {event}")
            self.progress = self.log.see(event, now)
        if self.progress != decision.progress:
            raise Broken("fold", f"the log folds to {self.progress}, the decision says {decision.progress}")
        self.decisions_with_events += bool(decision.events)
        self.deliveries.add(decision.delivery)
        self._carry_out(decision.commands)
        if not advance:
            if any(isinstance(command, c.Call) for command in decision.commands):
                raise Broken("a foreign writer starts nothing", f"{decision.commands}")
            self.owed = self.owed or bool(decision.events)
        else:
            self.owed = anew and not decision.events  # without an append it has noticed nothing yet
            if self.owned and not self.owed:
                checker.check_rest(self.definition, self.progress, now, self.surroundings)
                checker.check_awake(self.definition, self.progress, now)
                self._check_earlier_calls()
            if not self.flights and (self.wake() is None or self.progress.stuck):
                self.owned = False  # nothing runs here and nothing will by itself: the owner lets it go
        checker.check_bounded(self.log.account)
        return decision.delivery

    def _check_earlier_calls(self) -> None:
        """A call that was given up and made again returns after all: that changes nothing."""
        for name, step in self.progress.steps.items():
            if not step.calling or step.state is not StepState.RUNNING or step.attempts + step.interruptions < 2:
                continue
            attempt, interruption = (
                (step.attempts, step.interruptions - 1) if step.interruptions else (step.attempts - 1, 0)
            )
            call = c.Call(
                step=name, role=c.Role.FORWARD, via=step.via, attempt=attempt, interruption=interruption,
                idempotency_key="",
            )  # fmt: skip
            ended = c.CallEnded(call=call, kind=K.SUCCEEDED)
            if decide(self.definition, self.progress, ended, self.now, self.surroundings).events:
                raise Broken("only the newest call counts", f"{ended} was taken for the end of {step}")

    def _carry_out(self, commands) -> None:
        for command in commands:
            if isinstance(command, c.Call):
                self.flights.append(Flight(command))
            elif isinstance(command, c.CancelCall):
                for flight in [flight for flight in self.flights if flight.call.step == command.step]:
                    self.lose(flight)
            elif command.child_id.startswith("saga:"):
                step = command.child_id.removeprefix("saga:")
                if self.world.children.get(step) == "running":
                    self.world.move_child(step, well=self.choose.chance(20))

    def lose(self, flight: Flight) -> None:
        """A call is cut off: it may have taken effect, may still, or never will; its end is told to nobody."""
        self.flights.remove(flight)
        if not flight.arrived and not self.world.is_child(flight.call.step):
            landing = self.choose.one_of("never", "now", "later")
            if flight.call.role is not c.Role.PROBE:
                self.world.end(flight.call, K.UNKNOWN, landing, hands_over=self.hands_over(flight.call))
        elif self.world.is_child(flight.call.step) and self.choose.chance(50):
            self.world.end_child_call(flight.call, K.SUCCEEDED)
        if self.choose.chance(30):
            self.ghosts.append(c.CallEnded(call=flight.call, kind=self.choose.one_of(*OUTCOMES)))

    def hands_over(self, call: c.Call) -> bool:
        spec = self.definition.steps[call.step]
        handler = spec.forward(call.via) if call.role is c.Role.FORWARD else spec.backward(call.via)
        return call.role is not c.Role.PROBE and handler is not None and handler.awaits_reply

    # --- how calls end ---

    def end_call(self, flight: Flight, kind: c.OutcomeKind, *, advance: bool = True) -> None:
        call, world = flight.call, self.world
        self.flights.remove(flight)
        happened, final = True, self.choose.chance(8)
        if world.is_child(call.step):
            kind = world.end_child_call(call, K.FAILED if kind is K.UNKNOWN else kind)
        elif call.role is c.Role.PROBE:
            happened = world.probe(call) if kind is K.SUCCEEDED else True
            final = final and kind is K.UNKNOWN
        elif flight.arrived:
            kind = kind if kind is K.UNKNOWN else K.SUCCEEDED
        else:
            kind = world.truthful(call, kind)
            landing = self.choose.one_of("now", "later", "never") if kind is K.UNKNOWN else "now"
            world.end(call, kind, landing, hands_over=self.hands_over(call))
        ended = c.CallEnded(call=call, kind=kind, happened=happened, final=final)
        if self.choose.chance(15):
            self.ghosts.append(ended)
        self.give(ended, advance=advance)

    def deliver(self, message: c.ReplyArrived, *, keep: bool = False) -> None:
        if not keep:
            self.world.messages.remove(message)
        self.give(message, advance=self.owned)

    def finish(self, job, kind: c.OutcomeKind) -> None:
        self.message_ids += 1
        message_id = f"m{self.message_ids}" if self.choose.chance(50) else None
        self.world.finish(job, kind, message_id, name_attempt=self.choose.chance(50))

    # --- ownership ---

    def claim(self, reload_at: int | None = None) -> None:
        """A worker takes the saga up from its log, or from a snapshot and the events after it."""
        if reload_at is not None:
            checker.check_replay(self.log.entries, [reload_at])
        self.progress = decode_snapshot("saga", encode_snapshot(self.progress))
        self.owned = True
        self.give(c.TakenOver())

    def crash(self) -> None:
        for flight in list(self.flights):
            self.lose(flight)
        self.owned, self.owed = False, True

    def wake(self) -> float | None:
        return next_wake(self.definition, self.progress, self.now)

    def news(self, step: str) -> c.Input | None:
        """What the parent is to be told of its child; None where it does not wait for news."""
        told, child = self.progress.steps[step], self.world.children.get(step)
        if child is None or not (told.waiting == "child" or told.calling):
            return None
        backward = told.state is StepState.COMPENSATING
        if child == "failed":
            kind = K.SUCCEEDED if backward else K.REJECTED
            return c.ReplyArrived(step=step, kind=kind, backward=backward, by="child")
        if child == "completed" and not backward:
            return c.ReplyArrived(step=step, kind=K.SUCCEEDED, by="child")
        if step in self.world.stuck_children and not self.progress.stuck:
            return c.ChildStuck(step=step, child_id=f"saga:{step}", reason=f"{step} needs a person")
        if step not in self.world.stuck_children and self.progress.stuck_child == f"saga:{step}":
            return c.ChildUnstuck(step=step, child_id=f"saga:{step}")
        return None

    @property
    def held(self) -> list[str]:
        return [
            name
            for name, step in self.progress.steps.items()
            if step.state in (StepState.UNKNOWN, StepState.FAILED, StepState.COMPENSATION_FAILED) or step.halted
        ]

    @property
    def ended(self) -> bool:
        return self.progress.state.terminal

    def signals_wanted(self) -> list[str]:
        return [
            spec.signal or ""
            for name, spec in self.definition.steps.items()
            if spec.kind is StepKind.SIGNAL and self.progress.steps[name].state is StepState.RUNNING
        ]

    def story(self) -> str:
        steps = "\n".join(f"  {_facts(spec)}" for spec in self.definition.steps.values())
        return f"{self.definition}\n{steps}\n" + "\n".join(self.told)


_NOISE = re.compile(r"function=<function (\w+)[^>]*>|, (arguments|is_async|input_type|result_type)=[^,]*")


def _facts(spec: StepDefinition) -> str:
    facts = attrs.asdict(spec, recurse=False).items()
    return _NOISE.sub("", " ".join(f"{name}={value}" for name, value in facts if value not in (None, ())))


__all__ = ["OUTCOMES", "START", "Flight", "Run", "SagaState"]
