"""Where something was declared: the file and the line that an error names.

What must stay true: frames of this library are never named, the user's are; nothing here keeps a frame alive.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

_CORE = str(Path(__file__).parent)
_CLASS_FORM = tuple(str(Path(__file__).parent.parent / name) for name in ("declare.py", "decorators.py"))


def _is_ours(filename: str) -> bool:
    return filename.startswith((_CORE, "<attrs generated", functools.__file__)) or filename in _CLASS_FORM


def _user_frame() -> FrameType | None:
    frame = inspect.currentframe()
    while frame is not None and _is_ours(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


def caller() -> str:
    """``file:line`` of the user's code that called into the declaration."""
    frame = _user_frame()
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else ""


def names_around(qualname: str, filename: str) -> Mapping[str, Any]:
    """The local names of the functions around a definition, as far as they are running: types of a test live there."""
    running: dict[str, FrameType] = {}
    frame = inspect.currentframe()
    while frame is not None and "<locals>" in qualname:
        if frame.f_code.co_filename == filename:
            running.setdefault(frame.f_code.co_qualname, frame)
        frame = frame.f_back
    found: dict[str, Any] = {}
    scope = qualname
    while scope := scope.rpartition(".<locals>.")[0]:
        if scope in running:
            found = {**running[scope].f_locals, **found}
    return found


def unwrapped(function: Any) -> Any:
    """The function below ``functools.partial``, ``functools.wraps`` and bound methods."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif inspect.ismethod(function):
            function = function.__func__
        elif (inner := getattr(function, "__dict__", {}).get("__wrapped__")) is not None:
            function = inner
        else:
            return function


def location(function: Callable[..., Any]) -> str:
    """``file:line`` of a function, or nothing for one that has no source (a builtin, a callable object's class)."""
    inner: Any = unwrapped(function)
    call = inspect.getattr_static(type(inner), "__call__", None)  # of an object that can be called
    code = getattr(inner, "__code__", None) or getattr(call, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if isinstance(code, CodeType) else ""
