"""A diagram for a terminal: a line for each step, and lanes on the left that fork and join like those of a commit log.

What must stay true: a lane is an edge that waits for its target, so every edge is drawn once; a line that starts a
step says everything in words, so that nothing depends on colour or on the signs alone.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from .diagram_graph import MARKS, Graph, Node, in_order

_SIGNS = {"start": "○", "completed": "◎", "action": "●", "signal": "◌", "sleep": "◌", "child": "■"}
_WIDEST_TITLE = 40


def text_of(graph: Graph) -> str:
    """The diagram as lines of text."""
    nodes = {node.id: node for node in graph.nodes}
    followers: dict[str, list[str]] = {}
    for edge in graph.edges:
        if edge.kind == "forward":
            followers.setdefault(edge.source, []).append(edge.target)
    undo = {edge.source for edge in graph.edges if edge.kind == "undo"}
    fallback = {edge.source for edge in graph.edges if edge.kind == "fallback"}

    rows: list[tuple[str, Node | None]] = []
    lanes: list[str | None] = []
    for node in (nodes["start"], *in_order(graph), nodes["completed"]):
        own = [column for column, target in enumerate(lanes) if target == node.id] or [len(lanes)]
        if len(own) > 1:
            rows.append((_crossbar(lanes, own, "┴", "┘"), None))
        lanes = [target if column not in own else None for column, target in enumerate(lanes)]
        lanes += [None] * (own[0] + 1 - len(lanes))
        rows.append((_lanes(lanes, own[0], _sign(node, graph.marked)), node))
        placed = [own[0]]
        for follower in followers.get(node.id, ()):
            column = own[0] if lanes[own[0]] is None else _free_column(lanes, own[0])
            lanes += [None] * (column + 1 - len(lanes))
            lanes[column] = follower
            placed.append(column)
        if len(placed) > 2:
            rows.append((_crossbar(lanes, sorted(set(placed)), "┬", "┐"), None))

    gutter = max(len(drawn) for drawn, _ in rows) + 1
    title = min(_WIDEST_TITLE, max((_width(node.title) for node in in_order(graph)), default=0))
    state = max(len(node.state or "") for node in nodes.values())
    lines: list[str] = []
    for drawn, shown in rows:
        if shown is None:
            lines.append(drawn)
            continue
        notes = list(shown.notes)
        if shown.kind in ("start", "completed"):
            words = [shown.title]
        else:
            notes += ["fallback"] * (shown.id in fallback) + ["↩"] * (shown.id in undo)
            if shown.stuck:
                notes.insert(0, "STUCK: a person must act")
            padded = shown.title + " " * (title - _width(shown.title))
            words = [padded, *([(shown.state or "").ljust(state)] if graph.marked else []), ", ".join(notes)]
        lines.append(f"{drawn.ljust(gutter)}{'  '.join(words)}".rstrip())
    if undo:
        lines += ["", "↩ is undone when the saga fails, the last one first"]
    return "\n".join(lines) + "\n"


def _sign(node: Node, marked: bool) -> str:
    if marked and node.state is not None:
        return "◉" if node.kind == "completed" else MARKS.get(node.state, "·")
    return "◆" if node.pivot else _SIGNS[node.kind]


def _free_column(lanes: Sequence[str | None], left: int) -> int:
    return next((column for column in range(left + 1, len(lanes)) if lanes[column] is None), len(lanes))


def _lanes(lanes: Sequence[str | None], at: int, sign: str) -> str:
    return " ".join(sign if column == at else "│" if target else " " for column, target in enumerate(lanes)).rstrip()


def _crossbar(lanes: Sequence[str | None], own: Sequence[int], middle: str, last: str) -> str:
    """The line where lanes fork from the first of their own columns, or join into it, across the other lanes."""
    drawn = ""
    for column, target in enumerate(lanes):
        inside = own[0] <= column < own[-1]
        if column == own[0]:
            drawn += "├"
        elif column in own:
            drawn += last if column == own[-1] else middle
        elif inside:
            drawn += "┼" if target else "─"
        else:
            drawn += "│" if target else " "
        drawn += "─" if inside else " "
    return drawn.rstrip()


def _width(text: str) -> int:
    """The columns that a text takes in a terminal."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )
