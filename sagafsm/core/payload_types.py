"""Types of payloads: whether JSON can give their values back, found out when a saga is declared.

What must stay true: no library is imported to support its classes; pydantic models are known by their own methods.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, cast

import attrs
import msgspec


def unstorable(kind: Any) -> str | None:
    """Why values of ``kind`` could not be read back from JSON, or None where they can."""
    try:
        return _unstorable(kind)
    except TypeError:  # an unhashable annotation
        return _unstorable.__wrapped__(kind)


@lru_cache(1024)
def _unstorable(kind: Any) -> str | None:
    try:
        for node in _nodes(msgspec.inspect.type_info(kind)):
            if isinstance(node, msgspec.inspect.CustomType) and not is_pydantic(node.cls):
                return f"{shown(node.cls)} is no dataclass, attrs class, TypedDict, pydantic model or plain JSON type"
            if isinstance(node, msgspec.inspect.DataclassType) and (
                lost := private_field(node.cls, (one.name for one in fields_of(node.cls)))
            ):
                return lost
        msgspec.json.Decoder(kind, dec_hook=read_custom)
    except Exception as error:  # unions that JSON cannot tell apart, names that cannot be resolved
        return str(error)
    return None


@lru_cache(1024)
def has_other_keys(kind: Any) -> bool:
    """Whether a type says that keys are something else than text, so that they come back as that."""
    try:
        nodes = list(_nodes(msgspec.inspect.type_info(kind)))
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
            waiting.extend(cast("list[Any]", node))
        elif isinstance(node, (msgspec.inspect.Type, msgspec.inspect.Field)) and id(node) not in seen:
            seen.add(id(node))
            if isinstance(node, msgspec.inspect.Type):
                yield node
            waiting.extend(getattr(node, name) for name in node.__struct_fields__)


def fields_of(kind: Any) -> Iterable[Any]:
    """The fields of an attrs class or a dataclass."""
    found: Iterable[Any] = attrs.fields(kind) if attrs.has(kind) else dataclasses.fields(kind)
    return found


def private_field(kind: Any, names: Iterable[str]) -> str | None:
    """Why fields would be lost: of attrs classes and dataclasses, `msgspec` leaves out those with an underscore."""
    lost = [name for name in names if name.startswith("_")]
    if not lost or issubclass(kind, msgspec.Struct):
        return None
    return f"{shown(kind)}.{lost[0]} begins with an underscore, so it would not be stored; rename it"


def keyed_fields(kind: Any) -> frozenset[str]:
    """The fields of a class whose types say so."""
    try:
        hints = typing.get_type_hints(kind)
    except Exception:  # a name that cannot be resolved: msgspec says so when it reads the class
        return frozenset()
    return frozenset(name for name, hint in hints.items() if has_other_keys(hint))


# --- classes that msgspec does not know ---


def is_pydantic(kind: Any) -> bool:
    """Whether a class is a pydantic model (of version 2)."""
    return hasattr(kind, "__pydantic_validator__") and hasattr(kind, "model_validate_json")


def read_custom(kind: Any, value: Any) -> Any:
    """Plain data as a class that `msgspec` does not know (its ``dec_hook``)."""
    if is_pydantic(kind):
        return kind.model_validate_json(msgspec.json.encode(value), **_by_name(kind))
    raise TypeError(f"{shown(kind)} cannot be read from JSON")


@lru_cache(1024)
def _by_name(kind: Any) -> dict[str, bool]:
    """Models are written by the names of their fields; where aliases exist, pydantic must be told to read those."""
    takes = inspect.signature(kind.model_validate_json).parameters
    return {"by_name": True, "by_alias": True} if "by_name" in takes else {}


def shown(kind: Any) -> str:
    """How an error names a type."""
    if isinstance(kind, type) and not typing.get_args(kind):
        return kind.__qualname__
    return str(kind).replace("typing.", "")
