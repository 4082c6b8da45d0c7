"""Says whether a server is a safe place for sagas, and how durable what is written there is."""

from __future__ import annotations

from sagafsm.core.errors import SettingsError
from sagafsm.store import Durability

from .driver import Connection
from .options import Options

OLDEST = 140000
"""The oldest server that is known to do what is asked here."""

LOOK = (
    "SELECT current_setting('server_version'), current_setting('fsync'), current_setting('full_page_writes'), "
    "current_setting('synchronous_commit'), current_setting('synchronous_standby_names'), pg_is_in_recovery()"
)


async def refuse_unfit(connection: Connection, options: Options) -> None:
    """Raise SettingsError where the server cannot keep what sagas hold."""
    row = await connection.fetchrow(
        "SELECT current_setting('server_version_num')::int, current_setting('server_version'), "
        "pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()"
    )
    number, version, encoding = row or (0, "?", "?")
    if number < OLDEST:
        raise SettingsError(f"{options.where} runs version {version}; {OLDEST // 10000} or newer is needed")
    if encoding != "UTF8":
        raise SettingsError(
            f"{options.where} has encoding {encoding}, which cannot hold every text; make a database with "
            "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )


async def is_pooled(connection: Connection) -> bool:
    """Whether somebody stands in between who hands our transactions to other connections: the server's process is then
    another one than we were told when we connected.
    """
    return bool(await connection.fetchval("SELECT pg_backend_pid()") != connection.get_server_pid())


async def durability(connection: Connection, options: Options) -> Durability:
    """What the server is set to, and what to mend."""
    row = await connection.fetchrow(LOOK)
    version, fsync, full_pages, default, standbys, standby = row or ("?", "off", "off", "off", "", False)
    commit = "off" if options.durability == "relaxed" else "on" if default == "off" else default
    warnings = []
    if fsync != "on":
        warnings.append("fsync is off: a crash of the machine can destroy everything; set fsync = on and restart")
    if full_pages != "on":
        warnings.append("full_page_writes is off: a crash of the machine can tear pages; set full_page_writes = on")
    if commit == "off":
        warnings.append("durability=relaxed: a crash of the server can lose what was acknowledged in the last second")
    if standby:
        warnings.append("this is a standby, which takes no writes: name the primary in the URL, or several hosts")
    description = (
        f"PostgreSQL {version}, fsync={fsync}, full_page_writes={full_pages}, synchronous_commit={commit} for our "
        "commits" + (f", standbys {standbys}" if standbys else "")
    )
    return Durability(synced=not warnings, description=description, warnings=tuple(warnings))
