"""The advisory lock by which the writers of one SQLite file take turns.

What must stay true: SQLite before 3.51.3 can damage a WAL database when two connections write and checkpoint at the
same moment (https://sqlite.org/wal.html#walresetbug). Whoever writes, checkpoints or closes a connection holds this
lock, in every process; then it cannot happen between sagafsm's own. Other programs that write do not know the lock.
"""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType

from sagafsm.core.errors import StoreUnavailable

if sys.platform != "win32":  # there SQLite's own locks are all there is
    import fcntl

FIRST_PAUSE, LONGEST_PAUSE = 0.0002, 0.01


class FileLock:
    """Held in a ``with`` block, by one thread only and not twice at once.

    Waits up to ``timeout`` seconds, then raises StoreUnavailable.
    """

    def __init__(self, path: str, timeout: float) -> None:
        self.path = path
        self._timeout = timeout
        self._file: int | None = None

    def __enter__(self) -> None:
        if sys.platform == "win32":
            return
        if self._file is None:
            try:
                self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            except OSError as exc:
                raise StoreUnavailable(
                    f"the lock file {self.path} cannot be opened ({exc.strerror}); the database's directory must "
                    "exist, and this user needs the right to write to it"
                ) from exc
        pause, deadline = FIRST_PAUSE, time.monotonic() + self._timeout
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError as exc:
                # A blocking call could not give up: a stopped process would hold everybody for ever.
                if time.monotonic() >= deadline:
                    raise StoreUnavailable(
                        f"{self.path} stayed locked by another process for {self._timeout:g} s; nothing was written; "
                        "end the one that holds it, or wait longer with '?timeout=SECONDS'"
                    ) from exc
            except OSError as exc:
                raise StoreUnavailable(
                    f"{self.path} cannot be locked ({exc.strerror}); nothing was written; use a file system that knows "
                    "locks, or '?journal_mode=DELETE'"
                ) from exc
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if sys.platform != "win32" and self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give the file back; it stays where it is, because another process may be about to lock it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
