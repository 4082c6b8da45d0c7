"""Values of payloads: whether JSON text can hold them without loss, looked over part by part.

What must stay true: a value that passes is read back as the same data; an error has the path to the part to blame.
`msgspec` alone would store ``nan`` as ``null`` and the key ``1`` as ``"1"``. A value is looked over at every step of
a saga, so the loops are written for speed: a small one must cost less than a microsecond.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import uuid
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, cast

import attrs
import msgspec

from .payload_types import fields_of, is_pydantic, keyed_fields, private_field, shown

MAX_DEPTH: Final = 100
_SHOWN_PATH: Final = 120
_ROWS = frozenset({list, tuple, set, frozenset})
_TEXT = frozenset({str})
LEAVES = frozenset(
    {
        str, int, bool, type(None), bytes, bytearray, memoryview, uuid.UUID, decimal.Decimal,
        datetime.datetime, datetime.date, datetime.time, datetime.timedelta,
    }
)  # fmt: skip


class NotStorable(Exception):
    """A value cannot be stored as JSON; says which part of it, and why."""

    def __init__(self, problem: str, path: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.path = path
        self.what = ""

    def under(self, step: str) -> NotStorable:
        """The same problem, seen from one level further out."""
        self.path = step + self.path
        return self

    def of(self, what: str) -> NotStorable:
        """The same problem, with the name of the whole value."""
        self.what = what
        return self

    def __str__(self) -> str:
        path = self.path if len(self.path) <= _SHOWN_PATH else f"{self.path[:_SHOWN_PATH]}…"
        return f"{self.what}{': ' if self.what else ''}${path}: {self.problem}"


# --- looking a value over ---


def look(value: Any, depth: int, other_keys: bool) -> None:
    """Refuse what JSON text would not show. Leaves are judged in the loop of their container, for speed."""
    kind: Any = type(value)
    if kind is dict:
        if depth >= MAX_DEPTH:
            raise too_deep()
        if LEAVES.issuperset(map(type, value.values())) and _TEXT.issuperset(map(type, value)):
            return  # most are flat; floats, of which some are not numbers, are looked at one by one
        for key, item in value.items():
            if type(key) is not str:
                _look_at_key(key, other_keys)
            kind = type(item)
            if kind in LEAVES or (kind is float and item - item == 0.0):
                continue
            try:
                look(item, depth + 1, other_keys)
            except NotStorable as error:
                raise error.under(_step(str(key))) from None
    elif kind in _ROWS:
        if depth >= MAX_DEPTH:
            raise too_deep()
        for index, item in enumerate(value):
            kind = type(item)
            if kind in LEAVES or (kind is float and item - item == 0.0):
                continue
            try:
                look(item, depth + 1, other_keys)
            except NotStorable as error:
                raise error.under(f"[{index}]") from None
    elif (fields := _plan_of(kind)) is not None:
        if depth >= MAX_DEPTH:
            raise too_deep()
        names, get, keyed = fields
        for item in get(value):
            kind = type(item)
            if kind in LEAVES or (kind is float and item - item == 0.0):
                continue
            name = next(name for name in names if getattr(value, name) is item) if keyed else ""
            try:
                look(item, depth + 1, name in keyed)
            except NotStorable as error:
                name = name or next(name for name in names if getattr(value, name) is item)
                raise error.under(f".{name}") from None
    elif isinstance(value, float):
        if value - value != 0.0:
            raise NotStorable(f"a float that is not finite ({value}), and JSON has no such number")
    elif isinstance(value, enum.Enum):
        look(value.value, depth, other_keys)
    elif kind not in LEAVES and not isinstance(value, msgspec.Raw):
        look(write_custom(value), depth, other_keys)


def _look_at_key(key: Any, other_keys: bool) -> None:
    if isinstance(key, str):
        return
    if not other_keys:
        raise NotStorable(f"the key {key!r} is not a string, and would come back as one")
    if isinstance(key, float) and key - key != 0.0:
        raise NotStorable(f"the key {key!r} is not finite")


def too_deep() -> NotStorable:
    """The error for what has no bottom, or might have none."""
    return NotStorable(f"nested deeper than {MAX_DEPTH} levels, or part of itself")


@lru_cache(1024)
def _plan_of(kind: Any) -> tuple[Sequence[str], Callable[[Any], Iterable[Any]], frozenset[str]] | None:
    """The fields of a class, a quick way to get all their values, and those that may have keys of other types."""
    names: Sequence[str]
    if attrs.has(kind) or dataclasses.is_dataclass(kind):
        names = [field.name for field in fields_of(kind)]
    elif issubclass(kind, msgspec.Struct):
        names = kind.__struct_fields__
    elif issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return cast(Any, kind)._fields, tuple, keyed_fields(kind)
    else:
        return None
    if private := private_field(kind, names):
        raise NotStorable(private)
    if len(names) > 1:
        return names, attrgetter(*names), keyed_fields(kind)

    def get(value: Any) -> Iterable[Any]:
        return [getattr(value, name) for name in names]

    return names, get, keyed_fields(kind)


def write_custom(value: Any) -> Any:
    """A pydantic model as its data; a subclass of a plain type (a numpy float, marked-up text) as that type."""
    if is_pydantic(type(value)):
        try:
            return value.model_dump(mode="json", round_trip=True, warnings="error")
        except ValueError as error:  # it holds what its own type forbids
            raise NotStorable(str(error)) from error
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, dict):
        entries: dict[Any, Any] = value
        return dict(entries)
    if isinstance(value, (list, tuple)):
        return list(cast("Iterable[Any]", value))
    raise NotStorable(f"{shown(type(value))} objects cannot be stored as JSON; use plain data, or a dataclass of it")


# --- texts ---


def find_text(value: Any, path: str, bad: Callable[[str], bool]) -> str | None:
    """The path to the first bad text in plain data."""
    if isinstance(value, str):
        return path if bad(value) else None
    if isinstance(value, dict):
        entries = cast("dict[str, Any]", value).items()
        parts = [(key, f"{path}{_step(key)}", item) for key, item in entries]
    elif isinstance(value, (list, tuple)):
        items = cast("Sequence[Any]", value)
        parts = [("", f"{path}[{index}]", item) for index, item in enumerate(items)]
    else:
        return None
    found = (step if bad(key) else find_text(item, step, bad) for key, step, item in parts)
    return next((step for step in found if step is not None), None)


def _step(key: str) -> str:
    return f".{key}" if key.isidentifier() else f"[{key!r}]"


def has_nul(text: str) -> bool:
    """Whether a text has a character in it that databases refuse."""
    return "\0" in text


def has_surrogate(text: str) -> bool:
    """Whether a text has half a character in it, which cannot be written as UTF-8."""
    return any("\ud800" <= character <= "\udfff" for character in text)
