"""Turns errors of the SQLite driver into ours.

What must stay true: an error before COMMIT has changed nothing (StoreUnavailable, StoreCorrupt); one at COMMIT may have
(OutcomeUnknown), unless SQLite says by its code that it has not begun to write or has taken everything back.
"""

from __future__ import annotations

import sqlite3

from sagafsm.core.errors import OutcomeUnknown, StoreCorrupt, StoreError, StoreUnavailable

POISON = (
    sqlite3.DataError,
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    UnicodeError,
    OverflowError,
)
"""What the driver raises where the fault is in the values handed over, not in the database."""

SAFE_AT_COMMIT = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY)


def primary_code(exc: sqlite3.Error) -> int:
    """SQLite's result code without its details, 0 where there is none (an error of the Python module)."""
    return getattr(exc, "sqlite_errorcode", 0) & 0xFF


def translate(exc: sqlite3.Error, where: str, *, committing: bool = False) -> StoreError:
    """Our error for the driver's; ``where`` names the database. To be raised ``from exc``."""
    code = primary_code(exc)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreCorrupt(
            f"{where} is damaged or no SQLite database ({exc}); keep a copy as it is, then restore a backup or run "
            "sqlite3's '.recover'"
        )
    if committing and code not in SAFE_AT_COMMIT:
        return OutcomeUnknown(f"{where}: the commit failed ({exc}); the write may or may not be in the database")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreUnavailable(
            f"{where} stayed locked by another process ({exc}); nothing was written; end the one that holds it, or "
            "wait longer with '?timeout=SECONDS'"
        )
    if code == sqlite3.SQLITE_FULL:
        return StoreUnavailable(f"no space left for {where} ({exc}); nothing was written; free some and it goes on")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_AUTH):
        return StoreUnavailable(
            f"{where} cannot be opened for writing ({exc}); its directory must exist, and this user needs the right "
            "to write to the file and to its directory"
        )
    return StoreUnavailable(f"{where} did not answer ({type(exc).__name__}: {exc}); nothing was written")
