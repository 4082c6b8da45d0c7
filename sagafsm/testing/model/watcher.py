"""What is noted while a saga is explored, and what it means for the user.

What must stay true: "never" is only said of a saga of which everything was explored; what a definition says by itself
(a wait without a timeout) is read from it, not explored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import attrs

from ...core import events as e
from ...core.commands import Role
from ...core.definition import SagaDefinition
from ...core.durations import span
from ...core.instance import SagaInstance
from ...core.lifecycle import SagaState, StepState
from ...core.progress import Progress
from ...core.step import StepKind
from .explore import Exploration
from .play import Answer, Played
from .state import summary
from .verdict import Level

Rule: TypeAlias = Callable[[SagaInstance], object]


@attrs.frozen(kw_only=True)
class Found:
    """A finding, and the number of the state that shows it."""

    level: Level
    about: str
    what: str
    step: str | None = None
    state: int | None = None


class RuleBroken(AssertionError):
    """A rule of the user does not hold."""

    def __init__(self, rule: Any, problem: str = "") -> None:
        name: str = getattr(rule, "__name__", repr(rule))
        super().__init__(f"the rule {name} does not hold{f': {problem}' if problem else ''}")
        self.rule = rule


class Watcher:
    """Sees every transition."""

    def __init__(self, definition: SagaDefinition, rules: Sequence[Rule]) -> None:
        self.endings: Counter[str] = Counter()
        self._definition = definition
        self._rules = rules
        self._seen: set[int] = set()
        self._begun: set[str] = set()
        self._roles: set[tuple[str, Role | str]] = set()
        self._answers: set[tuple[str, Answer]] = set()
        self._stuck: dict[tuple[str | None, str], int] = {}
        self._stands: dict[tuple[str, StepState], int] = {}

    def __call__(self, number: int, played: Played) -> None:
        """Note what a transition showed. Raises RuleBroken."""
        for event in played.events:
            if isinstance(event, (e.AttemptStarted, e.WaitStarted)):
                self._begun.add(event.step)
                if isinstance(event, e.AttemptStarted) and event.via == "fallback":
                    self._roles.add((event.step, "fallback"))
            elif isinstance(event, e.CompensationAttemptStarted):
                self._roles.add((event.step, Role.BACKWARD))
            elif isinstance(event, e.ProbeStarted):
                self._roles.add((event.step, Role.PROBE))
        self._answers.update(played.answers)
        if number in self._seen:
            return
        self._seen.add(number)
        progress = played.state.progress
        for rule in self._rules:
            _hold(rule, progress, self._definition)
        if progress.stuck:
            self._stuck.setdefault((progress.stuck_step, self._why(progress)), number)
        if progress.stuck or progress.state.terminal:
            self.endings[summary(progress)] += 1
        if progress.state is SagaState.FAILED:
            for name, step in progress.steps.items():
                stands = step.state in (StepState.SUCCEEDED, StepState.UNKNOWN) and not step.waived
                if stands and self._definition.steps[name].kind in (StepKind.ACTION, StepKind.CHILD):
                    self._stands.setdefault((name, step.state), number)

    def _why(self, progress: Progress) -> str:
        if progress.stuck_child is not None:
            return "child"
        step = progress.steps.get(progress.stuck_step or "")
        return "" if step is None else "halted" if step.halted and not step.probes else step.state.value

    # --- what it means ---

    def findings(self, exploration: Exploration, *, complete: bool) -> Iterator[Found]:
        """Everything to be told of the saga."""
        yield from self._endless(exploration)
        if complete:
            yield from self._never()
        yield from self._ends_stuck()
        yield from self._what_stands()
        yield from _waits_for_ever(self._definition)
        yield from _deadline(self._definition)

    def _endless(self, exploration: Exploration) -> Iterator[Found]:
        never = exploration.never_ending()
        if never is not None:
            what = "it never ends: nothing goes wrong any more, and yet it comes to no end and to no person"
            yield Found(level="problem", about="every path ends", what=what, state=never)
        hopeless = exploration.hopeless()
        if hopeless is not None and never is None:
            what = "nobody can end it: whatever a person decides from here on, it comes to no end"
            yield Found(level="problem", about="a person can end it", what=what, state=hopeless)

    def _never(self) -> Iterator[Found]:
        definition = self._definition
        if not any(ending.startswith("completed") for ending in self.endings):
            yield Found(level="warning", about="completes", what="it can never complete")
        for name, spec in definition.steps.items():
            if name not in self._begun:
                yield Found(level="warning", about="never runs", what=f"step {name} can never run", step=name)
            if spec.fallback is not None and (name, "fallback") not in self._roles:
                what = f"the fallback of step {name} can never run"
                yield Found(level="warning", about="never runs", what=what, step=name)
            if name in definition.undoable and (name, Role.BACKWARD) not in self._roles:
                what = f"the compensation of step {name} can never run"
                yield Found(level="warning", about="never runs", what=what, step=name)
            asked = {answer for step, answer in self._answers if step == name}
            if spec.when is not None and not {True, False} <= asked:
                what = f"the condition of step {name} is never asked"
                yield Found(level="warning", about="never runs", what=what, step=name)

    def _ends_stuck(self) -> Iterator[Found]:
        for (step, why), number in self._stuck.items():
            because = {
                "child": f"sub-saga of step {step} is stuck",
                "unknown": f"nobody can tell whether step {step} happened",
                "failed": f"step {step} failed after the pivot",
                "compensation_failed": f"the compensation of step {step} is used up",
                "halted": f"step {step} cannot be called",
            }.get(why, f"of step {step}")
            yield Found(level="note", about="stuck", what=f"it can get stuck: {because}", step=step, state=number)

    def _what_stands(self) -> Iterator[Found]:
        for (name, state), number in self._stands.items():
            if state is StepState.UNKNOWN:
                what = f"step {name} may have happened and stays so, although the saga failed: nothing undoes it"
                yield Found(level="note", about="stands after failed", what=what, step=name, state=number)
            else:
                what = f"step {name} stays done although the saga failed: it is declared compensatable=False"
                yield Found(level="note", about="stands after failed", what=what, step=name, state=number)


def _hold(rule: Rule, progress: Progress, definition: SagaDefinition) -> None:
    try:
        answer = rule(SagaInstance(progress, definition))
    except AssertionError as broken:
        raise RuleBroken(rule, str(broken)) from broken
    if answer is False:
        raise RuleBroken(rule)


def _waits_for_ever(definition: SagaDefinition) -> Iterator[Found]:
    for name, spec in definition.steps.items():
        if spec.kind is StepKind.SIGNAL and spec.seconds is None:
            what = f"step {name} waits for the signal {spec.signal!r} without a timeout"
            yield Found(level="note", about="waits for ever", what=what, step=name)
        for role in ("action", "fallback", "compensation", "fallback_compensation"):
            handler = getattr(spec, role)
            if handler is not None and handler.awaits_reply and handler.timeout is None:
                whose = f"step {name}" if role == "action" else f"the {role.replace('_', ' ')} of step {name}"
                what = f"{whose} waits for its reply without a timeout"
                yield Found(level="note", about="waits for ever", what=what, step=name)
        policies = {
            f"step {name}": definition.forward_retry[name, "action"] if spec.action is not None else None,
            f"the fallback of step {name}": definition.forward_retry[name, "fallback"] if spec.fallback else None,
            f"the compensation of step {name}": (
                definition.backward_retry[name, "action"] if name in definition.undoable else None
            ),
        }
        for whose, policy in policies.items():
            if policy is not None and policy.max_attempts is None:
                what = f"{whose} is retried without end: while it fails, the saga does not get on"
                yield Found(level="note", about="retries without end", what=what, step=name)


def _deadline(definition: SagaDefinition) -> Iterator[Found]:
    """A sleep counts in full, whatever else happens: those one after the other must fit into the deadline."""
    if definition.deadline is None:
        return
    slept: dict[str, float] = {}
    for name in definition.topological_order:
        spec = definition.steps[name]
        before = max((slept[other] for other in spec.after), default=0.0)
        own = spec.seconds or 0.0 if spec.kind is StepKind.SLEEP and spec.when is None else 0.0
        slept[name] = before + own
        if slept[name] >= definition.deadline > before and name not in definition.after_pivot:
            what = (
                f"the sleeps up to step {name} take {span(slept[name])}, "
                f"but the deadline is {span(definition.deadline)}: it always fails"
            )
            yield Found(level="warning", about="deadline", what=what, step=name)
