"""A PostgreSQL server: ``SAGAFSM_TEST_POSTGRESQL_URL`` names one that runs already and may be written to."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .base import HOST, Server

PLACES = ("/usr/lib/postgresql/*/bin",)
SETTINGS = {"max_connections": "200", "unix_socket_directories": "", "listen_addresses": HOST}
"""The rest is as PostgreSQL comes: durable."""


class PostgreSQL(Server):
    """A cluster of its own, with one database; who connects as ``sagafsm`` may do everything."""

    name = "postgresql"
    program = "postgres"
    places = PLACES
    packages = ("postgresql",)
    account = "postgres"
    stop_signal = signal.SIGINT  # does not wait for clients to leave

    @property
    def url(self) -> str:
        return f"postgresql://sagafsm@{HOST}:{self.port}/postgres"

    @property
    def data(self) -> Path:
        """Where the cluster lies."""
        return self.folder / "data"

    def prepare(self) -> None:
        options = ["--no-sync", "--no-locale", "--encoding=UTF8", "--auth=trust", "--username=sagafsm"]
        self.run(self._tool("initdb"), *options, "--pgdata", self.data)

    def command(self) -> Sequence[str]:
        given = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        return [str(self.find()), "-D", str(self.data), "-p", str(self.port), *given]

    def ready(self) -> bool:
        asked = [str(self._tool("pg_isready")), "--quiet", "--host", HOST, "--port", str(self.port)]
        return subprocess.run(asked, timeout=10, check=False).returncode == 0

    def crash(self) -> None:
        """End it as ``pg_ctl stop -m immediate`` does: nothing is finished, the next start recovers from the log."""
        self._end(signal.SIGQUIT)

    def _tool(self, name: str) -> Path:
        return self.find().resolve().parent / name
