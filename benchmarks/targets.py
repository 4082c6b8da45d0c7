"""What is to be reached, row by row, and where the figure for it is found in the results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from .floors.base import STORES
from .result import Row, Table

Results = Mapping[tuple[str, str], Sequence[Table]]
WITH_FLOOR = {"sqlite": 0.55, "postgresql": 0.6, "redis": 0.6, "mongodb": 0.6}


@attrs.frozen
class Target:
    """One figure. ``bounds``: for each store of which something is wanted, how much; ``most``: it is an upper bound."""

    what: str
    question: str
    cell: str
    bounds: Mapping[str, float]
    where: Callable[[Mapping[str, Any]], bool]
    most: bool = False
    unit: str = ""

    def wanted(self) -> str:
        """In words."""
        bounds = sorted(set(self.bounds.values()))
        sign = "≤" if self.most else "≥"
        return f"{sign} {' / '.join(f'{bound:g}' for bound in bounds)}{self.unit}"

    def row(self, results: Results, store: str) -> Row | None:
        """The row that it is read from, if it was measured."""
        for table in results.get((self.question, store), ()):
            for row in table.rows:
                if self.cell in row.cells and self.where(row.cells):
                    return row
        return None

    def reached(self, row: Row, store: str) -> bool:
        """Whether the figure is good enough; a difference that is not printed does not count."""
        value, bound = round(row.cells[self.cell], 2), self.bounds[store]
        return value <= bound if self.most else value >= bound


def _path(path: str, in_flight: int) -> Callable[[Mapping[str, Any]], bool]:
    return lambda cells: cells.get("path") == path and cells.get("in flight") == in_flight


def _cost(begin: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda cells: str(cells.get("cost of", "")).startswith(begin)


def _workers(count: int) -> Callable[[Mapping[str, Any]], bool]:
    return lambda cells: cells.get("workers") == count


def _any(cells: Mapping[str, Any]) -> bool:
    return True


def _everywhere(bound: float) -> Mapping[str, float]:
    return dict.fromkeys(STORES, bound)


_PEERS = ("sqlite", "postgresql")


def _peers(bound: float) -> Mapping[str, float]:
    return dict.fromkeys(_PEERS, bound)


def _has(cell: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda cells: cell in cells


TARGETS: Sequence[Target] = (
    Target("happy path, 128 in flight: of the floor", "throughput", "ratio", WITH_FLOOR, _path("happy", 128)),
    Target("happy path, 1,000 in flight: of the floor", "throughput", "ratio", WITH_FLOOR, _path("happy", 1000)),
    Target(
        "compensation path, 128 in flight: of the floor",
        "throughput", "ratio", _everywhere(0.55), _path("compensation", 128),
    ),
    Target(
        "compensation path, 1,000 in flight: of the floor",
        "throughput", "ratio", _everywhere(0.55), _path("compensation", 1000),
    ),
    Target(
        "one saga alone, p50: times that of the floor",
        "throughput", "p50 ratio", _everywhere(1.6), _path("happy", 1), most=True,
    ),
    Target("two workers: of two processes of the floor", "workers", "ratio", WITH_FLOOR, _workers(2)),
    Target("four workers: of four processes of the floor", "workers", "ratio", WITH_FLOOR, _workers(4)),
    Target("recovery of 2,000 killed sagas: seconds", "recovery", "engine s", _everywhere(2), _any, most=True),
    Target("recovery of 2,000 killed sagas: of the floor", "recovery", "ratio", _everywhere(0.5), _any),
    Target(
        "append beside finished sagas: times one beside none",
        "growth", "ratio", _everywhere(1.1), _cost("append; finished"), most=True,
    ),
    Target(
        "append to a saga of 10,000 events: times one to a new saga",
        "growth", "ratio", _everywhere(1.1), _cost("append; one saga"), most=True,
    ),
    Target("happy path, 128 in flight: times DBOS", "peers", "ratio", _peers(60), _path("happy", 128)),
    Target("compensation path, 128 in flight: times DBOS", "peers", "ratio", _peers(60), _path("compensation", 128)),
    Target("one saga alone, p50: times that of DBOS", "peers", "p50 ratio", _peers(0.2), _path("happy", 1), most=True),
    Target("recovery of 2,000 killed sagas: times as quick as DBOS", "peers", "ratio", _peers(12), _has("DBOS s")),
    Target(
        "memory of a saga in flight, bytes",
        "memory", "resident, B/saga", {"sqlite": 10_000}, lambda cells: cells.get("in flight") == 10_000, most=True,
    ),
)  # fmt: skip
"""As the tables are read: from the top."""
