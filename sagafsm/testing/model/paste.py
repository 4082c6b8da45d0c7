"""A path as a test to paste: the story of the harness that goes this way with the real engine.

What must stay true: a test is only handed out once it was played and came to where the path does (or showed what is
broken). Not every path is a story: one that says something before the beginning, or from another process, or of which
a sub-saga knows no way, has its timeline only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import attrs

from ...core import events as e
from ...core.commands import OutcomeKind, Role
from ...core.definition import SagaDefinition
from ...core.errors import Rejected, SagaError, Unknown
from ...core.instance import SagaInstance
from ...core.probe import Probe
from ...core.step import StepKind
from ..cue_code import code_of, imports_for
from ..cues import Cue, asks, dies, ends, fails, passes
from ..harness import SagaTestHarness
from .bounds import Bounds, outline
from .explore import Exploration
from .moves import Move
from .play import Answer, Played
from .verdict import Path

_Options: TypeAlias = dict[str, Any]

K = OutcomeKind
WHO = {"actor": "somebody", "reason": "decided"}
Conditions: TypeAlias = dict[str, list[Answer]]


@attrs.frozen(kw_only=True)
class Check:
    """What a test holds against the saga in place of where it stands: its imports, its lines, and the same by code."""

    imports: Sequence[str] = ()
    lines: Sequence[str]
    holds: Callable[[SagaTestHarness, SagaDefinition], None]


class Untold(Exception):
    """A story cannot tell this."""


def source_of(
    definition: SagaDefinition, bounds: Bounds, path: Path, target: str | None, what: str, check: Check | None = None
) -> str | None:
    """The source of a test that goes this way; None where it cannot be written as one.

    It asserts where the saga stands then, or, where a promise is broken, what ``check`` says: so that it fails.
    """
    try:
        told = _story(definition, path, bounds)
    except Untold:
        return None
    conditions: Conditions = {}
    for one in path.happened:
        for step, answer in one.answers:
            conditions.setdefault(step, []).append(answer)
    cues = [cue for cue, _ in told]
    if not _shows(outline(definition, bounds), cues, conditions, path, check):
        return None
    module, name = _target(definition, target)
    lines = [
        *_imports(module, name, [*imports_for(cues), *(check.imports if check else ())]),
        "",
        "",
        f"def test_{_slug(what)}() -> None:",
        f'    """{_sentence(what)}"""',
        f"    small = outline({name}, Bounds(attempts={bounds.attempts}, interruptions={bounds.interruptions}))",
        "    harness = SagaTestHarness(small)",
        "    saga = harness.play_sync(",
        "        None,",
        "        [",
        *[f"            {code_of(cue)},  # {text}" for cue, text in told],
        "        ],",
        *([f"        conditions={conditions!r},"] if conditions else []),
        "    )",
        *[f"    {line}" for line in (check.lines if check else _assertions(path))],
    ]
    return "\n".join(lines) + "\n"


def _imports(module: str, name: str, others: Sequence[str]) -> list[str]:
    """The lines at the head of a test: the user's own module, then the library."""
    own = f"from {module} import "
    names = sorted({name, *(line.removeprefix(own) for line in others if line.startswith(own))})
    rest = {line for line in others if not line.startswith(own)} | {"from sagafsm.testing.model import Bounds, outline"}
    return [own + ", ".join(names), "", *sorted(rest, key=lambda line: line.partition(" import ")[0])]


def _shows(small: SagaDefinition, cues: Sequence[Cue], conditions: Conditions, path: Path, check: Check | None) -> bool:
    """Whether the test, as it is to be written, shows what it is for."""
    harness = SagaTestHarness(small)
    try:
        saga = harness.play_sync(None, cues, conditions=conditions)
        if check is not None:
            check.holds(harness, small)
            return False
    except (AssertionError, SagaError, LookupError, TypeError, ValueError, AttributeError):
        return check is not None
    return _stands(saga) == (path.ends.replace(", suspended", ""), dict(path.states))


def _stands(saga: SagaInstance) -> tuple[str, dict[str, str]]:
    told = saga.state.value + (f" ({saga.outcome})" if saga.outcome else "") + (", stuck" if saga.stuck else "")
    return told, {name: step.state.value for name, step in saga.steps.items()}


def _assertions(path: Path) -> list[str]:
    outcome = re.search(r"\((\w+)\)", path.ends)
    return [
        f"assert saga.state.value == {path.saga_state!r}",
        *([f"assert saga.outcome == {outcome[1]!r}"] if outcome else []),
        f"assert saga.stuck is {', stuck' in path.ends}",
        f"assert {{name: step.state.value for name, step in saga.steps.items()}} == {dict(path.states)!r}",
    ]


def _target(definition: SagaDefinition, target: str | None) -> tuple[str, str]:
    module, _, name = (target or "").partition(":")
    if not name.isidentifier():
        name = definition.name if definition.name.isidentifier() else "SAGA"
    return module or "your_module", name


def _slug(what: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", what.lower()).strip("_")[:60].strip("_")


def _sentence(what: str) -> str:
    text = what.replace("\\", "\\\\").replace('"', "'").replace("\n", " ")[:90]
    return text[:1].upper() + text[1:] + "."


# --- the story ---


def _story(definition: SagaDefinition, path: Path, bounds: Bounds) -> list[tuple[Cue, str]]:
    """The cues of a path, each with what happens in words. Raises Untold."""
    if not path.happened or path.happened[0].move.kind != "begin":
        raise Untold  # a story begins with the beginning
    told: list[tuple[Cue, str]] = []
    live: dict[str, Role] = {}  # calls that have not come back
    for one in path.happened:
        move = one.move
        told += [(cue, one.text) for cue in _cues(definition, move, bounds)]
        if move.kind == "end":
            live.pop(move.step, None)
        elif move.kind == "crash":
            live.clear()
        elif move.kind == "reply" and live.pop(move.step, None) is not None:
            late = attrs.evolve(move, kind="end", outcome=K.SUCCEEDED)
            told += [(cue, "and only then its call comes back") for cue in _end(definition, late, "")]
        for event in one.events:
            if isinstance(event, (e.AttemptStarted, e.CompensationAttemptStarted)):
                live[event.step] = Role.FORWARD if isinstance(event, e.AttemptStarted) else Role.BACKWARD
    return told


def _cues(definition: SagaDefinition, move: Move, bounds: Bounds, prefix: str = "") -> list[Cue]:
    """The cues of a move; of a sub-saga's move with a ``prefix``. Raises Untold."""
    if move.foreign:
        raise Untold  # a story has one process
    match move.kind:
        case "begin" | "look":
            return []
        case "crash":
            return [dies()]
        case "timer":
            return [passes()]
        case "deadline":
            return [passes(definition.deadline)]
        case "end":
            return _end(definition, move, prefix)
        case "reply":
            return _child(definition, move, bounds) if move.how == "child" else _reply(move)
        case "signal":
            return [asks("signal", move.how)]
        case "abort":
            more: _Options = {"": {}, "cut": {"cut": True}, "waive": {"compensate": False}}[move.how]
            return [asks("abort", "decided", actor="somebody", **more)]
        case "suspend" | "retry":
            return [asks(move.kind, **WHO)]
        case "resume":
            return [asks("resume")]
        case "skip":
            return [asks("skip", move.step, **WHO)]
        case "child stuck" | "child unstuck":
            raise Untold


def _end(definition: SagaDefinition, move: Move, prefix: str) -> list[Cue]:
    spec = definition.steps[move.step]
    if spec.kind is StepKind.CHILD:
        if move.outcome is not K.SUCCEEDED:
            raise Untold
        return []  # the engine itself creates sub-sagas, and asks for their undoing
    role = {Role.PROBE: ".probe", Role.BACKWARD: ".compensation"}.get(move.role, "")
    if move.via == "fallback" and not (role == ".compensation" and spec.fallback_compensation is None):
        role = ".fallback_compensation" if role == ".compensation" else role or ".fallback"
    name = f"{prefix}{move.step}{role}"
    if move.role is Role.PROBE:
        said = {"happened": Probe.HAPPENED(), "did not happen": Probe.DID_NOT_HAPPEN}
        return [ends(name, said.get(move.how, Probe.STILL_UNKNOWN))]
    match move.outcome:
        case K.SUCCEEDED:
            return [ends(name)]
        case K.FAILED:
            return [fails(name, RuntimeError("not this time"))]
        case K.REJECTED:
            return [fails(name, Rejected("no"))]
        case K.UNKNOWN:
            return [fails(name, Unknown("nobody can tell"))]
        case K.IMPOSSIBLE:
            raise Untold


def _reply(move: Move) -> list[Cue]:
    backward: _Options = {"compensation": True} if move.role is Role.BACKWARD else {}
    if move.outcome is K.SUCCEEDED:
        return [asks("complete_step", move.step, **backward)]
    again: _Options = {"retryable": True} if move.outcome is K.FAILED else {}
    return [asks("fail_step", move.step, "no", **again, **backward)]


# --- sub-sagas ---


def _child(definition: SagaDefinition, move: Move, bounds: Bounds) -> list[Cue]:
    """How a sub-saga comes to the end that its parent is told of."""
    child = definition.steps[move.step].child
    if child is None or any(step.kind is StepKind.CHILD for step in child.steps.values()):
        raise Untold
    if move.role is Role.BACKWARD:
        undone = [name for name in reversed(child.topological_order) if name in child.undoable]
        return [ends(f"{child.name}.{name}.compensation") for name in undone]
    wanted = "completed" if move.outcome is K.SUCCEEDED else "failed"
    found: list[int] = []

    def watch(number: int, played: Played) -> None:
        if played.state.progress.state.value == wanted:
            found.append(number)

    small = attrs.evolve(bounds, faults=2, crashes=False, aborts=False, duplicates=False, states=2000)
    exploration = Exploration(child, small, watch)
    exploration.run()
    if not found:
        raise Untold
    best = min(found, key=lambda number: (exploration.nodes[number].faults, exploration.nodes[number].depth))
    cues: list[Cue] = []
    for one, answers in exploration.way_to(best):
        if answers or one.kind in ("reply", "signal", "deadline"):
            raise Untold
        cues += _cues(child, one, bounds, f"{child.name}.")
    return cues
