"""The marks that a saga bears while it is moved: gone from here, or not yet arrived.

What must stay true: a marked saga is nobody's: no worker goes on with it, and whatever is said to it is refused. The
mark says where the saga is, without a password, and what the record was like before, so that taking the mark off
brings back what it hid.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from ..core.errors import SagaMoved
from ..store import Record

_PROBLEM = 500
_BETWEEN = "; as it was: "
_WORDS: dict[str, Literal["moved", "arriving"]] = {"moved to ": "moved", "arrives from ": "arriving"}


class AsItWas(msgspec.Struct, frozen=True, kw_only=True):
    """What a mark hides of a record."""

    due_at: float | None
    stuck: bool
    problem: str | None


class Mark(msgspec.Struct, frozen=True):
    """``moved``: it is at ``place`` now. ``arriving``: it comes from there, and is not to be touched here yet."""

    kind: Literal["moved", "arriving"]
    place: str
    was: AsItWas

    def to_problem(self) -> str:
        """The mark as a record's ``problem``."""
        word = next(word for word, kind in _WORDS.items() if kind == self.kind)
        return f"{word}{self.place}{_BETWEEN}{msgspec.json.encode(self.was).decode()}"


def mark_of(record: Record) -> Mark | None:
    """The mark that a record bears, if it does."""
    if record.problem is None:
        return None
    for word, kind in _WORDS.items():
        if record.problem.startswith(word):
            place, between, was = record.problem.removeprefix(word).partition(_BETWEEN)
            if between:
                return Mark(kind, place, msgspec.json.decode(was, type=AsItWas))
    return None


def as_it_was(record: Record) -> AsItWas:
    """What there is to be hidden by a mark, or what the mark that is there hides already."""
    mark = mark_of(record)
    if mark is not None:
        return mark.was
    problem = None if record.problem is None else record.problem[:_PROBLEM]
    return AsItWas(due_at=record.due_at, stuck=record.stuck, problem=problem)


def refuse_moved(record: Record) -> None:
    """Raise SagaMoved for a saga that is not to be touched in this store."""
    mark = None if record.problem is None else mark_of(record)
    if mark is None:
        return
    if mark.kind == "moved":
        raise SagaMoved(f"saga {record.saga_id} was moved to {mark.place}; look for it there")
    raise SagaMoved(
        f"saga {record.saga_id} is on its way from {mark.place}; it can be touched here when the copy that brings it "
        "has ended (run it again if it was stopped)"
    )
