"""Diagrams as Mermaid and as Graphviz DOT.

What must stay true: nothing that a user named stands in the output unescaped. Mermaid has no escape for its quotes but
numbered entities, and reads HTML, Markdown and its own directives in a label: all but letters and digits is written as
a number. Colours repeat what the text says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .diagram_graph import MARKS, Edge, Graph, Node

_COLOURS: Mapping[str, tuple[str, str]] = {
    "waiting": ("#f1f3f5", "#868e96"),
    "running": ("#d0ebff", "#1971c2"),
    "succeeded": ("#d3f9d8", "#2b8a3e"),
    "failed": ("#ffe3e3", "#c92a2a"),
    "unknown": ("#fff3bf", "#e67700"),
    "skipped": ("#f8f9fa", "#adb5bd"),
    "compensating": ("#e5dbff", "#5f3dc4"),
    "compensated": ("#f3d9fa", "#862e9c"),
    "compensation_failed": ("#ffc9c9", "#a61e4d"),
}  # fill, border
_STUCK = "#c92a2a"

_MERMAID_SHAPES = {
    "start": ('(["', '"])'),
    "completed": ('(["', '"])'),
    "failed": ('(["', '"])'),
    "action": ('["', '"]'),
    "signal": ('[/"', '"/]'),
    "sleep": ('("', '")'),
    "child": ('[["', '"]]'),
    "fallback": ('("', '")'),
    "compensation": ('["', '"]'),
}
_DOT_SHAPES = {
    "start": "oval",
    "completed": "oval",
    "failed": "oval",
    "action": "box",
    "signal": "parallelogram",
    "sleep": "note",
    "child": "box3d",
    "fallback": "box",
    "compensation": "box",
}


def _lines(node: Node) -> list[str]:
    state = [f"{MARKS.get(node.state, '·')} {node.state}"] if node.state is not None and node.kind in _STATED else []
    return [node.title, *node.notes, *state, *(["STUCK: a person must act"] if node.stuck else [])]


_STATED = ("action", "signal", "sleep", "child")  # a compensation shows its step's state by colour only


# --- Mermaid ---


def mermaid_text(text: str) -> str:
    """A text for a quoted label of Mermaid."""
    return "".join(char if char.isalnum() or char in " _.," else f"#{ord(char)};" for char in text)


def mermaid_of(graph: Graph) -> str:
    """The diagram as a Mermaid flowchart."""
    lines = ["flowchart TD"]
    classes: dict[str, list[str]] = {}
    for node in graph.nodes:
        opening, closing = ('{{"', '"}}') if node.pivot else _MERMAID_SHAPES[node.kind]
        label = "<br/>".join(mermaid_text(line) for line in _lines(node))
        lines.append(f"    {node.id}{opening}{label}{closing}")
        if node.state is not None and node.state in _COLOURS:
            classes.setdefault(node.state, []).append(node.id)
        if node.kind in ("compensation", "fallback"):
            classes.setdefault("aside", []).append(node.id)
        if node.stuck:
            classes.setdefault("stuck", []).append(node.id)
    for edge in graph.edges:
        label = f"|{mermaid_text(edge.label)}|" if edge.label else ""
        lines.append(f"    {edge.source} {_mermaid_arrow(edge)}{label} {edge.target}")
    for name, ids in classes.items():
        lines.append(f"    classDef {name} {_mermaid_style(name)}")
        lines.append(f"    class {','.join(ids)} {name}")
    return "\n".join(lines) + "\n"


def _mermaid_arrow(edge: Edge) -> str:
    if edge.taken:
        return "==>"
    return {"forward": "-->", "undo": "-.->", "back": "-.->", "fallback": "<-.->"}[edge.kind]


def _mermaid_style(name: str) -> str:
    if name == "aside":
        return "stroke-dasharray:4 3"
    if name == "stuck":
        return f"stroke:{_STUCK},stroke-width:4px"
    fill, border = _COLOURS[name]
    return f"fill:{fill},stroke:{border},color:#212529"


# --- DOT ---


def dot_text(text: str) -> str:
    """A text for a quoted string of DOT, which reads backslashes and HTML entities."""
    return text.replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')


def dot_of(graph: Graph) -> str:
    """The diagram as a Graphviz digraph."""
    lines = [
        "digraph saga {",
        '    graph [rankdir=TB, charset="UTF-8"]',
        '    node [shape=box, style="rounded,filled", fillcolor=white, fontname="Helvetica"]',
        '    edge [fontname="Helvetica", fontsize=10]',
    ]
    for node in graph.nodes:
        label = "\\n".join(dot_text(line) for line in _lines(node))
        facts = [f'label="{label}"', f"shape={'hexagon' if node.pivot else _DOT_SHAPES[node.kind]}"]
        if node.kind in ("compensation", "fallback"):
            facts.append('style="rounded,filled,dashed"')
        if node.state is not None and node.state in _COLOURS:
            fill, border = _COLOURS[node.state]
            facts.append(f'fillcolor="{fill}"')
            if not node.stuck:
                facts.append(f'color="{border}"')
        if node.stuck:
            facts.append(f'color="{_STUCK}", penwidth=4')
        lines.append(f"    {node.id} [{', '.join(facts)}]")
    for edge in graph.edges:
        facts = [f'label="{dot_text(edge.label)}"'] if edge.label else []
        facts += ["style=dashed"] if edge.kind != "forward" else []
        facts += ["dir=both"] if edge.kind == "fallback" else []
        facts += ["penwidth=3"] if edge.taken else []
        lines.append(f"    {edge.source} -> {edge.target}" + (f" [{', '.join(facts)}]" if facts else ""))
    return "\n".join([*lines, "}"]) + "\n"


# --- state machines ---


def mermaid_states(initial: str, transitions: Sequence[tuple[str, str, str]], ends: Sequence[str]) -> str:
    """A table of (trigger, source, destination) as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {initial}"]
    lines += [f"    {source} --> {target} : {trigger}" for trigger, source, target in transitions]
    return "\n".join(lines + [f"    {end} --> [*]" for end in ends]) + "\n"


def dot_states(initial: str, transitions: Sequence[tuple[str, str, str]], ends: Sequence[str]) -> str:
    """A table of (trigger, source, destination) as a Graphviz digraph."""
    lines = [
        "digraph lifecycle {",
        "    graph [rankdir=TB]",
        '    node [shape=box, style=rounded, fontname="Helvetica"]',
        '    edge [fontname="Helvetica", fontsize=10]',
        '    start [shape=point, width=0.15, label=""]',
        f"    start -> {initial}",
    ]
    lines += [f'    {source} -> {target} [label="{trigger}"]' for trigger, source, target in transitions]
    return "\n".join([*lines, *(f"    {end} [peripheries=2]" for end in ends), "}"]) + "\n"
