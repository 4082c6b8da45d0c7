"""``python -m benchmarks.report``: writes the results into the tables of README.md, so that no figure is typed.

A table stands between ``<!-- results: targets -->``, or ``<!-- results: throughput postgresql -->``, and
``<!-- end -->``. What must stay true: nothing outside of these marks is touched; where something was not measured, the
table says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from .__main__ import RESULTS
from .floors.base import STORES
from .machine import MOST_BUSY, Facts
from .result import Table, read, shown
from .targets import TARGETS, Target

README = Path(__file__).with_name("README.md")
MARKS = re.compile(r"(<!-- results: (?P<what>[\w ]+) -->\n).*?(<!-- end -->)", re.DOTALL)

Found = Mapping[tuple[str, str], tuple[Facts, Sequence[Table]]]


def render(text: str, found: Found) -> str:
    """The text with what was found between its marks."""

    def between(match: re.Match[str]) -> str:
        what = match["what"].split()
        return f"{match[1]}{_targets(found) if what == ['targets'] else _tables(found, *what)}\n{match[3]}"

    return MARKS.sub(between, text)


def _tables(found: Found, question: str, store: str) -> str:
    if (question, store) not in found:
        return "Not measured."
    facts, tables = found[question, store]
    busy = f"others kept {facts.busy:.2f} busy before"
    about = (
        f"{facts.server}; Python {facts.python}, {facts.cores} cores, of which "
        f"{f'**{busy}**' if facts.busy > MOST_BUSY else busy}; fdatasync {facts.sync_ms:.2f} ms; {facts.at[:10]}, "
        f"commit {facts.commit}."
    )
    lines = [about]
    for table in tables:
        lines += ["", f"*{table.title[:1].upper()}{table.title[1:]}* ({table.note})", ""]
        head = list(table.rows[0].cells)
        left = [isinstance(value, str) and not value[:1].isdigit() for value in table.rows[0].cells.values()]
        lines += [_line(head), _line("---" if is_text else "---:" for is_text in left)]
        lines += [_line(shown(value) for value in row.cells.values()) for row in table.rows]
    return "\n".join(lines)


def _targets(found: Found) -> str:
    results = {key: tables for key, (_, tables) in found.items()}
    lines = [_line(["", "wanted", *STORES]), _line(["---", "---", *["---:"] * len(STORES)])]
    for target in TARGETS:
        reached = (_reached(target, results, store) for store in STORES)
        lines += [_line([target.what, target.wanted(), *reached])]
    return "\n".join(lines)


def _reached(target: Target, results: Mapping[tuple[str, str], Sequence[Table]], store: str) -> str:
    if store not in target.bounds:
        return "—"
    row = target.row(results, store)
    if row is None:
        return "not measured"
    figure = shown(row.cells[target.cell])
    return figure if target.reached(row, store) else f"**{figure}**"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    README.write_text(render(README.read_text(), read(RESULTS)))
