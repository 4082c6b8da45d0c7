"""Turns errors of the PostgreSQL driver into ours, by SQLSTATE.

What must stay true: an error that the server sent has undone its statement, so nothing was written (StoreUnavailable).
In doubt (OutcomeUnknown) is only a write whose connection was lost, or that was cut short, after it may have been sent.

The codes: https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg  # type: ignore[import-untyped]

from sagafsm.core.errors import OutcomeUnknown, StoreError, StoreUnavailable

DRIVER = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
"""Whatever the driver raises. What it raises where a value cannot be encoded is an InterfaceError too."""

POISON = ("22", "23", "54")
"""Classes of codes where the fault is in the values: data exception, integrity violation, a limit of the program."""

TRY_AGAIN = ("40001", "40P01", "55P03")
"""The statement lost against another one: serialization failure, deadlock, lock not available."""

IN_DOUBT = ("08", "40003", "57014", "57P01", "57P02", "57P05")
"""The connection went, or the statement was cut short; a commit may have been done by then (57014: it was waiting for
a standby, and stands locally)."""

MIGRATE = "run `sagafsm migrate`, or open the store once with migrate=True (the default)"

HINTS = {
    "08P01": "a pooler may stand in between: add '?prepared=no' to the URL",
    "25006": "it is read-only, perhaps a standby: name the primary, or several hosts",
    "26000": "a pooler stands in between: add '?prepared=no' to the URL",
    "28000": "the user may not connect: is there such a user, and does the server's pg_hba.conf allow it?",
    "28P01": "the password is wrong: look at the URL, or at PGPASSWORD",
    "3D000": "make the database first: CREATE DATABASE … ENCODING 'UTF8'",
    "3F000": MIGRATE,
    "42501": "the user needs more rights: see docs/how-to/postgresql.md",
    "42883": MIGRATE,
    "42P01": MIGRATE,
    "42P05": "a pooler stands in between: add '?prepared=no' to the URL",
    "53100": "the disk is full: free some space and it goes on",
    "53300": "it has no connection left: raise max_connections, lower pool_size, or put pgbouncer in front",
}


def code(exc: BaseException | None) -> str:
    """The SQLSTATE, empty where the server said nothing."""
    return getattr(exc, "sqlstate", None) or ""


def words(exc: BaseException) -> str:
    """What the driver says. Not the details that it adds: there may be values of users in them."""
    said = str(exc.args[0] if isinstance(exc, asyncpg.PostgresError) and exc.args else exc)
    return " ".join(said.split()) or type(exc).__name__


def is_poison(exc: BaseException | None) -> bool:
    """Whether the fault is in the values handed over, so that asking again is of no use."""
    return isinstance(exc, ValueError) or code(exc).startswith(POISON)


def may_try_again(exc: BaseException | None) -> bool:
    """Whether nothing was written, and the same statement may well succeed at once."""
    return code(exc) in TRY_AGAIN


def translate(exc: BaseException, where: str, *, writing: bool) -> StoreError:
    """Our error for the driver's; to be raised ``from exc``. ``writing``: it may have been sent and changes data."""
    said = words(exc)
    if isinstance(exc, asyncpg.PostgresError):
        hint = HINTS.get(code(exc))
        what = f"{where} says: {said} ({code(exc)})" + (f"; {hint}" if hint else "")
        lost = code(exc).startswith(IN_DOUBT)
    elif isinstance(exc, ValueError) or (isinstance(exc, asyncpg.InterfaceError) and writing):
        # Raised before anything was sent: the value cannot be encoded, or the connection was closed already.
        what, lost = f"{where} was not asked: {said}", False
    else:
        what = f"{where} does not answer in time" if isinstance(exc, TimeoutError) else f"{where} is away: {said}"
        if isinstance(exc, ConnectionRefusedError | FileNotFoundError | socket.gaierror):
            what += "; is the server running, and are host and port right?"
        lost = True
    if lost and writing:
        return OutcomeUnknown(f"{what}; the write may or may not be in the database")
    if isinstance(exc, ValueError):
        return StoreError(what)
    return StoreUnavailable(f"{what}; nothing was written" if writing else what)


@contextmanager
def translated(where: str, *, writing: bool = False) -> Iterator[None]:
    """Errors of the driver inside the block leave it as ours."""
    try:
        yield
    except DRIVER as exc:
        raise translate(exc, where, writing=writing) from exc
