"""What can be said in an SQLite URL: ``sqlite:///sagas.db?journal_mode=DELETE&timeout=10``."""

from __future__ import annotations

import math
import sqlite3
from pathlib import Path
from urllib.parse import parse_qsl

import attrs
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from sagafsm.core.errors import SettingsError

WAL_RESET_FIXED = (3, 51, 3)
"""Before this version of SQLite, two connections that write and checkpoint at once can damage a WAL database."""

NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "ncpfs", "afs", "fuse.sshfs", "fuse.davfs"})
DOUBTFUL = frozenset({"9p", "virtiofs", "fuse"})


@attrs.frozen(kw_only=True)
class Options:
    """Where the database is and how it is opened. ``path`` None: in memory. ``timeout``: seconds to wait for a lock."""

    path: str | None
    journal_mode: str = "WAL"
    timeout: float = 5.0

    @classmethod
    def from_url(cls, url: str) -> Options:
        try:
            parsed = make_url(url)
            database = parsed.database
        except (ArgumentError, ValueError) as exc:
            raise SettingsError(f"{url!r} is no SQLite URL; write for example 'sqlite:///sagas.db'") from exc
        if parsed.host:
            raise SettingsError(
                f"{url!r} names a host; an SQLite URL has three slashes before the file ('sqlite:///sagas.db'), "
                "four for an absolute path"
            )
        options = dict(parse_qsl(url.partition("?")[2], keep_blank_values=True))
        path = None if database in (None, "", ":memory:") else str(Path(str(database)).resolve())
        journal_mode = options.pop("journal_mode", "WAL").upper()
        if journal_mode not in ("WAL", "DELETE"):
            raise SettingsError(f"journal_mode={journal_mode!r} in {url!r}: write WAL (the default) or DELETE")
        timeout = _seconds(options.pop("timeout", "5"), url)
        if options:
            raise SettingsError(f"unknown option '{min(options)}' in {url!r}; known: journal_mode, timeout")
        return cls(path=path, journal_mode=journal_mode, timeout=timeout)

    @property
    def needs_lock(self) -> bool:
        """Whether writers of several connections must take turns by a lock of our own (see WAL_RESET_FIXED)."""
        return self.path is not None and self.journal_mode == "WAL" and sqlite3.sqlite_version_info < WAL_RESET_FIXED


def _seconds(text: str, url: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 3600:
        raise SettingsError(f"timeout={text!r} in {url!r}: write a number of seconds from 0 to 3600")
    return value


def file_system(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str | None:
    """The type of the file system that ``path`` lies on, where the system tells (Linux); else None."""
    try:
        lines = mounts.read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    where = str(path.resolve())
    best, kind = "", None
    for fields in (line.split() for line in lines):
        if len(fields) < 3:
            continue
        point = fields[1].replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
        inside = where == point or where.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, fields[2]
    return kind
