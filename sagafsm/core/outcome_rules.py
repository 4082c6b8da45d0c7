"""Rules that read an exception of a client library: may the call have happened?

What must stay true: nothing is imported from a client library, so a rule reads attributes only. A rule answers
``"open"``, ``"failed"`` (it certainly did not happen) or None (this exception does not tell). In doubt it answers
``"open"``: an effect that is compensated once too often is harmless, one that is never compensated is not. The first
paragraph of a rule's docstring is what the documentation says about it.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from typing import Any, Literal

Verdict = Literal["rejected", "open", "failed"]
Judge = Callable[[BaseException], Verdict | None]  # the verdict on an exception that another one wraps
Rule = Callable[[Any, Judge], Verdict | None]

# No 5xx says that nothing was done, except these three, which say that the request was never understood or let through.
_REFUSED_STATUS = frozenset({501, 505, 511})
_UNFINISHED_STATUS = frozenset({408, 499})  # sent by proxies that stopped waiting for the server behind them

_NETWORK_DOWN = frozenset(
    getattr(errno, name)
    for name in ("EHOSTUNREACH", "EHOSTDOWN", "ENETUNREACH", "ENETDOWN", "ENETRESET", "ENOTCONN")
    if hasattr(errno, name)
)

_GRPC_REFUSED = frozenset(
    {
        "INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "UNAUTHENTICATED",
        "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    }
)  # fmt: skip

_NEVER_CONNECTED_SQLSTATES = frozenset({"08001", "08004", "57P03"})
_LOST_SQLSTATES = frozenset({"40003", "57P01", "57P02", "57P04", "57P05"})  # and class 08
_PSYCOPG_CONNECTING = ("connection failed:", "connection is bad:")

_AWS_UNFINISHED = frozenset(
    {"PriorRequestNotComplete", "RequestTimeout", "RequestTimeoutException", "TransactionInProgressException"}
)

# "not writable primary" and its like are refusals; the other codes of a NotPrimaryError are interruptions.
_MONGO_REFUSED = frozenset({10058, 10107, 13435, 13436})
_MONGO_INTERRUPTED = frozenset({6, 7, 50, 64, 89, 91, 189, 262, 9001, 11600, 11602})

_LIBRDKAFKA_LOST = frozenset(
    {
        "_MSG_TIMED_OUT", "_TIMED_OUT", "_TIMED_OUT_QUEUE", "_TRANSPORT", "_FAIL", "_DESTROY", "_ALL_BROKERS_DOWN",
        "_PURGE_INFLIGHT", "UNKNOWN", "NETWORK_EXCEPTION", "REQUEST_TIMED_OUT", "NOT_ENOUGH_REPLICAS",
        "NOT_ENOUGH_REPLICAS_AFTER_APPEND", "NOT_LEADER_FOR_PARTITION", "LEADER_NOT_AVAILABLE", "KAFKA_STORAGE_ERROR",
        "DUPLICATE_SEQUENCE_NUMBER",
    }
)  # fmt: skip


def maybe_sent(exc: BaseException, judge: Judge) -> Verdict:
    """**open**"""
    return "open"


def not_sent(exc: BaseException, judge: Judge) -> Verdict:
    """definite"""
    return "failed"


def not_sent_by_itself(exc: BaseException, judge: Judge) -> Verdict | None:
    """definite, unless it was raised `from` another error: then that one decides

    Programs raise these built-in errors themselves, and may do so because of a timeout.
    """
    return "failed" if exc.__cause__ is None else None


def network_down(exc: OSError, judge: Judge) -> Verdict | None:
    """**open** where the network or the host became unreachable (by `errno`)

    The system says so for a new connection and for one over which a request was sent.
    """
    return "open" if exc.errno in _NETWORK_DOWN else None


def as_wrapped(exc: Any, judge: Judge) -> Verdict:
    """as the error it wraps (`reason`, `__cause__`, `args`), **open** where that does not tell"""
    for inner in (getattr(exc, "reason", None), exc.__cause__, *exc.args):
        if isinstance(inner, BaseException) and (verdict := judge(inner)) is not None:
            return verdict
    return "open"


def url_error(exc: Any, judge: Judge) -> Verdict:
    """definite where its `reason` is text (a bad URL), else as the error that is its `reason`, in doubt **open**"""
    return "failed" if isinstance(exc.reason, str) else as_wrapped(exc, judge)


def http_status(exc: Any, judge: Judge) -> Verdict:
    """by status: 4xx definite except 408 and 499; 501, 505 and 511 definite; any other 5xx, 3xx and 2xx **open**"""
    return _by_status(_status_of(exc))


def aiohttp_answer(exc: Any, judge: Judge) -> Verdict:
    """by status as above, but **open** where the answer could not be read

    aiohttp gives such an error status 400, as if the server had said so, and `HttpProcessingError` as its cause.
    """
    unreadable = exc.__cause__ is not None and judge(exc.__cause__) == "open"
    return "open" if unreadable else _by_status(exc.status)


def _status_of(exc: Any) -> int | None:
    response = getattr(exc, "response", None)
    if response is not None:
        return getattr(response, "status_code", None)
    return getattr(exc, "code", None)  # urllib, nats


def _by_status(status: int | None) -> Verdict:
    if not isinstance(status, int):
        return "open"
    refused = (400 <= status < 500 and status not in _UNFINISHED_STATUS) or status in _REFUSED_STATUS
    return "failed" if refused else "open"


def grpc_code(exc: Any, judge: Judge) -> Verdict:
    """by `code()`: INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED, UNAUTHENTICATED,
    FAILED_PRECONDITION, ABORTED, OUT_OF_RANGE and UNIMPLEMENTED definite; any other **open**

    UNAVAILABLE does not tell a refused connection from a lost one, and RESOURCE_EXHAUSTED is also what gRPC makes of
    an answer that is too large for the client.
    """
    code = exc.code() if callable(getattr(exc, "code", None)) else None
    return "failed" if getattr(code, "name", None) in _GRPC_REFUSED else "open"


def aws_answer(exc: Any, judge: Judge) -> Verdict:
    """by HTTP status as above; **open** if botocore retried the call, or the code is one of an unfinished request

    A retry of botocore's own may be refused just because the first try did happen (a conditional write).
    """
    response: Mapping[str, Any] = exc.response
    metadata: Mapping[str, Any] = response.get("ResponseMetadata", {})
    if metadata.get("RetryAttempts", 0) or response.get("Error", {}).get("Code") in _AWS_UNFINISHED:
        return "open"
    return _by_status(metadata.get("HTTPStatusCode"))


def psycopg_error(exc: Any, judge: Judge) -> Verdict:
    """**open** without an SQLSTATE, except while connecting; **open** for SQLSTATE class 08 (but not 08001, 08004),
    57P01, 57P02, 57P04, 57P05 and 40003; any other is an answer of the server: definite
    """
    state: str | None = exc.sqlstate
    if state is None:
        return "failed" if str(exc).startswith(_PSYCOPG_CONNECTING) else "open"
    if state in _NEVER_CONNECTED_SQLSTATES:
        return "failed"
    return "open" if state.startswith("08") or state in _LOST_SQLSTATES else "failed"


def sqlalchemy_error(exc: Any, judge: Judge) -> Verdict | None:
    """as the driver's error (`orig`); where that does not tell, **open** if `connection_invalidated`"""
    verdict = judge(exc.orig) if isinstance(exc.orig, BaseException) else None
    return "open" if verdict is None and exc.connection_invalidated else verdict


def mongo_lost(exc: Any, judge: Judge) -> Verdict:
    """**open**; definite with the label `TransientTransactionError`"""
    return _mongo_label(exc) or "open"


def mongo_not_sent(exc: Any, judge: Judge) -> Verdict:
    """definite; **open** with the label `UnknownTransactionCommitResult`"""
    return _mongo_label(exc) or "failed"


def mongo_not_primary(exc: Any, judge: Judge) -> Verdict:
    """definite where the server refused (10058, 10107, 13435, 13436), **open** where it was interrupted; by label"""
    details: Mapping[str, Any] = exc.details or {}
    # With ok: 1 the same codes stand in a write concern error: the write was applied, then the server stepped down.
    refused = not details.get("ok") and details.get("code") in _MONGO_REFUSED
    return _mongo_label(exc) or ("failed" if refused else "open")


def mongo_answer(exc: Any, judge: Judge) -> Verdict | None:
    """**open** for the codes of interrupted operations, such as 91, 189, 11600, 11602; by label; else definite"""
    return _mongo_label(exc) or ("open" if exc.code in _MONGO_INTERRUPTED else None)


def _mongo_label(exc: Any) -> Verdict | None:
    if exc.has_error_label("UnknownTransactionCommitResult"):
        return "open"
    return "failed" if exc.has_error_label("TransientTransactionError") else None


def kafka_retriable(exc: Any, judge: Judge) -> Verdict | None:
    """**open** where `retriable`, else definite

    The producer retries by itself and shows the last error only: an earlier try may have been written.
    """
    return "open" if getattr(exc, "retriable", False) else None


def librdkafka_code(exc: Any, judge: Judge) -> Verdict | None:
    """by code: timeouts, lost connections and the broker errors that a producer retries **open**, else definite"""
    return "open" if exc.args[0].name() in _LIBRDKAFKA_LOST else None


def exit_code(exc: Any, judge: Judge) -> Verdict | None:
    """**open** where a signal ended the program (exit code below 0 or above 128), else definite"""
    return "open" if exc.returncode < 0 or exc.returncode > 128 else None
