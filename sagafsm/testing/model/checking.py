"""The model checker: explore a saga, judge it, and show the shortest way to what is wrong.

What must stay true: the verdict rests on the real decider and the laws of ``sagafsm.testing``, not on a second
implementation of them; a broken law ends the search, because what comes after it means nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...core.definition import SagaDefinition
from ...core.progress import Progress
from ...declare import definition_of
from ...runtime.session import Definable
from ..checker import check_log
from ..harness import SagaTestHarness
from ..histories import entries_of
from ..laws import Broken
from .bounds import Bounds
from .explore import Exploration, Explored
from .paste import Check, source_of
from .play import Failed, Played
from .state import initial, states_of, summary
from .verdict import Finding, Happened, Path, Verdict
from .watcher import Found, Rule, RuleBroken, Watcher


def _laws_hold(harness: SagaTestHarness, small: SagaDefinition) -> None:
    check_log(small, entries_of(harness.history))


def _has_not_ended(harness: SagaTestHarness, small: SagaDefinition) -> None:
    if harness.saga.state.terminal:
        raise AssertionError(harness.saga)


_LOG = Check(
    imports=["from sagafsm.testing.checker import check_log", "from sagafsm.testing.histories import entries_of"],
    lines=["check_log(small, entries_of(harness.history))"],
    holds=_laws_hold,
)
# What stands in the world is in no log: but a saga in which something is still to be undone must not have ended.
_EFFECT = Check(lines=["assert not saga.state.terminal"], holds=_has_not_ended)


def check_model(
    saga: Definable,
    *,
    bounds: Bounds | None = None,
    rules: Sequence[Rule] = (),
    target: str | None = None,
    told: Callable[[Explored], None] = lambda explored: None,
) -> Verdict:
    """Explore everything that can happen to a saga, within bounds, and say what was found.

    Every end of every call, every message, timer, crash and abort, in every order, is given to the real decider, and
    what it decides is held against every law of sagas. Sub-sagas are explored by their outcomes; check them by
    themselves. ``rules`` are yours: functions of a :class:`~sagafsm.SagaInstance` that return False or raise
    AssertionError for a state that must not be; they are asked about every state. ``target`` (``MODULE:NAME``) is
    what a pasted test imports. ``told`` is called now and then with how far it is. The idea is that of TLC and other
    explicit-state model checkers.

    Raises DefinitionError for what is no saga.
    """
    definition = definition_of(saga)
    bounds = bounds or Bounds()
    watcher = Watcher(definition, rules)

    def watch(number: int, played: Played) -> None:
        try:
            watcher(number, played)
        except RuleBroken as rule:
            raise Failed(rule, played) from rule

    exploration = Exploration(definition, bounds, watch, told)
    explored = exploration.run()
    if exploration.failed is not None:
        found = [_law_broken(definition, exploration, target)]
    else:
        told_of = watcher.findings(exploration, complete=explored.complete)
        found = [_finding(definition, exploration, one, target) for one in told_of]
    order = {"problem": 0, "warning": 1, "note": 2}
    return Verdict(
        saga=definition.name,
        version=definition.version,
        bounds=bounds,
        explored=explored,
        endings=dict(watcher.endings.most_common()),
        findings=sorted(found, key=lambda finding: order[finding.level]),
    )


def _law_broken(definition: SagaDefinition, exploration: Exploration, target: str | None) -> Finding:
    assert exploration.failed is not None  # noqa: S101
    number, failed = exploration.failed
    path = _path(definition, [*exploration.replay(exploration.way_to(number)), failed.played])
    broken, check = failed.broken, _LOG
    about, what = "total", f"{type(broken).__name__}: {broken}"
    if isinstance(broken, Broken):
        about, what = broken.law, str(broken)
        check = _EFFECT if about == "net effect" else _LOG
    elif isinstance(broken, RuleBroken):
        about, what, check = "rule", str(broken), _of_rule(broken)
    test = source_of(definition, exploration.bounds, path, target, what, check)
    return Finding(level="problem", about=about, what=what, path=path, test=test)


def _of_rule(broken: RuleBroken) -> Check:
    rule = broken.rule
    name: str = getattr(rule, "__name__", "rule")

    def holds(harness: SagaTestHarness, small: SagaDefinition) -> None:
        if rule(harness.saga) is False:
            raise broken

    return Check(
        imports=[f"from {getattr(rule, '__module__', 'your_module')} import {name}"],
        lines=[f"assert {name}(saga) is not False"],
        holds=holds,
    )


def _finding(definition: SagaDefinition, exploration: Exploration, found: Found, target: str | None) -> Finding:
    path: Path | None = None
    test: str | None = None
    if found.state is not None:
        path = path_to(definition, exploration, found.state)
        test = source_of(definition, exploration.bounds, path, target, found.what)
    return Finding(level=found.level, about=found.about, what=found.what, step=found.step, path=path, test=test)


def path_to(definition: SagaDefinition, exploration: Exploration, number: int) -> Path:
    """The way to a state."""
    return _path(definition, list(exploration.replay(exploration.way_to(number))))


def _path(definition: SagaDefinition, played: Sequence[Played]) -> Path:
    progress: Progress = played[-1].state.progress if played else initial(definition).progress
    return Path(
        shape=definition.shape,
        happened=[Happened(move=one.move, answers=one.answers, events=one.events) for one in played],
        states=states_of(progress),
        saga_state=progress.state.value,
        ends=summary(progress),
        stuck=(progress.stuck_step,) if progress.stuck and progress.stuck_step else (),
    )
