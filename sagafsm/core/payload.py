"""Payloads: what users hand in and steps return, as JSON text and back.

What must stay true: what is encoded here decodes to the same data, in every store, or is refused before anything is
written; nothing is pickled; no library is imported to support its classes (pydantic models are known by their own
methods). A saga stores a payload at every step, so a small one must cost about a microsecond.

`msgspec` alone would store ``nan`` as ``null`` and the key ``1`` as ``"1"``, which is why every value is looked over
before it is encoded. What only the text can show (NUL, lone surrogates, the size) is seen in the text.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import inspect
import typing
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final

import attrs
import msgspec

LIMIT: Final = 1_048_576  # bytes of one payload
MAX_DEPTH: Final = 100
_ROWS = frozenset({list, tuple, set, frozenset})
_LEAVES = frozenset(
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
        return f"{self.what}{': ' if self.what else ''}${self.path}: {self.problem}"


class NotReadable(ValueError):
    """Stored JSON does not fit the type that it is read as; says where, and what was expected."""


def encode(value: Any, *, what: str, limit: int = LIMIT, type: Any = Any) -> msgspec.Raw:
    """``value`` as JSON. ``what`` names it in errors; ``limit`` is in bytes.

    ``type`` is what it will be read as, where that is known: keys that are not strings survive only if it says so.
    Raises :class:`NotStorable`.
    """
    other_keys = type is not Any and _has_other_keys(type)
    try:
        text = _encode(value)
        if value.__class__ not in _LEAVES:
            _look(value, 0, other_keys)
    except (NotStorable, TypeError, ValueError, RecursionError) as error:
        raise _reason(value, error, other_keys).of(what) from error
    if len(text) > limit:
        raise NotStorable(
            f"{len(text):,} bytes of JSON are over the limit of {limit:,}; store it elsewhere and keep a reference"
        ).of(what)
    if b"\\u0000" in text and (path := _find_text(_decode(text), "", _has_nul)) is not None:
        raise NotStorable("a NUL character, which databases refuse", path).of(what)
    return msgspec.Raw(text)


def decode(raw: msgspec.Raw | bytes, type: Any = Any) -> Any:
    """What :func:`encode` made of a value, as ``type``. Raises :class:`NotReadable`."""
    try:
        return decoder(type).decode(raw)
    except msgspec.ValidationError as error:
        raise NotReadable(f"stored data does not fit {_shown(type)}: {error}") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise NotReadable(f"stored data is not JSON: {error}") from error


def convert(value: Any, type: Any) -> Any:
    """Plain data as ``type``. Raises :class:`NotReadable`."""
    if type is Any:
        return value
    try:
        return msgspec.convert(value, type, dec_hook=_read_custom)
    except msgspec.ValidationError as error:
        raise NotReadable(f"data does not fit {_shown(type)}: {error}") from error


def decoder(type: Any = Any) -> msgspec.json.Decoder[Any]:
    """The decoder of a type; made once, so it can be kept."""
    try:
        return _decoder(type)
    except TypeError:  # an unhashable annotation
        return msgspec.json.Decoder(type, dec_hook=_read_custom)


def unstorable(type: Any) -> str | None:
    """Why values of ``type`` could not be read back from JSON, or None where they can."""
    try:
        return _unstorable(type)
    except TypeError:  # an unhashable annotation
        return _unstorable.__wrapped__(type)


@lru_cache(1024)
def _decoder(type: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(type, dec_hook=_read_custom)


@lru_cache(1024)
def _unstorable(type: Any) -> str | None:
    try:
        for node in _nodes(msgspec.inspect.type_info(type)):
            if isinstance(node, msgspec.inspect.CustomType) and not _is_pydantic(node.cls):
                return f"{_shown(node.cls)} is no dataclass, attrs class, TypedDict, pydantic model or plain JSON type"
        msgspec.json.Decoder(type, dec_hook=_read_custom)
    except Exception as error:  # unions that JSON cannot tell apart, names that cannot be resolved
        return str(error)
    return None


@lru_cache(1024)
def _has_other_keys(type: Any) -> bool:
    try:
        nodes = list(_nodes(msgspec.inspect.type_info(type)))
    except Exception:
        return False
    plain = (msgspec.inspect.StrType, msgspec.inspect.AnyType)
    return any(isinstance(node, msgspec.inspect.DictType) and not isinstance(node.key_type, plain) for node in nodes)


def _nodes(root: msgspec.inspect.Type) -> Iterator[msgspec.inspect.Type]:
    """Every type below ``root``. Classes may be recursive, so each is entered once."""
    seen: set[int] = set()
    waiting: list[Any] = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (tuple, list)):
            waiting.extend(node)
        elif isinstance(node, (msgspec.inspect.Type, msgspec.inspect.Field)) and id(node) not in seen:
            seen.add(id(node))
            if isinstance(node, msgspec.inspect.Type):
                yield node
            waiting.extend(getattr(node, name) for name in node.__struct_fields__)


# --- looking a value over ---


def _look(value: Any, depth: int, other_keys: bool) -> None:
    """Refuse what JSON text would not show. Leaves are judged in the loop of their container, for speed."""
    kind = value.__class__
    if kind is dict:
        if depth >= MAX_DEPTH:
            raise _too_deep()
        for key, item in value.items():
            if key.__class__ is not str:
                _look_at_key(key, other_keys)
            kind = item.__class__
            if kind in _LEAVES or (kind is float and item - item == 0.0):
                continue
            try:
                _look(item, depth + 1, other_keys)
            except NotStorable as error:
                raise error.under(_step(str(key))) from None
    elif kind in _ROWS:
        if depth >= MAX_DEPTH:
            raise _too_deep()
        for index, item in enumerate(value):
            kind = item.__class__
            if kind in _LEAVES or (kind is float and item - item == 0.0):
                continue
            try:
                _look(item, depth + 1, other_keys)
            except NotStorable as error:
                raise error.under(f"[{index}]") from None
    elif kind in _LEAVES:
        return
    elif isinstance(value, float):
        if value - value != 0.0:
            raise NotStorable(f"a float that is not finite ({value}), and JSON has no such number")
    elif (fields := _fields_of(kind)) is not None:
        _look_into(value, depth, *fields)
    elif isinstance(value, enum.Enum):
        _look(value.value, depth, other_keys)
    elif not isinstance(value, msgspec.Raw):
        _look(_write_custom(value), depth, other_keys)


def _look_into(value: Any, depth: int, get: Callable[[Any], Iterable[Any]], names: Sequence[str], keyed: bool) -> None:
    if depth >= MAX_DEPTH:
        raise _too_deep()
    for item in get(value):
        kind = item.__class__
        if kind in _LEAVES or (kind is float and item - item == 0.0):
            continue
        try:
            _look(item, depth + 1, keyed)
        except NotStorable as error:
            place = next(index for index, other in enumerate(get(value)) if other is item)
            raise error.under(f".{names[place]}") from None


def _look_at_key(key: Any, other_keys: bool) -> None:
    if isinstance(key, str):
        return
    if not other_keys:
        raise NotStorable(f"the key {key!r} is not a string, and would come back as one")
    if isinstance(key, float) and key - key != 0.0:
        raise NotStorable(f"the key {key!r} is not finite")


def _too_deep() -> NotStorable:
    return NotStorable(f"nested deeper than {MAX_DEPTH} levels, or part of itself")


@lru_cache(1024)
def _fields_of(kind: type) -> tuple[Callable[[Any], Iterable[Any]], Sequence[str], bool] | None:
    """A quick way to get the values of all fields of a class, their names, and whether it has keys of other types."""
    if attrs.has(kind):
        names = tuple(field.name for field in attrs.fields(kind))
    elif issubclass(kind, msgspec.Struct):
        names = kind.__struct_fields__
    elif dataclasses.is_dataclass(kind):
        names = tuple(field.name for field in dataclasses.fields(kind))
    elif issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return iter, kind._fields, _has_other_keys(kind)
    else:
        return None
    if len(names) > 1:
        return attrgetter(*names), names, _has_other_keys(kind)
    return lambda value: [getattr(value, name) for name in names], names, _has_other_keys(kind)


# --- classes that msgspec does not know ---


def _is_pydantic(kind: type) -> bool:
    return hasattr(kind, "__pydantic_validator__") and hasattr(kind, "model_validate_json")


def _write_custom(value: Any) -> Any:
    """A pydantic model as its data; a subclass of a plain type (a numpy float, marked-up text) as that type."""
    if _is_pydantic(type(value)):
        return value.model_dump(mode="json", round_trip=True)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    for kind in (dict, list, tuple):
        if isinstance(value, kind):
            return kind(value)
    raise NotStorable(f"{_shown(type(value))} objects cannot be stored as JSON; use plain data, or a dataclass of it")


def _read_custom(kind: Any, value: Any) -> Any:
    if _is_pydantic(kind):
        return kind.model_validate_json(_encode(value), **_by_name(kind))
    raise TypeError(f"{_shown(kind)} cannot be read from JSON")


@lru_cache(1024)
def _by_name(kind: Any) -> dict[str, bool]:
    """Models are written by the names of their fields; where aliases exist, pydantic must be told to read those."""
    takes = inspect.signature(kind.model_validate_json).parameters
    return {"by_name": True, "by_alias": True} if "by_name" in takes else {}


_encode: Callable[[Any], bytes] = msgspec.json.Encoder(enc_hook=_write_custom).encode
_decode: Callable[[bytes], Any] = msgspec.json.Decoder().decode


# --- saying what is wrong ---


def _reason(value: Any, error: Exception, other_keys: bool) -> NotStorable:
    """Why a value could not be encoded, with the path to the part that is to blame."""
    try:
        _look(value, 0, other_keys)
    except NotStorable as found:
        return found
    except RecursionError:
        return _too_deep()
    if isinstance(error, UnicodeEncodeError):
        plain = msgspec.to_builtins(value, enc_hook=_write_custom, str_keys=True)
        return NotStorable("a lone surrogate, which is not Unicode text", _find_text(plain, "", _has_surrogate) or "")
    return NotStorable(str(error))


def _find_text(value: Any, path: str, bad: Callable[[str], bool]) -> str | None:
    """The path to the first bad text in plain data."""
    if isinstance(value, str):
        return path if bad(value) else None
    if isinstance(value, dict):
        parts = [(key, f"{path}{_step(key)}", item) for key, item in value.items()]
    elif isinstance(value, (list, tuple)):
        parts = [("", f"{path}[{index}]", item) for index, item in enumerate(value)]
    else:
        return None
    found = (step if bad(key) else _find_text(item, step, bad) for key, step, item in parts)
    return next((step for step in found if step is not None), None)


def _step(key: str) -> str:
    return f".{key}" if key.isidentifier() else f"[{key!r}]"


def _has_nul(text: str) -> bool:
    return "\0" in text


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _shown(kind: Any) -> str:
    if isinstance(kind, type) and not typing.get_args(kind):
        return kind.__qualname__
    return str(kind).replace("typing.", "")
