"""Failing runs that were kept: one small file each, played again before anything else from then on.

What must stay true: a file is written once and never changed; one that cannot be read is an error, not passed over.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from .case import Case

LONGEST = 80  # characters of a file's name


class Regression(msgspec.Struct, frozen=True, kw_only=True):
    """A run that once broke something. ``plan``: which simulation it is of; ``broke``: what it broke then."""

    plan: str
    case: str
    broke: str


def keep(folder: Path, plan: str, case: Case, broke: str) -> Path:
    """Write a file for a failing run, if there is none yet; the file. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{plan}-{broke.split()[0]}-{case}").strip("-")
    if len(name) > LONGEST:
        name = f"{name[: LONGEST - 9]}-{zlib.crc32(str(case).encode()):08x}"
    path = folder / f"{name}.json"
    if not path.exists():
        data = msgspec.json.format(msgspec.json.encode(Regression(plan=plan, case=str(case), broke=broke)), indent=2)
        new = folder / f"{name}.{os.getpid()}.new"  # others may be reading, in processes of their own
        new.write_bytes(data + b"\n")
        new.replace(path)
    return path


def kept(folder: Path, plan: str | None = None) -> Iterator[Regression]:
    """The runs that were kept (of one simulation), in the order of their files' names."""
    return (regression for _, regression in kept_files(folder, plan))


def kept_files(folder: Path, plan: str | None = None) -> Iterator[tuple[Path, Regression]]:
    """The same, each with its file."""
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        try:
            found = msgspec.json.decode(path.read_bytes(), type=Regression)
            Case.parse(found.case)
        except (msgspec.MsgspecError, ValueError) as exc:
            raise ValueError(f"{path} is no run that was kept: {exc}") from exc
        if plan is None or found.plan == plan:
            yield path, found
