"""Says whether a file is a safe place for sagas, and how durable what is written there is."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

from sagafsm.core.errors import SettingsError
from sagafsm.store import Durability

from .connection import Connection
from .options import DOUBTFUL, NETWORK, WAL_RESET_FIXED, Options, file_system

SYNCHRONOUS = {0: "OFF", 1: "NORMAL", 2: "FULL", 3: "EXTRA"}


def refuse_network(path: Path) -> None:
    """Raise SettingsError where the file lies on a network file system."""
    kind = file_system(path.parent)
    if kind in NETWORK:
        raise SettingsError(
            f"{path} lies on a network file system ({kind}), where SQLite's locks do not work and files get damaged; "
            "use a local disk, or a database server ('postgresql://…')"
        )


def durability(options: Options, connection: Connection) -> Durability:
    """What the open connection is set to, and what to mend."""
    if options.path is None:
        lost = "an SQLite database in memory forgets everything when it is closed; use 'sqlite:///sagas.db'"
        return Durability(synced=False, description="SQLite in the memory of this process", warnings=(lost,))
    with connection.translated():
        cursor = connection.cursor()
        journal = str(cursor.execute("PRAGMA journal_mode").fetchone()[0])
        synchronous = SYNCHRONOUS[cursor.execute("PRAGMA synchronous").fetchone()[0]]
    warnings = []
    if journal.upper() != options.journal_mode:
        warnings.append(f"journal_mode is {journal}, not {options.journal_mode}: the file system may not allow it")
    if options.needs_lock:
        fixed = ".".join(map(str, WAL_RESET_FIXED))
        how = (
            "processes of sagafsm take turns by a lock file, so do not let other programs write to this database"
            if sys.platform != "win32"
            else "use it from one process only, or with '?journal_mode=DELETE'"
        )
        warnings.append(
            f"SQLite {sqlite3.sqlite_version} can damage a WAL database when two connections write at the same moment "
            f"(mended in {fixed}): {how}"
        )
    kind = file_system(Path(options.path).parent)
    if kind in DOUBTFUL:
        warnings.append(f"{options.path} lies on a '{kind}' file system, which may not lock and sync as it should")
    description = f"SQLite {sqlite3.sqlite_version}, journal_mode={journal}, synchronous={synchronous}"
    return Durability(synced=synchronous in ("FULL", "EXTRA"), description=description, warnings=tuple(warnings))
