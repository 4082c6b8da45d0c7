"""One server process of a test: started on a free loopback port, killed, paused, started again, and gone at the end.

What must stay true: every wait has a deadline, and what the server said last is in the error; when the object is
closed, or this process dies in whatever way while the server runs, nothing of the server runs any more and its folder
is gone; it listens on the loopback interface alone.
"""

from __future__ import annotations

import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from .install import program

HOST = "127.0.0.1"
PATIENCE = 30.0  # seconds for a start or a stop: far more than it takes, because the machine may be busy
ATTEMPTS = 3  # another process can take a free port before the server does
LOWEST_PORT = 10_000  # below are those of services that people run
PORTS_OF_CONNECTIONS = Path("/proc/sys/net/ipv4/ip_local_port_range")
# Ends the server's group when the pipe to this process breaks, that is, however this process ends; then removes the
# folder, as often as the last of what the server started (PostgreSQL's are in groups of their own) still writes to it.
GUARD = """read -r _; kill -s KILL -- "-$1"
for _ in 1 2 3 4 5 6 7 8 9 10; do rm -rf -- "$2" 2>/dev/null && sleep 0.5 && [ ! -e "$2" ] && exit; sleep 0.5; done"""


class Server(ABC):
    """A server of one kind. A subclass says where its program is, how it is called, and when it is ready.

    ::

        class Redis(Server):
            name = "redis"                      # SAGAFSM_TEST_REDIS_URL gives one that runs already
            program = "redis-server"
            packages = ("redis-server",)

            @property
            def url(self): return f"redis://{HOST}:{self.port}/0"

            def command(self): return [str(self.find()), "--port", str(self.port), "--dir", str(self.folder)]

    Tests get theirs from the fixture ``servers`` (:mod:`tests.servers.plugin`).
    """

    name: ClassVar[str]
    program: ClassVar[str]
    places: ClassVar[Sequence[str]] = ()
    """Folders beside the PATH where Debian puts the program; patterns such as ``/usr/lib/postgresql/*/bin``."""
    packages: ClassVar[Sequence[str]] = ()
    """Debian packages that bring the program."""
    account: ClassVar[str | None] = None
    """Who runs the server where root runs the tests, or ``nobody`` where there is no such account; None: root does."""
    stop_signal: ClassVar[int] = signal.SIGTERM

    def __init__(self) -> None:
        self.find()
        self.take_ports()
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        # In /tmp, not in pytest's folder: that one is closed to other accounts, and too long for a socket's path.
        self.folder = Path(tempfile.mkdtemp(prefix=f"sagafsm-{self.name}-"))
        self.own(self.folder)
        try:
            self.prepare()
        except BaseException:
            self.close()
            raise

    # --- what a subclass says ---

    @property
    @abstractmethod
    def url(self) -> str:
        """The URL of a store on this server."""

    @abstractmethod
    def command(self) -> Sequence[str]:
        """The command that starts it on ``self.port`` in ``self.folder``, in the foreground."""

    def prepare(self) -> None:  # noqa: B027 - most servers need nothing
        """Make what it needs in ``self.folder`` before it is first started."""

    def take_ports(self) -> None:
        """Choose where it listens; called again where something else was quicker."""
        self.port = free_port()

    def ready(self) -> bool:
        """Whether it answers; asked until it does."""
        with socket.create_connection((HOST, self.port), timeout=1):
            return True

    @classmethod
    def find(cls) -> Path:
        """Its program, installed if need be. Raises NotHere."""
        return program(cls.program, places=cls.places, packages=cls.packages)

    @classmethod
    def given(cls) -> str | None:
        """The URL of a server that runs already, from the environment."""
        return os.environ.get(f"SAGAFSM_TEST_{cls.name.upper()}_URL") or None

    # --- what tests do with it ---

    def start(self) -> Self:
        """Start it and wait until it is ready; on the same port and folder as before."""
        assert self._process is None, f"{self.name} runs already"
        fresh = not self.log
        for attempt in range(ATTEMPTS):
            if attempt and fresh:
                self.take_ports()
            self._launch()
            if self._came_up():
                return self
            self._end(signal.SIGKILL)
        raise AssertionError(f"{self.name} does not start; its last words:\n{self.last_words}")

    def stop(self) -> None:
        """End it in an orderly way."""
        self._end(self.stop_signal)

    def kill(self) -> None:
        """End it, and the processes it started, with SIGKILL; :meth:`start` brings it back."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop it in an orderly way and start it again."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze it with SIGSTOP: connections stay open, nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    @property
    def running(self) -> bool:
        """Whether its process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """What it wrote to its standard output and error so far."""
        path = self.folder / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def last_words(self) -> str:
        """The end of its log."""
        return self.log[-3000:]

    def close(self) -> None:
        """End it and remove what it left."""
        self._end(signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- for subclasses ---

    def own(self, path: Path) -> None:
        """Give a path to the account that runs the server."""
        if user := self.user:
            os.chown(path, user.pw_uid, user.pw_gid)

    @property
    def user(self) -> pwd.struct_passwd | None:
        """The account that the server runs under, where it is not this process's own."""
        if self.account is None or os.geteuid() != 0:
            return None
        try:
            return pwd.getpwnam(self.account)
        except KeyError:
            return pwd.getpwnam("nobody")

    def run(self, *command: str | Path, seconds: float = PATIENCE) -> str:
        """Run a command to its end as the server's account; what it printed. Its failure is an AssertionError."""
        user = self.user
        done = subprocess.run(
            [str(part) for part in command],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
            user=user.pw_uid if user else None,
            group=user.pw_gid if user else None,
            extra_groups=[] if user else None,
        )
        assert done.returncode == 0, f"{command[0]} ended with {done.returncode}:\n{done.stdout[-3000:]}"
        return done.stdout

    # --- how ---

    def _launch(self) -> None:
        user = self.user
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                list(self.command()),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=user.pw_uid if user else None,
                group=user.pw_gid if user else None,
                extra_groups=[] if user else None,
            )
        self._guard = subprocess.Popen(
            ["sh", "-c", GUARD, "guard", str(self._process.pid), str(self.folder)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def _came_up(self) -> bool:
        """Wait until it is ready; False where it ended instead."""
        deadline = time.monotonic() + PATIENCE
        while self.running:
            with suppress(OSError):
                if self.ready():
                    return True
            if time.monotonic() > deadline:
                self._end(signal.SIGKILL)
                raise AssertionError(
                    f"{self.name} is not ready within {PATIENCE:g} s; its last words:\n{self.last_words}"
                )
            time.sleep(0.02)
        return False

    def _signal(self, number: int) -> None:
        assert self._process is not None, f"{self.name} does not run"
        for pid in (self._process.pid, *descendants(self._process.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _end(self, number: int) -> None:
        process, guard = self._process, self._guard
        self._process = self._guard = None
        if guard is not None:
            guard.kill()
            guard.wait()
            assert guard.stdin is not None
            guard.stdin.close()
        if process is None:
            return
        children = descendants(process.pid)
        for signal_number in (number, signal.SIGCONT):  # a paused process takes no other signal than SIGKILL
            process.send_signal(signal_number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
        process.kill()
        process.wait()
        with suppress(ProcessLookupError):  # what it left to itself when it ended
            os.killpg(process.pid, signal.SIGKILL)
        bury(children)


def free_port() -> int:
    """A port of the loopback interface that nothing uses now.

    None of those that the system gives to connections: a server that is killed would not get it back while one of them
    has it.
    """
    for _ in range(100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind((HOST, random.SystemRandom().randrange(LOWEST_PORT, _lowest_of_connections())))
            return int(probe.getsockname()[1])
    raise AssertionError("there is no free port on the loopback interface")


def _lowest_of_connections() -> int:
    """The first of the ports that the system gives to connections; where it does not tell, that of IANA."""
    try:
        return max(int(PORTS_OF_CONNECTIONS.read_text().split()[0]), LOWEST_PORT + 1000)
    except OSError:
        return 49152


def descendants(pid: int) -> dict[int, str]:
    """The processes that a process started, and those that they started, with the times of their birth.

    None where the system does not tell.
    """
    parents: dict[int, dict[int, str]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        if stat := _stat(int(path.name)):
            parents.setdefault(int(stat[1]), {})[int(path.name)] = stat[19]
    found: dict[int, str] = {}
    waiting = [pid]
    while waiting:
        children = parents.get(waiting.pop(), {})
        found |= children
        waiting += children
    return found


def bury(processes: Mapping[int, str]) -> None:
    """Kill what is left of these processes, and wait until they are gone."""
    deadline = time.monotonic() + PATIENCE
    for pid, born in processes.items():
        while lives(pid, born):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            assert time.monotonic() < deadline, f"process {pid} does not end"
            time.sleep(0.01)


def lives(pid: int, born: str) -> bool:
    """Whether this very process is there and is not one that only waits to be buried."""
    stat = _stat(pid)
    return stat is not None and stat[19] == born and stat[0] not in "ZX"


def _stat(pid: int) -> list[str] | None:
    """What Linux tells of a process, from its state on: 1 is the parent, 19 the time of its birth (see proc(5))."""
    try:
        # The name in parentheses may hold anything, also spaces and parentheses.
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
