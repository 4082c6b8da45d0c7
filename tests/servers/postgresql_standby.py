"""A standby of a PostgreSQL server: a copy that follows it, takes no writes, and may take over."""

from __future__ import annotations

from .base import HOST
from .postgresql import PostgreSQL


class Standby(PostgreSQL):
    """Follows ``primary``, which has to run when this is made. Asynchronously, unless the primary asks for more."""

    name = "postgresql_standby"

    def __init__(self, primary: PostgreSQL) -> None:
        self.primary = primary
        super().__init__()

    def prepare(self) -> None:
        source = f"host={HOST} port={self.primary.port} user=sagafsm application_name=standby"
        options = ["--write-recovery-conf", "--checkpoint=fast", "--no-sync", f"--dbname={source}"]
        self.run(self._tool("pg_basebackup"), *options, "--pgdata", self.data)
