"""One move played: the real core decides, its events are held against every law, and the world keeps its own books.

What must stay true: the decider, the fold and the laws are the library's own, called as the runtime calls them; the
model only plays the owner (which stores, calls and is told how calls end), other writers, and the participants.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NoReturn

import attrs
from msgspec.structs import replace

from ...core import commands as c
from ...core import events as e
from ...core.decider import decide, next_wake
from ...core.decision import Decision
from ...core.definition import SagaDefinition
from ...core.errors import InvalidInput, PastPivot, SagaFinished, StoreCorrupt
from ...core.fold import evolve
from ...core.lifecycle import SagaState, StepState
from ...core.progress import Progress
from ...core.step import StepDefinition
from ...core.turn import Surroundings
from ..account import Account, Entry
from ..checker import check_awake, check_decision, check_fold_agrees, check_rest
from ..laws import LAWS, Broken
from .bounds import Bounds
from .moves import Move, held
from .state import NOW, State, copied, fallen_due, put_off
from .world import World

Answer = bool | None  # what a step's condition says; None: it raises
REFUSALS = (InvalidInput, PastPivot, SagaFinished)
WHO = {"actor": "somebody", "reason": "decided"}


class Refused(Exception):
    """The saga does not take this now, and says so: nothing changed."""


@attrs.frozen(kw_only=True)
class Played:
    """What a move led to. ``answers``: what the conditions said that were asked for, by step, in order."""

    state: State
    move: Move
    answers: tuple[tuple[str, Answer], ...] = ()
    events: Sequence[e.SagaEvent] = ()

    @property
    def faults(self) -> int:
        """How many things went wrong."""
        return self.move.fault + sum(answer is None for _, answer in self.answers)


class Failed(AssertionError):
    """A move that broke a law: ``broken`` says which, ``played`` how far it came."""

    def __init__(self, broken: Exception, played: Played) -> None:
        super().__init__(str(broken))
        self.broken = broken
        self.played = played


def play(definition: SagaDefinition, state: State, move: Move, bounds: Bounds) -> Iterator[Played]:
    """What a move can lead to: one outcome for each way in which the conditions that are asked for can answer.

    Raises Failed where it breaks a law.
    """
    planned: list[tuple[str, Answer]] = []
    while True:
        table = Table(definition, state, move, bounds, planned)
        try:
            yield table.play()
        except Refused:
            return
        asked = table.answers
        while asked and asked[-1][1] is None:
            asked.pop()
        if not asked:
            return
        step, answer = asked[-1]
        planned = [*asked[:-1], (step, False if answer else None)]


class Table:
    """One move under way."""

    def __init__(
        self,
        definition: SagaDefinition,
        state: State,
        move: Move,
        bounds: Bounds,
        planned: Sequence[tuple[str, Answer]] = (),
    ) -> None:
        self.definition = definition
        self.state = state
        self.move = move
        self.bounds = bounds
        self.progress: Progress = state.progress
        self.account: Account = copied(state.account, ())
        self.own: set[str] = set()  # the steps of the account that are this move's own
        self.flights = list(state.flights)
        self.ghosts: list[c.Call] = []
        self.asleep, self.owed = state.asleep, state.owed
        self.world = World(definition, state.current, state.earlier)
        self.events: list[e.SagaEvent] = []
        self.answers: list[tuple[str, Answer]] = []
        self._planned = list(planned)
        self._surroundings = Surroundings(condition=self._condition)

    def _condition(self, step: StepDefinition, progress: Progress) -> bool | e.Failure:
        known = dict(self.answers)
        if step.name not in known:
            place = len(self.answers)
            answer: Answer = self._planned[place][1] if place < len(self._planned) else True
            self.answers.append((step.name, answer))
            known[step.name] = answer
        found = known[step.name]
        return e.Failure(type="ConditionFailed", step=step.name) if found is None else found

    # --- the move ---

    def play(self) -> Played:
        """The move, and everything that is checked after it. Raises Failed and Refused."""
        try:
            self._move()
            self.world.check(self.progress)
            self._check_closed()
            progress = self.progress
            self._account_of(progress.steps)
            if self.move.kind == "timer" or self.events:
                progress = put_off(progress, self.account)
        except Refused:
            raise
        except (AssertionError, StoreCorrupt, LookupError, TypeError, ValueError, AttributeError) as broken:
            raise Failed(broken, self._played(self.progress)) from broken
        return self._played(progress)

    def _played(self, progress: Progress) -> Played:
        state = State(
            progress=progress,
            account=self.account,
            flights=tuple(sorted(self.flights, key=lambda call: call.step)),
            asleep=self.asleep,
            owed=self.owed,
            current=frozenset(self.world.current),
            earlier=frozenset(self.world.earlier),
        )
        return Played(state=state, move=self.move, answers=tuple(self.answers), events=self.events)

    def _move(self) -> None:
        move = self.move
        match move.kind:
            case "begin":
                self.asleep = False
                self.give(c.Begin())
            case "look":
                self.owed = False
                self.give(c.Tick() if self.flights else c.TakenOver())
            case "end":
                self._end()
            case "crash":
                self._crash()
            case "timer":
                self.progress, self.account = fallen_due(self.state, move.step)
                self.own.add(move.step)
                self._wake()
            case "deadline":
                self.progress = replace(self.progress, deadline=NOW)
                self.account.deadline = NOW
                self._wake()
            case "signal":
                self._say(c.SignalArrived(name=move.how, message_id=self._message_id()))
            case "reply":
                self._reply()
            case "abort":
                cut, compensate = move.how == "cut", move.how != "waive"
                self._say(c.AbortAsked(reason="decided", actor="somebody", cut=cut, compensate=compensate))
            case "suspend":
                self._say(c.SuspendAsked(**WHO))
            case "resume":
                self._say(c.ResumeAsked(**WHO))
            case "retry":
                self._say(c.RetryAsked(**WHO))
            case "skip":
                self._say(c.SkipAsked(step=move.step, **WHO))
            case "child stuck":
                self._say(c.ChildStuck(step=move.step, child_id=self._child(), reason=f"{move.step} needs a person"))
            case "child unstuck":
                self._say(c.ChildUnstuck(step=move.step, child_id=self._child()))

    def _child(self) -> str:
        return f"{self.progress.saga_id}:{self.move.step}"

    def _message_id(self) -> str | None:
        return f"m{self.progress.version}" if self.bounds.duplicates else None

    def _end(self) -> None:
        move = self.move
        call = next(one for one in self.flights if (one.step, one.role) == (move.step, move.role))
        self.flights.remove(call)
        happened = move.how != "did not happen"
        self.world.said(move.step, call.via, call.role, move.outcome, happened=happened, call=True)
        ended = c.CallEnded(call=call, kind=move.outcome, happened=happened)
        anew, self.owed = self.owed, False  # a refused append makes the owner read first, and look at everything
        self.give(ended, anew=anew)
        self.ghosts.append(call)
        self._check_ghosts()

    def _crash(self) -> None:
        for call in self.flights:
            self.world.lost(call)
        self.flights, self.owed = [], False
        self.give(c.TakenOver())

    def _wake(self) -> None:
        wake = next_wake(self.definition, self.progress, NOW)
        if self.move.kind == "timer" and (wake is None or wake > NOW):
            raise Broken("no lost wake-up", f"{self.move.step} has fallen due, but the saga is woken at {wake}")
        self.give(c.Tick() if self.flights else c.TakenOver())

    def _reply(self) -> None:
        move, step = self.move, self.progress.steps[self.move.step]
        backward = move.role is c.Role.BACKWARD
        self.world.said(move.step, step.via, move.role, move.outcome, call=False)
        child = move.how == "child"
        attempt = None if child else step.compensation_attempts if backward else step.attempts
        self._say(
            c.ReplyArrived(
                step=move.step,
                kind=move.outcome,
                backward=backward,
                attempt=attempt,
                message_id=None if child else self._message_id(),
                by="child" if child else "reply",
            )
        )

    # --- telling the core ---

    def _say(self, given: c.Input) -> None:
        """Say something from outside: through the owner; or past it, and then it looks."""
        message_id = getattr(given, "message_id", None)
        before = self.progress
        if self.flights and not self.move.foreign:
            self.give(given)
        else:
            self.give(given, advance=False)
            if self.flights:
                self.owed = self.progress is not before
            elif self.progress is not before and not (self.asleep and self.progress.abort is None):
                self.asleep = False
                self.give(c.TakenOver())
        if self.progress is before:
            raise Refused
        if message_id is not None:
            self._check_nothing(given, c.Delivery.DUPLICATE)
        self._check_ghosts()

    def give(self, given: c.Input, *, advance: bool = True, anew: bool = False) -> None:
        """Decide, hold against the laws, carry out."""
        before = self.progress
        try:
            decision = decide(self.definition, before, given, NOW, self._surroundings, advance=advance, anew=anew)
        except REFUSALS as refusal:
            if not isinstance(given, (c.AbortAsked, c.RetryAsked, c.SkipAsked)):
                raise Broken("total", f"{given} is refused: {refusal!r}") from refusal
            raise Refused from refusal
        check_decision(before, decision)
        self._see(decision)
        if self.progress != decision.progress:
            raise Broken("fold agrees", f"the log folds to {self.progress}, the decision says {decision.progress}")
        self._carry_out(decision)
        if advance:
            self._check_rest()
        elif any(isinstance(command, c.Call) for command in decision.commands):
            raise Broken("a foreign writer starts nothing", f"{decision.commands}")

    def _see(self, decision: Decision) -> None:
        for event in decision.events:
            steps = getattr(event, "steps", ()) or ((step,) if (step := getattr(event, "step", None)) else ())
            self._account_of(self.progress.steps if isinstance(event, e.CompensationStarted) else steps)
            entry = Entry(self.account.seq + 1, NOW, event)
            for law in LAWS:
                law(self.account, entry)
            self.account.add(entry)
            self.progress = evolve(self.progress, event, NOW)
            self.events.append(event)
        if decision.events:
            check_fold_agrees(self.account, self.progress)

    def _account_of(self, steps: object) -> None:
        """Make these steps of the account this move's own, before they change."""
        missing = [name for name in steps if name not in self.own and name in self.account.steps]  # type: ignore[attr-defined]
        if missing:
            self.account = copied(self.account, missing)
            self.own.update(missing)

    def _carry_out(self, decision: Decision) -> None:
        for command in decision.commands:
            if isinstance(command, c.Call):
                self.flights.append(command)
                self.world.begins(command)
            elif isinstance(command, c.CancelCall):
                for call in [one for one in self.flights if one.step == command.step]:
                    self.flights.remove(call)
                    self.ghosts.append(call)
                    self.world.lost(call)
        for call in [one for one in self.flights if not self._wanted(one)]:
            self.flights.remove(call)
            self.ghosts.append(call)

    def _wanted(self, call: c.Call) -> bool:
        """Whether the saga still waits for the end of this call."""
        step = self.progress.steps[call.step]
        if call.role is c.Role.PROBE:
            return step.probing and (step.probes, step.probe_interruptions) == (call.attempt, call.interruption)
        if call.role is c.Role.BACKWARD:
            told = (step.state, step.compensation_attempts, step.compensation_interruptions)
            return step.calling and told == (StepState.COMPENSATING, call.attempt, call.interruption)
        told = (step.state, step.attempts, step.interruptions)
        return step.calling and told == (StepState.RUNNING, call.attempt, call.interruption)

    # --- what must hold ---

    def _check_rest(self) -> None:
        asked = len(self.answers)
        check_rest(self.definition, self.progress, NOW, self._surroundings)
        check_awake(self.definition, self.progress, NOW)
        del self.answers[asked:]
        progress = self.progress
        if progress.state.terminal and self.flights:
            _broken("terminal sagas rest", f"calls of {[call.step for call in self.flights]} run on")
        calling = {name for name, step in progress.steps.items() if step.calling or step.probing}
        lost = calling - {call.step for call in self.flights}
        if lost and not (progress.stuck or progress.suspended or progress.abort is not None):
            _broken("no lost call", f"{sorted(lost)} count as being called, but nobody calls them")
        if progress.stuck and progress.stuck_child is None and not held(progress):
            _broken("stuck is explained", f"stuck ({progress.stuck_reason}), but nothing holds it up")

    def _check_ghosts(self) -> None:
        """What comes twice, or too late, changes nothing."""
        if not self.bounds.duplicates or self.owed:
            return
        for call in self.ghosts:
            for kind in (c.OutcomeKind.SUCCEEDED, c.OutcomeKind.REJECTED):
                self._check_nothing(c.CallEnded(call=call, kind=kind))
        for name in self.own:
            step, spec = self.progress.steps[name], self.definition.steps[name]
            if step.calling and step.state is StepState.RUNNING and step.attempts > 1:
                earlier = _call(name, step.via, step.attempts - 1)
                for kind in (c.OutcomeKind.SUCCEEDED, c.OutcomeKind.REJECTED):
                    self._check_nothing(c.CallEnded(call=earlier, kind=kind), advance=True)
            action = spec.action
            if action is not None and action.awaits_reply and step.attempts:
                late = c.ReplyArrived(step=name, kind=c.OutcomeKind.SUCCEEDED, attempt=step.attempts + 1)
                self._check_nothing(late)
                self._check_nothing(replace(late, attempt=step.attempts - 1))

    def _check_closed(self) -> None:
        """What has ended takes nothing more; "not this time" does not settle what may have happened at another time."""
        progress = self.progress
        if progress.state.terminal:
            for given in (c.Tick(), c.TakenOver(), c.SuspendAsked(**WHO), c.ResumeAsked(**WHO), c.RetryAsked(**WHO)):
                self._check_nothing(given)
        elif progress.stuck and progress.state is SagaState.PENDING:
            for name, step in progress.steps.items():
                if step.state is StepState.UNKNOWN:
                    self._check_nothing(c.ReplyArrived(step=name, kind=c.OutcomeKind.FAILED))

    def _check_nothing(self, given: c.Input, delivery: c.Delivery | None = None, *, advance: bool = False) -> None:
        decision = decide(self.definition, self.progress, given, NOW, self._surroundings, advance=advance)
        if decision.events or decision.commands or (delivery is not None and decision.delivery is not delivery):
            _broken(
                "late and double changes nothing",
                f"{given} came late or twice, and led to {list(decision.events)} ({decision.delivery.value})",
            )


def _call(step: str, via: str, attempt: int) -> c.Call:
    return c.Call(step=step, role=c.Role.FORWARD, via=via, attempt=attempt, interruption=0, idempotency_key="")


def _broken(law: str, problem: str) -> NoReturn:
    raise Broken(law, problem)


__all__ = ["Answer", "Failed", "Played", "play"]
