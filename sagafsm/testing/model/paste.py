"""A path as a test to paste: the story of the harness that goes this way with the real engine.

What must stay true: a test is only written for a path that a story can tell (it begins with the beginning, and every
sub-saga comes to its end in a way that its own model knows); else there is none, and the timeline has to do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import attrs

from ...core.commands import OutcomeKind, Role
from ...core.definition import SagaDefinition
from ...core.step import StepKind
from .bounds import Bounds
from .explore import Exploration
from .moves import Move
from .play import Played
from .verdict import Path

K = OutcomeKind
_WHO = "actor='somebody', reason='decided'"


@attrs.frozen
class Check:
    """What a test holds against the saga in place of where it stands: its imports, and its lines."""

    imports: Sequence[str]
    lines: Sequence[str]


class Untold(Exception):
    """A story cannot tell this."""


def source_of(
    definition: SagaDefinition, bounds: Bounds, path: Path, target: str | None, what: str, check: Check | None = None
) -> str | None:
    """The source of a test that goes this way and then asserts where the saga stands; None where none can be written.

    ``check`` takes the place of those assertions.
    """
    if not path.happened or path.happened[0].move.kind != "begin":
        return None  # something was said to it before it began, and a story begins with the beginning
    try:
        told = [(cue, one.text) for one in path.happened for cue in _cues(definition, one.move, bounds)]
    except Untold:
        return None
    conditions: dict[str, list[bool | None]] = {}
    for one in path.happened:
        for step, answer in one.answers:
            conditions.setdefault(step, []).append(answer)
    module, name = _target(definition, target)
    code = "\n".join(cue for cue, _ in told)
    ours = [word for word in ("Probe", "Rejected", "Unknown") if f"{word}(" in code or f"{word}." in code]
    cues = sorted(word for word in ("asks", "dies", "ends", "fails", "passes") if f"{word}(" in code)
    lines = [
        f"from {module} import {name}",
        "",
        *([f"from sagafsm import {', '.join(ours)}"] if ours else []),
        f"from sagafsm.testing import {', '.join(['SagaTestHarness', *cues])}",
        *(check.imports if check else ()),
        "from sagafsm.testing.model import Bounds, outline",
        "",
        "",
        f"def test_{_slug(what)}() -> None:",
        f'    """{_sentence(what)}"""',
        f"    small = outline({name}, Bounds(attempts={bounds.attempts}, interruptions={bounds.interruptions}))",
        "    harness = SagaTestHarness(small)",
        "    saga = harness.play_sync(",
        "        None,",
        "        [",
        *[f"            {cue},  # {text}" for cue, text in told],
        "        ],",
        *([f"        conditions={conditions!r},"] if conditions else []),
        "    )",
        *[f"    {line}" for line in (check.lines if check else _assertions(path))],
    ]
    return "\n".join(lines) + "\n"


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
    if not name.replace(".", "_").isidentifier():
        name = definition.name if definition.name.isidentifier() else "SAGA"
    return module or "your_module", name.partition(".")[0] if not module else name


def _slug(what: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", what.lower()).strip("_")[:60].strip("_")


def _sentence(what: str) -> str:
    text = what.replace("\\", "\\\\").replace('"', "'").replace("\n", " ")[:100]
    return text[:1].upper() + text[1:] + "."


# --- one move ---


def _cues(definition: SagaDefinition, move: Move, bounds: Bounds, prefix: str = "") -> list[str]:
    """The cues of a move; of a sub-saga's move with a ``prefix``. Raises Untold."""
    match move.kind:
        case "begin" | "look":
            return []
        case "crash":
            return ["dies()"]
        case "timer":
            return ["passes()"]
        case "deadline":
            return [f"passes({definition.deadline:g})"]
        case "end":
            return _end(definition, move, prefix)
        case "reply":
            return _reply(definition, move, bounds, prefix)
        case "signal":
            return [f"asks('signal', {move.how!r})"]
        case "abort":
            more = {"": "", "cut": ", cut=True", "waive": ", compensate=False"}[move.how]
            return [f"asks('abort', 'decided', actor='somebody'{more})"]
        case "suspend" | "retry":
            return [f"asks({move.kind!r}, {_WHO})"]
        case "resume":
            return ["asks('resume')"]
        case "skip":
            return [f"asks('skip', {move.step!r}, {_WHO})"]
        case "child stuck" | "child unstuck":
            raise Untold


def _end(definition: SagaDefinition, move: Move, prefix: str) -> list[str]:
    if definition.steps[move.step].kind is StepKind.CHILD:
        if move.outcome is not K.SUCCEEDED:
            raise Untold
        return []  # the engine itself creates sub-sagas, and asks for their undoing
    role = {Role.PROBE: ".probe", Role.BACKWARD: ".compensation"}.get(move.role, "")
    spec = definition.steps[move.step]
    if move.via == "fallback" and not (role == ".compensation" and spec.fallback_compensation is None):
        role = ".fallback_compensation" if role == ".compensation" else role or ".fallback"
    name = repr(f"{prefix}{move.step}{role}")
    if move.role is Role.PROBE:
        said = {"happened": "Probe.HAPPENED(None)", "did not happen": "Probe.DID_NOT_HAPPEN"}
        return [f"ends({name}, {said.get(move.how, 'Probe.STILL_UNKNOWN')})"]
    match move.outcome:
        case K.SUCCEEDED:
            return [f"ends({name})"]
        case K.FAILED:
            return [f"fails({name}, RuntimeError('not this time'))"]
        case K.REJECTED:
            return [f"fails({name}, Rejected('no'))"]
        case K.UNKNOWN:
            return [f"fails({name}, Unknown('nobody can tell'))"]
        case K.IMPOSSIBLE:
            raise Untold


def _reply(definition: SagaDefinition, move: Move, bounds: Bounds, prefix: str) -> list[str]:
    if move.how == "child":
        return _child(definition, move, bounds)
    backward = ", compensation=True" if move.role is Role.BACKWARD else ""
    if move.outcome is K.SUCCEEDED:
        return [f"asks('complete_step', {move.step!r}{backward})"]
    again = ", retryable=True" if move.outcome is K.FAILED else ""
    return [f"asks('fail_step', {move.step!r}, 'no'{again}{backward})"]


# --- sub-sagas ---


def _child(definition: SagaDefinition, move: Move, bounds: Bounds) -> list[str]:
    """How a sub-saga comes to the end that its parent is told of."""
    child = definition.steps[move.step].child
    if child is None or any(step.kind is StepKind.CHILD for step in child.steps.values()):
        raise Untold
    if move.role is Role.BACKWARD:
        if any(step.compensation is not None and step.compensation.awaits_reply for step in child.steps.values()):
            raise Untold
        undone = [name for name in reversed(child.topological_order) if child.undoable(name)]
        return [f"ends({f'{child.name}.{name}.compensation'!r})" for name in undone]
    wanted = "completed" if move.outcome is K.SUCCEEDED else "failed"
    found: list[int] = []

    def watch(number: int, played: Played) -> None:
        if played.state.progress.state.value == wanted:
            found.append(number)

    small = Bounds(
        attempts=bounds.attempts, interruptions=bounds.interruptions, faults=2, crashes=False, aborts=False,
        duplicates=False, states=2000,
    )  # fmt: skip
    exploration = Exploration(child, small, watch)
    exploration.run()
    if not found:
        raise Untold
    best = min(found, key=lambda number: (exploration.nodes[number].faults, exploration.nodes[number].depth))
    cues: list[str] = []
    for one, answers in exploration.way_to(best):
        if answers or one.kind in ("reply", "signal", "deadline"):
            raise Untold
        cues += _cues(child, one, bounds, f"{child.name}.")
    return cues
