"""Failing runs that were kept: one small file each, played again before anything else from then on.

What must stay true: a file is written once and never changed; one that cannot be read is an error, not passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from .case import Case


class Regression(msgspec.Struct, frozen=True, kw_only=True):
    """A run that once broke something. ``plan``: which simulation it is of; ``broke``: what it broke then."""

    plan: str
    case: str
    broke: str


def keep(folder: Path, plan: str, case: Case, broke: str) -> Path:
    """Write a file for a failing run; the file."""
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{plan}-{broke.split()[0]}-{case}")[:80].strip("-")
    path = folder / f"{name}.json"
    kept = Regression(plan=plan, case=str(case), broke=broke)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(kept), indent=2) + b"\n")
    return path


def kept(folder: Path, plan: str | None = None) -> Iterator[Regression]:
    """The runs that were kept (of one simulation), in the order of their files' names."""
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        try:
            found = msgspec.json.decode(path.read_bytes(), type=Regression)
            Case.parse(found.case)
        except (msgspec.MsgspecError, ValueError) as exc:
            raise ValueError(f"{path} is no run that was kept: {exc}") from exc
        if plan is None or found.plan == plan:
            yield found
