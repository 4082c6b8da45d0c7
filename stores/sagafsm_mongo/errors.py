"""Turns errors of the driver and of the server into ours.

What must stay true: a write counts as not applied only where that is certain, because it was never sent or because the
server says by its code that it has not begun with it. Everything else about a write is OutcomeUnknown, also codes that
nobody here has heard of; so is a write that was applied but that no majority has confirmed in time.
"""

from __future__ import annotations

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
        13,  # Unauthorized
        18,  # AuthenticationFailed
        26,  # NamespaceNotFound
        59,  # CommandNotFound
        72,  # InvalidOptions
        73,  # InvalidNamespace
        115,  # CommandNotSupported
        323,  # APIStrictError
        391,  # ReauthenticationRequired
        8000,  # AtlasError: the plan does not allow it
    }
)
"""Codes by which the server refuses a whole command before it begins with it."""

NEVER_SENT = (errors.ServerSelectionTimeoutError, errors.WaitQueueTimeoutError, errors.ConfigurationError)


def translate(exc: BaseException, where: str, *, writing: bool) -> StoreError:
    """Our error for the driver's; ``where`` names the database. To be raised ``from exc``."""
    said = f"{type(exc).__name__}: {exc}"
    if isinstance(exc, InvalidBSON):
        return StoreCorrupt(f"{where}: a document cannot be read ({said}); it is left as it is")
    if isinstance(exc, errors.InvalidOperation):
        return StoreUnavailable(f"{where}: the client is closed ({said}); nothing was written")
    if isinstance(exc, errors.OperationFailure) and exc.code in (13, 18):
        return StoreUnavailable(f"{where}: this user may not do that ({said}); it needs the role readWrite")
    if not writing:
        return StoreUnavailable(f"{where} could not be read ({said})")
    if isinstance(exc, NEVER_SENT) or isinstance(exc.__cause__, ConnectionRefusedError):
        return StoreUnavailable(f"{where} cannot be reached ({said}); nothing was written")
    if isinstance(exc, errors.OperationFailure) and exc.code in NOT_BEGUN:
        return StoreUnavailable(f"{where} refuses the command ({said}); nothing was written")
    return OutcomeUnknown(f"{where}: the write may or may not have been applied ({said})")


def unconfirmed(error: Mapping[str, Any], where: str) -> OutcomeUnknown:
    """A write was applied, but a majority of the replica set has not confirmed it; it may still be rolled back."""
    return OutcomeUnknown(f"{where}: the write is not confirmed by a majority ({error.get('errmsg', error)})")


def doubtful(error: Mapping[str, Any], where: str) -> OutcomeUnknown:
    """One operation of a batch failed in a way that says nothing about whether it was applied."""
    return OutcomeUnknown(f"{where}: a write failed ({error.get('errmsg', error)}); it may have been applied")
