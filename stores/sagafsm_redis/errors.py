"""Turns errors of the Redis driver into ours.

What must stay true: a write of which at least one byte may have been sent, and that was not answered, may have been
applied (OutcomeUnknown); one that the server answered with an error of the kinds below, or that was never sent, was
certainly not (StoreUnavailable).
"""

from __future__ import annotations

from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterCrossSlotError,
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
    MasterDownError: "this replica has lost its master",
    ClusterDownError: "the cluster does not serve all of its slots; it takes some seconds to replace a master",
    AskError: "these keys are on their way from one server of the cluster to another",
    TryAgainError: "these keys are on their way from one server of the cluster to another",
    ClusterCrossSlotError: "the keys of one call lie in different slots: the servers do not agree on what a slot is",
    NoScriptError: "the server forgot a script between two messages",
    NoPermissionError: "this user may not do that; docs/how-to/redis.md names the rights that it needs",
    AuthenticationError: "user or password are wrong or missing; the URL may name them: redis://user:password@host",
}
"""What the server says before it has done anything, and what that means."""

CODES = {
    "MISCONF": "the server cannot write to its disk; see to its disk and its log",
    "NOREPLICAS": "fewer replicas are connected than 'min-replicas-to-write' asks for",
    "BUSY": "somebody's script has been running for too long; if it never ends, send SCRIPT KILL",
    "ANOTHERDB": (
        "the database is no longer the one that was opened: it was emptied, or a server without its data took over; "
        "nothing is written to it until this process is started again"
    ),
    "max number of clients": "the server has as many clients as it may; raise its 'maxclients'",
    "This instance has cluster support disabled": (
        "this server is not part of a cluster: write 'redis://' instead of 'redis+cluster://'"
    ),
    "unknown command": "the server is too old, or is not Redis: Redis 6.2 or newer is needed",
    "Protocol error": "the server does not take a message of this size",
    "DB index is out of range": "the server has no database of this number; its 'databases' says how many it has",
}


def refusal(exc: BaseException) -> str | None:
    """What an answer means that the server gives before it does anything; None for any other error."""
    for kind, meaning in HELP.items():
        if isinstance(exc, kind):
            return meaning
    text = str(exc).removeprefix("ERR ")  # which the driver takes away where it knows it
    return next((meaning for code, meaning in CODES.items() if text.startswith(code)), None)


ADVICE = {
    "mismatch, certificate is not valid for": (
        "the certificate is for another name: write that name in the URL, or ssl_check_hostname=no"
    ),
    "certificate verify failed": "name the file of the authority that signed it: ssl_ca_certs=/path/to/ca.pem",
    "onnection reset by peer": "if this stays so: does it expect TLS? Then write 'rediss://', on a cluster 'tls=yes'",
    "TimeoutError": "if this stays so: 'redis://' is without TLS, 'rediss://' with; which is spoken there?",
}
"""What may help where no connection comes about."""


def _advice(said: str) -> str:
    return next((f"; {advice}" for text, advice in ADVICE.items() if text in said), "")


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
        return StoreUnavailable(f"{where} cannot be reached ({said}); nothing was written{_advice(said)}")
    if meaning is not None:
        return StoreUnavailable(f"{where} refused ({said}): {meaning}; nothing was written")
    return StoreUnavailable(f"{where} could not be read ({said})")


__all__ = ["Lost", "NotSent", "RedisError", "TooFew", "refusal", "translate"]
