"""What a question answers with: runs, and the tables that are printed and written from them.

What must stay true: a row keeps every single sample beside its median, so that whoever reads a file of results can see
the noise and not only the verdict. In a file of results a line with the machine stands before the rows measured on it.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable

from .machine import Facts


class Skipped(Exception):
    """A question cannot be asked here; the message says why and what would help."""


class Run(msgspec.Struct, frozen=True):
    """One run of the job: seconds of wall time in all, and the seconds that each saga took."""

    seconds: float
    took: Sequence[float]

    @property
    def rate(self) -> float:
        """Sagas per second."""
        return len(self.took) / self.seconds

    @property
    def p50(self) -> float:
        """The median of what a saga took, in milliseconds."""
        return statistics.median(self.took) * 1000


class Row(msgspec.Struct, frozen=True):
    """One line of a table. ``cells`` are shown in order; ``samples`` are only written."""

    cells: dict[str, Any]
    samples: Mapping[str, Sequence[float]] = {}


class Table(msgspec.Struct, frozen=True):
    """The answer to one question, or to a part of it; ``note`` says how to read it."""

    question: str
    title: str
    rows: Sequence[Row]
    note: str = ""


def spread(values: Sequence[float]) -> str:
    """The lowest and the highest value."""
    return f"{shown(min(values))}–{shown(max(values))}"


def ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """One ratio for each pair of runs that lay next to each other in time."""
    return [a / b for a, b in zip(over, under, strict=True)]


def show(console: Console, table: Table) -> None:
    """Print a table."""
    made = RichTable(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name, value in table.rows[0].cells.items():
        made.add_column(name, justify="left" if isinstance(value, str) and not value[:1].isdigit() else "right")
    for row in table.rows:
        made.add_row(*(shown(value) for value in row.cells.values()))
    console.print(table.title, style="bold")
    console.print(made)
    if table.note:
        console.print(table.note, style="dim")


def shown(value: Any) -> str:
    """A cell as it is printed: with as many digits as are worth reading."""
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def write(folder: Path, store: str, facts: Facts, tables: Sequence[Table]) -> list[Path]:
    """Append the tables to a file for each question, store and day: the machine's line, then a line for each row."""
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for question in dict.fromkeys(table.question for table in tables):
        lines: list[object] = [{"question": question, "store": store, "machine": facts}]
        for table in tables:
            if table.question == question:
                lines += [
                    {"table": table.title, "note": table.note, "cells": row.cells, "samples": row.samples}
                    for row in table.rows
                ]
        path = folder / f"{datetime.now(UTC):%Y-%m-%d}-{store}-{question}.jsonl"
        with path.open("ab") as file:
            file.writelines(msgspec.json.encode(line) + b"\n" for line in lines)
        written.append(path)
    return written


def read(folder: Path) -> dict[tuple[str, str], tuple[Facts, list[Table]]]:
    """Of each question and store, what was written last."""
    found: dict[tuple[str, str], tuple[Facts, list[Table]]] = {}
    for path in sorted(folder.glob("*.jsonl")):
        key = ("", "")
        for line in path.read_bytes().splitlines():
            said = msgspec.json.decode(line)
            if "machine" in said:
                key = said["question"], said["store"]
                found[key] = msgspec.convert(said["machine"], Facts), []
                continue
            tables, row = found[key][1], Row(said["cells"], said["samples"])
            if tables and tables[-1].title == said["table"]:
                tables[-1] = msgspec.structs.replace(tables[-1], rows=[*tables[-1].rows, row])
            else:
                tables.append(Table(key[0], said["table"], [row], said["note"]))
    return found
