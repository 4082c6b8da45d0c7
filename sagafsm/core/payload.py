"""Payloads: what users hand in and steps return, as JSON text and back.

What must stay true: what is encoded here decodes to the same data, in every store, or is refused before anything is
written; nothing is pickled; no library is imported to support its classes (pydantic models are known by their own
methods). A saga stores a payload at every step, so a small one must cost about a microsecond.

`msgspec` alone would store ``nan`` as ``null`` and the key ``1`` as ``"1"``, which is why every value is looked over
before it is encoded. What only the text can show (NUL, lone surrogates, the size) is seen in the text.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import typing
import uuid
from collections.abc import Callable, Iterator
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final

import attrs
import msgspec

LIMIT: Final = 1_048_576  # bytes of one payload
MAX_DEPTH: Final = 100
_SMALLEST_INT: Final = -(2**63)
_LARGEST_INT: Final = 2**64 - 1
_LEAVES = frozenset(
    {
        str, bool, type(None), bytes, bytearray, memoryview, uuid.UUID, decimal.Decimal,
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

    def __str__(self) -> str:
        return f"{self.what}{': ' if self.what else ''}${self.path}: {self.problem}"


class NotReadable(Exception):
    """Stored JSON does not fit the type that it is read as; says where, and what was expected."""


def encode(value: Any, *, what: str, limit: int = LIMIT, type: Any = Any) -> msgspec.Raw:
    """``value`` as JSON. ``what`` names it in errors; ``limit`` is in bytes.

    ``type`` is what it will be read as, where that is known: keys that are not strings survive only if it says so.
    Raises :class:`NotStorable`.
    """
    try:
        _look(value, 0, type is not Any and _has_other_keys(type))
        text = _encoder.encode(value)
    except NotStorable as error:
        error.what = what
        raise
    except UnicodeEncodeError:
        raise _text_error(value, what, "a lone surrogate, which is not Unicode text", _has_surrogate) from None
    except (TypeError, ValueError, RecursionError) as error:
        problem = NotStorable(str(error))
        problem.what = what
        raise problem from error
    if len(text) > limit:
        problem = NotStorable(
            f"{len(text):,} bytes of JSON are over the limit of {limit:,}; store it elsewhere and keep a reference"
        )
        problem.what = what
        raise problem
    if b"\\u0000" in text and _find_text(msgspec.json.decode(text), "", _has_nul) is not None:
        raise _text_error(value, what, "a NUL character, which databases refuse", _has_nul)
    return msgspec.Raw(text)


def decode(raw: msgspec.Raw | bytes, type: Any = Any) -> Any:
    """What :func:`encode` made of a value, as ``type``. Raises :class:`NotReadable`."""
    try:
        return decoder(type).decode(raw)
    except msgspec.ValidationError as error:
        raise NotReadable(f"stored data does not fit {_shown(type)}: {error}") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise NotReadable(f"stored data is not JSON: {error}") from error


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
    """Refuse what JSON text would not show. Written for speed: leaves of a container are judged in its own loop."""
    kind = type(value)
    if kind is dict:
        if depth >= MAX_DEPTH:
            raise _too_deep()
        for key, item in value.items():
            if type(key) is not str:
                _look_at_key(key, other_keys)
            kind = type(item)
            if kind in _LEAVES:
                continue
            if kind is int:
                if _SMALLEST_INT <= item <= _LARGEST_INT:
                    continue
            elif kind is float and item - item == 0.0:
                continue
            try:
                _look(item, depth + 1, other_keys)
            except NotStorable as error:
                raise error.under(f".{key}" if str(key).isidentifier() else f"[{key!r}]") from None
    elif kind is list or kind is tuple or kind is set or kind is frozenset:
        if depth >= MAX_DEPTH:
            raise _too_deep()
        for index, item in enumerate(value):
            kind = type(item)
            if kind in _LEAVES:
                continue
            try:
                _look(item, depth + 1, other_keys)
            except NotStorable as error:
                raise error.under(f"[{index}]") from None
    elif kind in _LEAVES:
        return
    elif kind is int:
        if not _SMALLEST_INT <= value <= _LARGEST_INT:
            raise NotStorable("an integer of more than 64 bits; store it as text")
    elif kind is float:
        if value - value != 0.0:
            raise NotStorable(f"a float that is not finite ({value}); JSON has no such number")
    else:
        _look_into_object(value, depth, other_keys)


def _look_into_object(value: Any, depth: int, other_keys: bool) -> None:
    kind = type(value)
    fields = _fields_of(kind)
    if fields is not None:
        if depth >= MAX_DEPTH:
            raise _too_deep()
        names, get = fields
        keyed = _has_other_keys(kind)
        for name, item in zip(names, get(value), strict=True):
            if type(item) in _LEAVES:
                continue
            try:
                _look(item, depth + 1, keyed)
            except NotStorable as error:
                raise error.under(f".{name}") from None
    elif isinstance(value, enum.Enum):
        _look(value.value, depth, other_keys)
    elif (plain := _as_plain(value)) is not None:
        _look(plain, depth, other_keys)
    elif not isinstance(value, msgspec.Raw):
        raise NotStorable(f"a {_shown(kind)}, which cannot be stored as JSON; use plain data or a dataclass of it")


def _look_at_key(key: Any, other_keys: bool) -> None:
    if isinstance(key, str) and not isinstance(key, enum.Enum):
        return
    if not other_keys:
        raise NotStorable(f"the key {key!r} is not a string, and would come back as one")
    if isinstance(key, float) and key - key != 0.0:
        raise NotStorable(f"the key {key!r} is not finite")


def _too_deep() -> NotStorable:
    return NotStorable(f"nested deeper than {MAX_DEPTH} levels, or part of itself")


@lru_cache(1024)
def _fields_of(kind: type) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]] | None:
    """The names of a class's fields and a quick way to get all their values."""
    if attrs.has(kind):
        names = tuple(field.name for field in attrs.fields(kind))
    elif issubclass(kind, msgspec.Struct):
        names = kind.__struct_fields__
    elif hasattr(kind, "__dataclass_fields__"):
        names = tuple(kind.__dataclass_fields__)
    elif issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return tuple(kind._fields), tuple
    else:
        return None
    if len(names) < 2:
        return names, lambda value: tuple(getattr(value, name) for name in names)
    return names, attrgetter(*names)


# --- classes that msgspec does not know ---


def _is_pydantic(kind: type) -> bool:
    return hasattr(kind, "__pydantic_validator__") and hasattr(kind, "model_validate_json")


def _as_plain(value: Any) -> Any:
    """A pydantic model as its data; a subclass of a plain type (a numpy float, marked-up text) as that type."""
    if _is_pydantic(type(value)):
        return value.model_dump(mode="json", round_trip=True)
    for kind in (str, int, float, dict, list, tuple):
        if isinstance(value, kind):
            return kind.__str__(value) if kind is str else kind(value)
    return None


def _write_custom(value: Any) -> Any:
    plain = _as_plain(value)
    if plain is None:
        raise NotStorable(f"a {_shown(type(value))}, which cannot be stored as JSON")
    return plain


def _read_custom(kind: type, value: Any) -> Any:
    if _is_pydantic(kind):
        return kind.model_validate_json(msgspec.json.encode(value))  # type: ignore[attr-defined]
    raise TypeError(f"{_shown(kind)} cannot be read from JSON")


_encoder = msgspec.json.Encoder(enc_hook=_write_custom)


# --- what only the text shows ---


def _text_error(value: Any, what: str, problem: str, bad: Callable[[str], bool]) -> NotStorable:
    path = _find_text(msgspec.to_builtins(value, enc_hook=_write_custom, str_keys=True), "", bad)
    error = NotStorable(problem, path or "")
    error.what = what
    return error


def _find_text(value: Any, path: str, bad: Callable[[str], bool]) -> str | None:
    """Where the first bad text is."""
    if isinstance(value, str):
        return path if bad(value) else None
    found: str | None = None
    if isinstance(value, dict):
        for key, item in value.items():
            step = f"{path}.{key}" if key.isidentifier() else f"{path}[{key!r}]"
            found = step if bad(key) else _find_text(item, step, bad)
            if found is not None:
                break
    elif isinstance(value, list):
        for index, item in enumerate(value):
            found = _find_text(item, f"{path}[{index}]", bad)
            if found is not None:
                break
    return found


def _has_nul(text: str) -> bool:
    return "\0" in text


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _shown(kind: Any) -> str:
    if isinstance(kind, type) and not typing.get_args(kind):
        return kind.__qualname__
    return str(kind).replace("typing.", "")
