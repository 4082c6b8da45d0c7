"""The database files of a measurement: fresh for each run, counted afterwards, then removed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal


@contextmanager
def fresh(folder: Path, name: str) -> Iterator[Path]:
    """A path at which no database is yet, nor after the block."""
    path = folder / f"{name}.db"
    remove(path)
    try:
        yield path
    finally:
        remove(path)


def remove(path: Path) -> None:
    """Remove a database and what lies beside it."""
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file."""
    return f"sqlite:///{path}"


def sqlite_path(url: str) -> Path:
    """The file of a URL that :func:`sqlite_url` has made."""
    return Path(url.removeprefix("sqlite:///"))


def count_events(path: Path, table: Literal["event", "saga_events"]) -> dict[str, tuple[int, int]]:
    """How many event rows of each type there are, and the bytes of JSON in them."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(f"SELECT type, count(*), sum(length(data)) FROM {table} GROUP BY type ORDER BY type")
        return {kind: (count, size) for kind, count, size in rows}


def same_rows(floor: dict[str, tuple[int, int]], engine: dict[str, tuple[int, int]]) -> None:
    """Raise where the two did not write the same kinds of rows, as many of each, of about the same size."""
    counts = [{kind: count for kind, (count, _) in found.items()} for found in (floor, engine)]
    if counts[0] != counts[1]:
        raise RuntimeError(f"not the same job: the floor wrote {counts[0]}, the engine {counts[1]}")
    sizes = [sum(size for _, size in found.values()) for found in (floor, engine)]
    if not 0.9 < sizes[0] / sizes[1] < 1.1:
        raise RuntimeError(f"not the same job: the floor wrote {sizes[0]} bytes of JSON, the engine {sizes[1]}")
