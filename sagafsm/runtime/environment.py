"""Time, chance and identity: everything that differs from one run to the next.

What must stay true: the runtime reads the time, draws random numbers and makes ids only here, so that a simulation can
hand in its own and repeat a run exactly. Correctness never rests on a wall clock: the engine's time is the store's,
carried forward by a monotonic clock.
"""

from __future__ import annotations

import itertools
import os
import random
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Environment:
    """The real world. Tests and simulations replace it. ``threads``: whether there may be others than the loop's."""

    threads = True

    def __init__(self) -> None:
        self.monotonic: Callable[[], float] = time.monotonic
        self.spread: Callable[[], float] = lambda: random.uniform(-1.0, 1.0)
        self._prefix = uuid.uuid4().hex[:16]
        self._count = itertools.count(1)

    def append_id(self) -> str:
        """An id that no other append ever has."""
        return f"{self._prefix}-{next(self._count):x}"

    def saga_id(self) -> str:
        """An id for a saga that was given none: a UUID of version 7 (RFC 9562), so that new sagas lie side by side.

        Its time only sorts; nothing is ever decided by it. Random ids made a creation on SQLite twice as dear.
        """
        made_at = time.time_ns() // 1_000_000
        chance = int.from_bytes(os.urandom(10), "big")
        value = (made_at & 0xFFFF_FFFF_FFFF) << 80 | chance
        value = value & ~(0xF << 76) | 0x7 << 76
        return uuid.UUID(int=value & ~(0x3 << 62) | 0x2 << 62).hex

    def worker_id(self) -> str:
        """An id that says which process this is, so that others on the same host can tell when it is gone.

        ``boot id : process namespace : process id : start time : random``. Never reused, not even by the same pod name.
        """
        host, namespace = _host()
        return f"{host}:{namespace}:{os.getpid()}:{_start_time(os.getpid()) or 0}:{uuid.uuid4().hex[:12]}"

    def is_dead(self, worker_id: str) -> bool:
        """Whether that worker's process certainly no longer runs: it lived on this host, and is not there now."""
        try:
            host, namespace, pid, started, _ = worker_id.split(":")
            process = int(pid)
        except ValueError:
            return False
        if (host, namespace) != _host():
            return False
        if started == "0":
            return sys.platform == "darwin" and not _exists(process)
        return _start_time(process) != started


def _host() -> tuple[str, str]:
    """This boot of this host, and this process namespace (a container has its own)."""
    try:
        boot = _BOOT_ID.read_text().strip()
        namespace = Path("/proc/self/ns/pid").readlink().name.removeprefix("pid:").strip("[]")
    except OSError:
        return f"{uuid.getnode():x}-{sys.platform}", "0"
    return boot, namespace


def _start_time(pid: int) -> str | None:
    """When a process of this namespace started, as an opaque text; None where there is none, or nobody can tell."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it may hold spaces and brackets
    return None if fields[0] in ("Z", "X") else fields[19]


def _exists(pid: int) -> bool:
    """Whether some process has this id. Where nobody can tell when it started, only a free id says for certain."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


class StoreClock:
    """The store's time without asking the store: its last answer, carried forward by the monotonic clock.

    Never ahead of the store by more than the drift of the two clocks since the last answer: the answer was given
    before it was received. Jumps of this process's wall clock change nothing.
    """

    def __init__(self, environment: Environment) -> None:
        self._monotonic = environment.monotonic
        self._offset = 0.0

    def set(self, store_now: float) -> None:
        """Take over an answer that has just come in."""
        self._offset = store_now - self._monotonic()

    def __call__(self) -> float:
        """The time by the store's clock, in seconds since the epoch."""
        monotonic = self._monotonic  # a name first: CPython 3.11 is slow to call an attribute that is not a method
        return monotonic() + self._offset
