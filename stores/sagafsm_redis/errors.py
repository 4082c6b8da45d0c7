"""Turns errors of the Redis driver into ours.

What must stay true: a write of which at least one byte may have been sent, and that was not answered, may have been
applied (OutcomeUnknown); one that the server answered with an error of the kinds below, or that was never sent, was
certainly not (StoreUnavailable).
"""

from __future__ import annotations

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from sagafsm.core.errors import OutcomeUnknown, StoreCorrupt, StoreError, StoreUnavailable


class NotSent(Exception):
    """No byte of the command has left this process; the driver's error is its cause."""


class Lost(Exception):
    """The command was sent, at least in part, and there will be no answer; the driver's error is its cause."""


class TooFew(Exception):
    """The write was applied, but fewer replicas than were asked for have said so in time."""


HELP = {
    OutOfMemoryError: "the server has used up its 'maxmemory'; give it more, or purge finished sagas",
    ReadOnlyError: "this server is a replica, or has become one; the URL must lead to the master",
    BusyLoadingError: "the server is still reading its data after a start",
    ClusterDownError: "the cluster does not serve all of its slots; it takes some seconds to replace a master",
    MasterDownError: "this replica has lost its master",
    TryAgainError: "the cluster is moving these keys to another server",
    NoScriptError: "the server forgot a script between two messages",
    NoPermissionError: "this user may not do that (see ACL in docs/how-to/redis.md)",
    AuthenticationError: "the server refuses the user or the password",
}
"""What the server says before it has done anything, and what that means."""

CODES = {
    "MISCONF": "the server cannot write to its disk",
    "NOREPLICAS": "fewer replicas are connected than 'min-replicas-to-write' asks for",
    "BUSY": "a script of somebody's has been running for too long",
    "CROSSSLOT": "the keys of one call lie in different slots",
    "ANOTHERDB": (
        "the database is no longer the one that was opened: it was emptied, or a server without its data took over; "
        "nothing is written to it until this process is started again"
    ),
    "ERR max number of clients": "the server has as many clients as it may ('maxclients')",
    "ERR unknown command": "the server is too old: Redis 6.2 is needed",
    "ERR Protocol error": "the server does not take a message of this size",
}


def refusal(exc: BaseException) -> str | None:
    """What an answer means that the server gives before it does anything; None for any other error."""
    for kind, meaning in HELP.items():
        if isinstance(exc, kind):
            return meaning
    text = str(exc)
    return next((meaning for code, meaning in CODES.items() if text.startswith(code)), None)


def translate(exc: BaseException, where: str, *, write: bool, applied: bool = False) -> StoreError:
    """Our error for the driver's; ``applied``: another part of the same write was. To be raised ``from`` the cause."""
    what = exc if exc.__cause__ is None else exc.__cause__
    said = f"{type(what).__name__}: {what}" if str(what) else type(what).__name__
    meaning = refusal(what)
    if isinstance(exc, TooFew):
        return OutcomeUnknown(f"{where}: {exc}; the write is there, but a failover may still lose it")
    certain = isinstance(exc, NotSent) or meaning is not None
    if write and (applied or not certain):
        part = "one part of the write was applied and another was not" if applied else "the write may have been applied"
        return OutcomeUnknown(f"{where} did not answer ({said}); {part}")
    if isinstance(what, ResponseError) and str(what).startswith("WRONGTYPE"):
        return StoreCorrupt(
            f"{where}: a key holds something that sagafsm did not put there ({what}); remove or rename it"
        )
    if isinstance(exc, NotSent) and meaning is None:
        return StoreUnavailable(f"{where} cannot be reached ({said}); nothing was written")
    if meaning is not None:
        return StoreUnavailable(f"{where} refused ({said}): {meaning}; nothing was written")
    return StoreUnavailable(f"{where} could not be read ({said})")


__all__ = ["Lost", "NotSent", "RedisError", "TooFew", "refusal", "translate"]
