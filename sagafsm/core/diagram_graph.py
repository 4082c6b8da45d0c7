"""The nodes and edges of a definition's diagram, worked out from its stored shape, for every format alike.

What must stay true: a shape is plain data that may be old or written by others, so nothing in it is trusted: what is
missing is left out, and a node's id is made here and never from a name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

import attrs

from .lifecycle import StepState

NodeKind = Literal["start", "completed", "failed", "action", "signal", "sleep", "child", "fallback", "compensation"]
EdgeKind = Literal["forward", "undo", "back", "fallback"]

MARKS: Mapping[str, str] = {
    "waiting": "·",
    "running": "▶",
    "succeeded": "✓",
    "failed": "✗",
    "unknown": "?",
    "skipped": "»",
    "compensating": "↻",
    "compensated": "↩",
    "compensation_failed": "!",
}  # one sign for every state of a step: colour alone is not enough

_UNDOING = {state.value for state in (StepState.COMPENSATING, StepState.COMPENSATED, StepState.COMPENSATION_FAILED)}
_KINDS: Mapping[str, NodeKind] = {"action": "action", "signal": "signal", "sleep": "sleep", "child": "child"}


@attrs.frozen(kw_only=True)
class Node:
    """A step, its fallback or its compensation, or where the saga starts or ends.

    ``notes`` say what is special about it; ``state`` is the state that it is marked with.
    """

    id: str
    kind: NodeKind
    title: str
    notes: tuple[str, ...] = ()
    pivot: bool = False
    state: str | None = None
    stuck: bool = False


@attrs.frozen(kw_only=True)
class Edge:
    """A way from one node to another; ``taken`` where the saga went it."""

    source: str
    target: str
    kind: EdgeKind
    label: str = ""
    taken: bool = False


@attrs.frozen
class Graph:
    """A diagram without a format. ``marked``: it shows one saga, not the definition alone."""

    title: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    marked: bool


def plain(text: object) -> str:
    """A text of one line without anything that steers a terminal or turns the direction of writing."""
    line = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in str(text))
    return line if line.strip() else repr(line)


@attrs.define
class _Builder:
    steps: Mapping[str, Mapping[str, Any]]
    states: Mapping[str, str] | None
    saga_state: str | None
    stuck: Collection[str]
    nodes: list[Node] = attrs.field(factory=list)
    edges: list[Edge] = attrs.field(factory=list)

    def state(self, name: str) -> str:
        return (self.states or {}).get(name, "waiting")

    def before(self, name: str) -> list[str]:
        return [other for other in self.steps[name].get("after", ()) if other in self.steps]

    def link(self, source: str, target: str, kind: EdgeKind, *, label: str = "", taken: bool = False) -> None:
        self.edges.append(
            Edge(source=source, target=target, kind=kind, label=label, taken=taken and self.states is not None)
        )


def graph_of(
    shape: Mapping[str, Any],
    states: Mapping[str, str] | None = None,
    saga_state: str | None = None,
    stuck: Collection[str] = (),
) -> Graph:
    """The diagram of a definition's shape, marked with the states of one saga's steps where they are given."""
    steps = {str(facts.get("name", "")): facts for facts in shape.get("steps", ())}
    ids = {name: f"s{index}" for index, name in enumerate(steps)}
    builder = _Builder(steps, states, saga_state, stuck)
    title = plain(f"{shape.get('name', '?')}, version {shape.get('version', '?')}")
    if saga_state is not None:
        title += f": {plain(saga_state)}"
    builder.nodes.append(Node(id="start", kind="start", title=title))
    _forward(builder, ids)
    _backward(builder, {name: id_.replace("s", "c") for name, id_ in ids.items()}, ids)
    return Graph(title, tuple(builder.nodes), tuple(builder.edges), states is not None)


def _forward(builder: _Builder, ids: Mapping[str, str]) -> None:
    after_pivot = _after_pivot(builder)
    for name, facts in builder.steps.items():
        builder.nodes.append(
            Node(
                id=ids[name],
                kind=_KINDS.get(facts.get("kind", ""), "action"),
                title=plain(name),
                notes=tuple(_notes(facts, past_pivot=name in after_pivot)),
                pivot=bool(facts.get("pivot")),
                state=plain(builder.state(name)) if builder.states is not None else None,
                stuck=name in builder.stuck,
            )
        )
    completed = builder.saga_state == "completed"
    builder.nodes.append(
        Node(id="completed", kind="completed", title="completed", state="succeeded" if completed else None)
    )
    for name in builder.steps:
        begun = builder.state(name) != "waiting"
        for source in [ids[other] for other in builder.before(name)] or ["start"]:
            builder.link(source, ids[name], "forward", taken=begun)
    followed = {other for name in builder.steps for other in builder.before(name)}
    for name in builder.steps:
        if name not in followed:
            builder.link(ids[name], "completed", "forward", taken=completed)
    for name, facts in builder.steps.items():
        if facts.get("fallback"):
            id_ = ids[name].replace("s", "f")
            builder.nodes.append(Node(id=id_, kind="fallback", title=plain(f"fallback of {name}")))
            builder.link(ids[name], id_, "fallback", label="if it fails")


def _notes(facts: Mapping[str, Any], *, past_pivot: bool) -> list[str]:
    kind = facts.get("kind", "action")
    undoable = facts.get("compensatable") and (facts.get("compensation") or kind == "child")
    notes = [
        facts.get("pivot") and "pivot: no way back",
        kind == "signal" and f"waits for the signal {facts.get('signal')!r}",
        facts.get("on_timeout") == "continue" and "goes on without it",
        kind == "sleep" and "sleeps",
        kind == "child" and f"runs the saga {facts.get('child')!r}",
        facts.get("awaits_reply") and "waits for a reply",
        facts.get("when") and "on condition",
        kind in ("action", "child") and not undoable and not facts.get("pivot") and not past_pivot and "not undone",
        kind == "action" and not facts.get("idempotent") and "called once only",
        facts.get("on_unknown") == "probe" and "probed when unknown",
        facts.get("on_unknown") == "stick" and "stuck when unknown",
    ]
    return [plain(note) for note in notes if note]


def _backward(builder: _Builder, ids: Mapping[str, str], forward_ids: Mapping[str, str]) -> None:
    """The compensations, against the arrows of the steps; what needs none is passed over."""
    after_pivot = _after_pivot(builder)
    undoable = [
        name
        for name, facts in builder.steps.items()
        if facts.get("compensatable") and (facts.get("compensation") or facts.get("kind") == "child")
        if name not in after_pivot
    ]
    if not undoable:
        return
    rolled_back = builder.saga_state == "failed"
    for name in undoable:
        state = builder.state(name)
        builder.nodes.append(
            Node(
                id=ids[name],
                kind="compensation",
                title=plain(f"undo {name}"),
                notes=("waits for a reply",) if builder.steps[name].get("compensation_awaits_reply") else (),
                state=state if builder.states is not None and state in _UNDOING else None,
            )
        )
    builder.nodes.append(Node(id="failed", kind="failed", title="failed", state="failed" if rolled_back else None))
    for name in undoable:
        builder.link(forward_ids[name], ids[name], "undo", label="undo", taken=builder.state(name) in _UNDOING)
    for name in undoable:
        begun = builder.state(name) in _UNDOING
        found = _nearest(builder, name, frozenset(undoable))
        earlier = [other for other in found if not any(other in _all_before(builder, third) for third in found)]
        for other in earlier:
            builder.link(ids[name], ids[other], "back", taken=begun and builder.state(other) in _UNDOING)
        if not earlier:
            builder.link(ids[name], "failed", "back", taken=begun and rolled_back)


def _nearest(builder: _Builder, name: str, wanted: frozenset[str]) -> list[str]:
    """The wanted steps before a step, seen past those that are not wanted."""
    found: dict[str, None] = {}
    seen = {name}
    ahead = builder.before(name)
    while ahead:
        other = ahead.pop(0)
        if other in seen:
            continue
        seen.add(other)
        if other in wanted:
            found[other] = None
        else:
            ahead += builder.before(other)
    return list(found)


def _all_before(builder: _Builder, name: str) -> set[str]:
    found: set[str] = set()
    ahead = builder.before(name)
    while ahead:
        if (other := ahead.pop()) not in found:
            found.add(other)
            ahead += builder.before(other)
    return found


def _after_pivot(builder: _Builder) -> frozenset[str]:
    pivots = frozenset(name for name, facts in builder.steps.items() if facts.get("pivot"))
    return frozenset(name for name in builder.steps if not pivots.isdisjoint(_all_before(builder, name)))


def in_order(graph: Graph) -> list[Node]:
    """The steps, each after those that it follows, ties in the order of declaration."""
    steps = {node.id: node for node in graph.nodes if node.kind in _KINDS}
    edges = [edge for edge in graph.edges if edge.kind == "forward"]
    order: dict[str, Node] = {}
    while len(order) < len(steps):
        left = [id_ for id_ in steps if id_ not in order]
        blocked = {edge.target for edge in edges if edge.source in left}
        free = next((id_ for id_ in left if id_ not in blocked), left[0])  # a stored circle must not hang a tool
        order[free] = steps[free]
    return list(order.values())
