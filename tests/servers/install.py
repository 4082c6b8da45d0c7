"""Where a server's program is: on the PATH, at Debian's place for it, or installed from Debian where that is allowed.

What must stay true: nothing is installed unless this is root's process or ``SAGAFSM_TEST_INSTALL=1`` says so
(``SAGAFSM_TEST_INSTALL=0`` forbids it to root too); two sessions never install at once; Debian starts no service of
its own for what is installed here.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

POLICY = Path("/usr/sbin/policy-rc.d")
NO_SERVICES = (
    "#!/bin/sh\n# Made while the tests of sagafsm install a server: its service is not to be started.\nexit 101\n"
)
PATIENCE = 600  # seconds for one apt-get


class NotHere(Exception):
    """A server cannot be used on this machine; the message says why and what would help."""


def program(name: str, *, places: Sequence[str] = (), packages: Sequence[str] = ()) -> Path:
    """Where a program is; ``places``: patterns of folders beside the PATH; ``packages``: Debian's. Raises NotHere."""
    if found := _look(name, places):
        return found
    if not packages:
        raise NotHere(f"no {name} on the PATH")
    hint = f"no {name} on the PATH; install it: apt-get install {' '.join(packages)}"
    if not _may_install():
        raise NotHere(f"{hint}, or let the tests do it: SAGAFSM_TEST_INSTALL=1")
    with _alone(), _clock_stopped():
        if not _look(name, places):  # another session may have been quicker
            _install(packages, hint)
    if found := _look(name, places):
        return found
    raise NotHere(f"{' '.join(packages)} was installed, but there is no {name} on the PATH or in {', '.join(places)}")


def _look(name: str, places: Sequence[str]) -> Path | None:
    if on_path := shutil.which(name):
        return Path(on_path)
    found = [path for place in places for path in Path("/").glob(f"{place.lstrip('/')}/{name}")]
    return max((path for path in found if os.access(path, os.X_OK)), key=_version, default=None)


def _version(path: Path) -> list[tuple[int, str]]:
    """What orders .../postgresql/9/... before .../postgresql/15/...: numbers count as numbers."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in path.parts]


def _may_install() -> bool:
    wish = os.environ.get("SAGAFSM_TEST_INSTALL", "")
    return bool(shutil.which("apt-get")) and (wish == "1" or (wish != "0" and os.geteuid() == 0))


def _install(packages: Sequence[str], hint: str) -> None:
    install = ["install", "--yes", "--no-install-recommends", *packages]
    with _without_services():
        # The lists of a fresh container are empty; those of an old one name versions that are gone.
        if _apt(install) and (_apt(["update"]) or _apt(install)):
            raise NotHere(f"{hint} (the tests tried: {_apt(install)[-500:]})")


def _apt(arguments: Sequence[str]) -> str:
    """Run apt-get; what it said where it failed."""
    command = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120", *arguments]
    if os.geteuid() != 0:
        command = ["sudo", "-n", "DEBIAN_FRONTEND=noninteractive", *command]
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        return str(exc)
    return "" if done.returncode == 0 else done.stdout or f"exit code {done.returncode}"


@contextmanager
def _without_services() -> Iterator[None]:
    """Debian asks this script before it starts a service. A script that is there already is left alone."""
    ours = os.geteuid() == 0 and not POLICY.exists()
    if ours:
        POLICY.write_text(NO_SERVICES)
        POLICY.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            POLICY.unlink(missing_ok=True)


@contextmanager
def _alone() -> Iterator[None]:
    """One installation at a time, whoever runs the tests."""
    path = Path(tempfile.gettempdir()) / "sagafsm-test-install.lock"
    descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _clock_stopped() -> Iterator[None]:
    """The time limit of a test does not run while a server is installed for it: that takes what the network takes."""
    left, interval = signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left, interval)
