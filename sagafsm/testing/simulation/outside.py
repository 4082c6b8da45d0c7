"""What a simulated function may not reach (sockets, threads, programs), and how it sleeps and draws numbers.

What must stay true: only calls of the user's functions are affected, and only while they are simulated; a refusal is
noted as well as raised, because a function may swallow the error.
"""

from __future__ import annotations

import functools
import os
import random
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from .watch import Watch


class CannotSimulate(RuntimeError):
    """The saga's functions do what no simulation can repeat thousands of times: the error says what, and what to do."""


@attrs.define(eq=False)
class Call:
    """A call of a user's function that is under way. ``slept``: seconds for which it wanted to block its thread."""

    function: str
    watch: Watch
    slept: float = 0.0


CALL: ContextVar[Call | None] = ContextVar("sagafsm_call", default=None)

_lock = threading.Lock()
_inside = 0
_real: list[tuple[Any, str, Any]] = []


@contextmanager
def sealed() -> Iterator[None]:
    """While this is open, calls that are simulated (see ``CALL``) reach nothing outside and draw the run's chance."""
    global _inside  # what is replaced is the process's, and so is the count
    with _lock:
        _inside += 1
        if _inside == 1:
            _replace()
    before = random.getstate()
    try:
        yield
    finally:
        random.setstate(before)
        with _lock:
            _inside -= 1
            while _inside == 0 and _real:
                owner, name, real = _real.pop()
                setattr(owner, name, real)


def _replace() -> None:
    for owner, name, make in _STAND_INS:
        real = getattr(owner, name)
        _real.append((owner, name, real))
        setattr(owner, name, functools.wraps(real)(make(real)))


def _refusing(what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def make(real: Callable[..., Any]) -> Callable[..., Any]:
        def stand_in(*arguments: Any, **keywords: Any) -> Any:
            call = CALL.get()
            if call is None or call.watch.outside:
                return real(*arguments, **keywords)
            raise call.watch.refuse(call.function, what)

        return stand_in

    return make


def _sleeping(real: Callable[[float], None]) -> Callable[[float], None]:
    def sleep(seconds: float) -> None:
        call = CALL.get()
        if call is None:
            real(seconds)
        else:
            call.slept += seconds

    return sleep


def _drawing(real: Callable[[int], bytes]) -> Callable[[int], bytes]:
    def urandom(size: int, /) -> bytes:
        return real(size) if CALL.get() is None else random.randbytes(size)

    return urandom


_STAND_INS: tuple[tuple[Any, str, Callable[[Any], Callable[..., Any]]], ...] = (
    (socket.socket, "connect", _refusing("connects a socket")),
    (socket.socket, "connect_ex", _refusing("connects a socket")),
    (socket, "getaddrinfo", _refusing("looks up a host")),
    (threading.Thread, "start", _refusing("starts a thread")),
    (subprocess.Popen, "__init__", _refusing("starts a program")),
    (time, "sleep", _sleeping),
    (os, "urandom", _drawing),
    (random, "_urandom", _drawing),
)
