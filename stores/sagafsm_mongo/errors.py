"""Turns errors of the driver and of the server into ours.

What must stay true: a write counts as not applied only where that is certain, because it was never sent or because the
server says by its code that it has not begun with it. Everything else about a write is OutcomeUnknown, also codes that
nobody here has heard of; so is a write that was applied but that no majority has confirmed in time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bson.errors import BSONError, InvalidBSON, InvalidDocument
from pymongo import errors

from sagafsm.core.errors import OutcomeUnknown, StoreCorrupt, StoreError, StoreUnavailable

DRIVER = (errors.PyMongoError, BSONError, OSError)
"""Everything that a call of the driver raises where the fault is not in the values handed over."""

POISON = (InvalidDocument, UnicodeError, OverflowError)
"""What the driver raises, before it sends anything, where a value cannot be written down as BSON."""

DUPLICATE_KEY = 11000

REFUSES = frozenset(
    {
        2,  # BadValue
        9,  # FailedToParse
        14,  # TypeMismatch
        121,  # DocumentValidationFailure: somebody gave the collection a schema
        146,  # ExceededMemoryLimit
        10334,  # BSONObjectTooLarge
        17280,  # KeyTooLong
        17419,  # the document would grow over 16 MB
        17420,  # a document over 16 MB
    }
)
"""Codes by which the server refuses one operation of many, now and later, for what it holds."""

NOT_BEGUN = frozenset(
    {
        26,  # NamespaceNotFound
        59,  # CommandNotFound
        72,  # InvalidOptions
        73,  # InvalidNamespace
        115,  # CommandNotSupported
        323,  # APIStrictError
        391,  # ReauthenticationRequired
        8000,  # AtlasError: wrong user, or the plan does not allow it
    }
)
"""Codes by which the server refuses a whole command before it begins with it."""

UNAUTHORIZED = 13
UNKNOWN_USER = (11, 18)  # UserNotFound, AuthenticationFailed

_AT_LENGTH = re.compile(r" \(configured timeouts|, Timeout: | to execute command \{|, full error: ")


def translate(exc: BaseException, where: str, *, writing: bool) -> StoreError:
    """Our error for the driver's; ``where`` names the database. To be raised ``from exc``."""
    said = f"{type(exc).__name__}: {_short(str(exc))}"
    if isinstance(exc, InvalidBSON):
        return StoreCorrupt(f"{where}: a document cannot be read ({said}); it is left as it is")
    if isinstance(exc, errors.InvalidOperation):
        return StoreUnavailable(f"{where}: the client is closed ({said}); nothing was written")
    if isinstance(exc, errors.OperationFailure) and exc.code in UNKNOWN_USER:
        return StoreUnavailable(
            f"{where}: the server does not know this user with this password ({said}); a user is looked up in the "
            "database that the URL names, unless it says …?authSource=admin; nothing was written"
        )
    if isinstance(exc, errors.OperationFailure) and exc.code == UNAUTHORIZED:
        return StoreUnavailable(f"{where}: this user may not do that ({said}); it needs the role readWrite")
    if isinstance(exc, errors.ConfigurationError):
        return StoreUnavailable(f"{where} cannot be used ({said}); nothing was written")
    if isinstance(exc, errors.ServerSelectionTimeoutError):
        return StoreUnavailable(
            f"{where} cannot be reached ({said}); is the server running, is there a primary, and are host, port, "
            "replicaSet and tls in the URL right? Nothing was written"
        )
    if not writing:
        return StoreUnavailable(f"{where} could not be read ({said})")
    if isinstance(exc, errors.WaitQueueTimeoutError) or isinstance(exc.__cause__, ConnectionRefusedError):
        return StoreUnavailable(f"{where} cannot be reached ({said}); nothing was written")
    if isinstance(exc, errors.OperationFailure) and exc.code in NOT_BEGUN:
        return StoreUnavailable(f"{where} refuses the command ({said}); nothing was written")
    return OutcomeUnknown(f"{where}: the write may or may not have been applied ({said})")


def _short(said: str) -> str:
    """What the driver says, less its account of all servers, and less the command: there are sagas in it."""
    return _AT_LENGTH.split(said, maxsplit=1)[0][:500]


def unconfirmed(error: Mapping[str, Any], where: str) -> OutcomeUnknown:
    """A write was applied, but a majority of the replica set has not confirmed it; it may still be rolled back."""
    return OutcomeUnknown(f"{where}: the write is not confirmed by a majority ({error.get('errmsg', error)})")


def doubtful(error: Mapping[str, Any], where: str) -> OutcomeUnknown:
    """One operation of a batch failed in a way that says nothing about whether it was applied."""
    return OutcomeUnknown(f"{where}: a write failed ({error.get('errmsg', error)}); it may have been applied")
