"""A pgbouncer that pools the transactions of a PostgreSQL server: each may get another server connection."""

from __future__ import annotations

from collections.abc import Sequence

from .base import HOST, Server
from .postgresql import PostgreSQL

SETTINGS = """
[databases]
* = host={host} port={server}
[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
pool_mode = transaction
server_round_robin = 1
default_pool_size = {pool_size}
max_client_conn = 200
"""


class PgBouncer(Server):
    """In front of ``server``. In turns, so that two transactions of a client hardly ever meet the same connection."""

    name = "pgbouncer"
    program = "pgbouncer"
    places = ("/usr/sbin",)
    packages = ("pgbouncer",)
    account = "postgres"

    def __init__(self, server: PostgreSQL, *, pool_size: int = 4) -> None:
        self.server = server
        self.pool_size = pool_size
        super().__init__()

    @property
    def url(self) -> str:
        return f"postgresql://sagafsm@{HOST}:{self.port}/postgres"

    def command(self) -> Sequence[str]:
        (self.folder / "users").write_text('"sagafsm" ""\n')
        values = {"host": HOST, "port": self.port, "server": self.server.port, "folder": self.folder}
        (self.folder / "settings.ini").write_text(SETTINGS.format(pool_size=self.pool_size, **values))
        return [str(self.find()), str(self.folder / "settings.ini")]
