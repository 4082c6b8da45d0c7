"""Diagrams, as text, Mermaid or Graphviz DOT: of the two lifecycles, of a definition, and of one saga's way through it.

What must stay true: the lifecycles are drawn from the transition tables and from nothing else; a definition is drawn
from its shape, which is plain stored data, so that it can be drawn where its code is not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal

from .diagram_graph import graph_of
from .diagram_markup import dot_of, dot_states, mermaid_of, mermaid_states
from .diagram_text import text_of
from .lifecycle import SAGA_TRANSITIONS, STEP_TRANSITIONS, SagaState, StepState

DiagramFormat = Literal["mermaid", "dot", "text"]
FORMATS: tuple[DiagramFormat, ...] = ("mermaid", "dot", "text")


def definition_diagram(
    shape: Mapping[str, Any],
    *,
    format: DiagramFormat,  # noqa: A002
    states: Mapping[str, str] | None = None,
    saga_state: str | None = None,
    stuck: Collection[str] = (),
) -> str:
    """The diagram of a definition, by its shape (``SagaDefinition.shape``, or the one stored with a saga).

    With ``states``, the state of each step by its name (a step that is missing waits), it is the diagram of one saga:
    the states are written on the steps and the way that it went is marked. ``saga_state`` marks the end that it
    came to, and ``stuck`` names the steps that wait for a person. Raises ``ValueError`` for an unknown format.
    """
    graph = graph_of(shape, states, saga_state, stuck)
    return _pick(format, {"mermaid": mermaid_of, "dot": dot_of, "text": text_of})(graph)


def lifecycle_diagram(of: Literal["saga", "step"], *, format: DiagramFormat) -> str:  # noqa: A002
    """The diagram of the states of a saga or of a step. Raises ``ValueError`` for an unknown format."""
    if of == "saga":
        initial, table = SagaState.STARTED.value, [(t, a.value, b.value) for t, a, b in SAGA_TRANSITIONS]
        ends = [state.value for state in SagaState if state.terminal]
    else:
        initial, table = StepState.WAITING.value, [(t, a.value, b.value) for t, a, b in STEP_TRANSITIONS]
        left = {source for _, source, _ in table}
        ends = [state.value for state in StepState if state.value not in left]
    draw = _pick(format, {"mermaid": mermaid_states, "dot": dot_states, "text": _text_states})
    return draw(initial, table, ends)


def _pick(name: str, drawers: Mapping[str, Callable[..., str]]) -> Callable[..., str]:
    try:
        return drawers[name]
    except KeyError:
        raise ValueError(f"no diagram format {name!r}; there are {', '.join(FORMATS)}") from None


def _text_states(initial: str, transitions: Sequence[tuple[str, str, str]], ends: Sequence[str]) -> str:
    states = dict.fromkeys([initial, *(state for _, *pair in transitions for state in pair)])
    widest = max(map(len, states))
    verbs = max(len(trigger) for trigger, _, _ in transitions)
    lines: list[str] = []
    for state in states:
        ways = [
            f"── {trigger.ljust(verbs, '─')}──▶ {target}" for trigger, source, target in transitions if source == state
        ]
        sign = "○" if state == initial else "◎" if state in ends else "●"
        head = f"{sign} {state}"
        lines += [f"{head.ljust(widest + 2)} {way}" for way in ways[:1]] or [head]
        lines += [f"{' ' * (widest + 2)} {way}" for way in ways[1:]]
    return "\n".join(lines) + "\n"
