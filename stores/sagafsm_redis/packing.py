"""How a command goes out: packed by hiredis, whose own types say less than it can do."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from hiredis import pack_command

Value = bytes | str | int

_pack = cast("Callable[[tuple[Value, ...]], bytes]", pack_command)


def pack(*words: Value) -> bytes:
    """One command."""
    return _pack(words)
