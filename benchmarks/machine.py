"""The machine that a measurement ran on: a figure without it says nothing."""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import subprocess
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec

MOST_BUSY = 0.2
"""Cores that others keep busy, above which figures lie."""
GLANCE = 0.5  # seconds for which they are watched
QUICKEST_SYNC = 0.02
"""Milliseconds; no disk syncs faster, but a file system in memory does."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What to know of the machine. ``server``: the database that was measured, and how durable it is.

    ``sync_ms``: one fdatasync of 4 KiB where its files lie. ``busy``: how many cores others kept busy just before,
    while this process waited (where that cannot be seen: the load average).
    """

    at: str
    sagafsm: str
    commit: str | None
    python: str
    server: str
    system: str
    cores: int
    busy: float
    sync_ms: float

    def warnings(self) -> list[str]:
        """What makes the figures doubtful, in words."""
        found: list[str] = []
        if self.busy > MOST_BUSY:
            found.append(f"others keep {self.busy:.2f} cores busy, and the figures lie; end what else runs here")
        if self.sync_ms < QUICKEST_SYNC:
            found.append(
                f"an fdatasync takes {self.sync_ms:.3f} ms: the folder is probably in memory, where to be durable "
                "costs nothing; name one on a disk with --folder (TMPDIR for PostgreSQL and MongoDB)"
            )
        return found


def look(folder: Path, server: str) -> Facts:
    """The facts as they are now. ``folder`` is where the databases lie."""
    return Facts(
        at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        sagafsm=version("sagafsm"),
        commit=_commit(),
        python=platform.python_version(),
        server=server,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        busy=_busy(),
        sync_ms=_sync_ms(folder),
    )


def _busy() -> float:
    before = _worked()
    time.sleep(GLANCE)
    after = _worked()
    return os.getloadavg()[0] if before is None or after is None else (after - before) / GLANCE


def _worked() -> float | None:
    """Seconds for which the cores have worked since the system began."""
    try:
        user, nice, system, _, _, interrupts, soft, *_ = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    except OSError:
        return None
    return sum(map(int, (user, nice, system, interrupts, soft))) / os.sysconf("SC_CLK_TCK")


def _commit() -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    done = subprocess.run(
        [git, "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or None


def _sync_ms(folder: Path) -> float:
    sync = getattr(os, "fdatasync", os.fsync)
    took: list[float] = []
    path = folder / "sync"
    with path.open("wb", buffering=0) as file:
        for _ in range(50):
            file.write(b"x" * 4096)
            began = time.perf_counter()
            sync(file.fileno())
            took.append(time.perf_counter() - began)
    path.unlink()
    return statistics.median(took) * 1000


def resident() -> int:
    """Bytes of memory that this process has resident now (where that cannot be asked: the most it ever had)."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS counts bytes
    return pages * os.sysconf("SC_PAGE_SIZE")
