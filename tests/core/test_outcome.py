"""What an exception says about its call, without any client library."""

import asyncio
import errno
import http.client
import multiprocessing
import smtplib
import socket
import ssl
import subprocess
import sys
import urllib.error
from concurrent.futures import BrokenExecutor
from email.message import Message
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagafsm.core.errors import OutcomeUnknown, Rejected, StoreUnavailable, Unknown
from sagafsm.core.outcome import classify, table_markdown
from sagafsm.core.outcome_table import LIBRARIES, RULES
from tests.generated import assert_current


class CardDeclined(Rejected):
    pass


class GatewayHiccup(Exception):
    pass


def caused(outer: Exception, *causes: Exception) -> Exception:
    """`outer`, explicitly raised from the first cause, which was raised from the second, and so on."""
    link = outer
    for cause in causes:
        link.__cause__ = cause
        link = cause
    return outer


REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
PYTHON = [
    (TimeoutError("timed out"), "open"),
    (ConnectionResetError(), "open"),
    (BrokenPipeError(), "open"),
    (ConnectionAbortedError(), "open"),
    (ConnectionError("lost"), "open"),
    (OSError(errno.ETIMEDOUT, "timed out"), "open"),
    (OSError(errno.EHOSTUNREACH, "no route to host"), "open"),
    (OSError(errno.ENETUNREACH, "network is unreachable"), "open"),
    (MemoryError(), "open"),
    (RecursionError("maximum recursion depth exceeded"), "open"),
    (asyncio.IncompleteReadError(b"", 10), "open"),
    (asyncio.LimitOverrunError("too long", 0), "open"),
    (BrokenExecutor(), "open"),
    (multiprocessing.TimeoutError(), "open"),
    (subprocess.TimeoutExpired("charge", 1), "open"),
    (subprocess.CalledProcessError(-9, "charge"), "open"),
    (subprocess.CalledProcessError(143, "charge"), "open"),
    (subprocess.CalledProcessError(1, "charge"), "failed"),
    (ssl.SSLEOFError(), "open"),
    (ssl.SSLError("bad record mac"), "open"),
    (ssl.SSLCertVerificationError("self-signed"), "failed"),
    (http.client.RemoteDisconnected("hung up"), "open"),
    (http.client.IncompleteRead(b""), "open"),
    (http.client.BadStatusLine("?"), "open"),
    (http.client.CannotSendRequest(), "failed"),
    (http.client.InvalidURL(), "failed"),
    (urllib.error.URLError(REFUSED), "failed"),
    (urllib.error.URLError(socket.gaierror(-2, "unknown name")), "failed"),
    (urllib.error.URLError("unknown url type: gopher"), "failed"),
    (urllib.error.URLError(TimeoutError()), "open"),
    (urllib.error.URLError(ConnectionResetError()), "open"),
    (urllib.error.URLError(OSError("tunnel failed")), "open"),
    (urllib.error.URLError(ssl.SSLCertVerificationError("self-signed")), "failed"),
    (urllib.error.ContentTooShortError("half", ("", Message())), "open"),
    (smtplib.SMTPServerDisconnected("closed"), "open"),
    (smtplib.SMTPDataError(554, b"refused"), "failed"),
    (smtplib.SMTPRecipientsRefused({}), "failed"),
    (REFUSED, "failed"),
    (socket.gaierror(-2, "unknown name"), "failed"),
    (FileNotFoundError(), "failed"),
    (PermissionError(), "failed"),
    (OSError("disk is on fire"), "failed"),
    (ValueError("a bug"), "failed"),
    (KeyError("a bug"), "failed"),
    (OutcomeUnknown("maybe applied"), "open"),
    (caused(StoreUnavailable("not applied"), TimeoutError()), "failed"),
]


@pytest.mark.parametrize(("exc", "outcome"), [pytest.param(*case, id=repr(case[0])) for case in PYTHON])
def test_errors_of_python_itself(exc, outcome):
    assert classify(exc) == outcome


def test_every_entry_for_python_has_a_case():
    """An entry that no case above meets would be untested."""
    met = {f"{cls.__module__}.{cls.__qualname__}" for exc, _ in PYTHON for cls in type(exc).__mro__}
    untested = LIBRARIES["Python"].keys() - met - {"urllib.error.HTTPError"}  # by status, below
    assert not untested


REFUSED_STATUSES = (400, 401, 402, 403, 404, 405, 409, 410, 412, 413, 422, 423, 425, 429, 451, 501, 505, 511)
OPEN_STATUSES = (200, 202, 204, 302, 303, 307, 408, 499, 500, 502, 503, 504, 507, 520, 522, 524, 599)


@pytest.mark.parametrize(
    ("status", "outcome"), [(s, "failed") for s in REFUSED_STATUSES] + [(s, "open") for s in OPEN_STATUSES]
)
def test_http_status(status, outcome):
    error = urllib.error.HTTPError("http://bank", status, "", Message(), None)
    assert classify(error) == outcome
    error.close()


# --- what a step says ---


def test_rejected_on_the_outside_always_wins():
    assert classify(Rejected("declined")) == "rejected"
    assert classify(CardDeclined("declined")) == "rejected"
    assert classify(caused(Rejected("declined"), TimeoutError())) == "rejected"
    assert classify(Rejected("declined"), unknown_errors=[Rejected]) == "rejected"


def test_a_non_retryable_type_is_rejected_even_where_the_table_says_open():
    assert classify(TimeoutError(), non_retryable=[TimeoutError]) == "rejected"
    assert classify(ConnectionResetError(), non_retryable=(OSError,)) == "rejected"
    assert classify(Unknown("?"), non_retryable=[Unknown]) == "rejected"


def test_unknown_and_unknown_errors_are_open():
    assert classify(Unknown("nobody answers")) == "open"
    assert classify(GatewayHiccup()) == "failed"
    assert classify(GatewayHiccup(), unknown_errors=[GatewayHiccup]) == "open"
    assert classify(REFUSED, unknown_errors=[ConnectionError]) == "open"


# --- what it was raised from ---


def test_an_explicit_cause_is_looked_through():
    assert classify(caused(GatewayHiccup(), TimeoutError())) == "open"
    assert classify(caused(ValueError(), KeyError(), GatewayHiccup(), ConnectionResetError())) == "open"
    assert classify(caused(GatewayHiccup(), REFUSED)) == "failed"
    assert classify(caused(GatewayHiccup(), CardDeclined())) == "rejected"
    assert classify(caused(PermissionError("may not charge now"), TimeoutError())) == "open"


def test_the_outermost_that_tells_decides():
    assert classify(caused(Unknown("?"), Rejected("declined"))) == "open"
    assert classify(caused(ssl.SSLCertVerificationError(), TimeoutError())) == "failed"


def test_an_implicit_context_says_nothing():
    """A step that caught a timeout, looked, and then failed on its own has failed."""
    outer = GatewayHiccup()
    outer.__context__ = TimeoutError()
    assert classify(outer) == "failed"


def test_raise_from_none_hides_the_timeout():
    def charge() -> None:
        try:
            raise TimeoutError
        except TimeoutError:
            raise GatewayHiccup("asked the bank: it did not happen") from None

    with pytest.raises(GatewayHiccup) as raised:
        charge()
    assert classify(raised.value) == "failed"


def test_causes_in_a_circle_come_to_an_end():
    first, second = GatewayHiccup("first"), GatewayHiccup("second")
    first.__cause__, second.__cause__ = second, first
    assert classify(first) == "failed"
    group = ExceptionGroup("calls", [first])
    second.__cause__ = group
    assert classify(group) == "failed"


CHAIN = st.lists(st.sampled_from([ValueError, KeyError, GatewayHiccup, RuntimeError, OSError]), max_size=60)
LEAVES = {TimeoutError: "open", Rejected: "rejected", ConnectionRefusedError: "failed", ArithmeticError: "failed"}


@given(CHAIN, st.sampled_from(list(LEAVES)))
def test_plain_wrappers_change_nothing_however_many(wrappers, leaf):
    assert classify(caused(*(wrapper() for wrapper in wrappers), leaf())) == LEAVES[leaf]


# --- several at once ---


def test_a_group_is_open_if_one_member_is():
    assert classify(ExceptionGroup("calls", [Rejected("declined"), TimeoutError()])) == "open"
    assert classify(ExceptionGroup("calls", [ValueError(), caused(ValueError(), TimeoutError())])) == "open"


def test_a_group_without_an_open_member_is_rejected_if_one_member_is():
    assert classify(ExceptionGroup("calls", [REFUSED, Rejected("declined")])) == "rejected"
    assert classify(ExceptionGroup("calls", [REFUSED, ValueError()])) == "failed"


def test_a_group_that_tells_nothing_passes_on_to_its_cause():
    assert classify(caused(ExceptionGroup("calls", [ValueError()]), TimeoutError())) == "open"


GROUPS = st.recursive(
    st.sampled_from(list(LEAVES)).map(lambda leaf: leaf()),
    lambda inner: st.lists(inner, min_size=1, max_size=4).map(lambda members: ExceptionGroup("calls", members)),
    max_leaves=12,
)


@given(GROUPS)
def test_a_group_says_what_its_members_say_however_deep(group):
    def leaves(exc):
        return [leaf for member in exc.exceptions for leaf in leaves(member)] if hasattr(exc, "exceptions") else [exc]

    said = {LEAVES[type(leaf)] for leaf in leaves(group)}
    assert classify(group) == next(outcome for outcome in ("open", "rejected", "failed") if outcome in said)


def test_groups_too_deep_to_read_are_open():
    nested: list[Exception] = [ValueError()]
    for _ in range(2_000):
        nested = [ExceptionGroup("calls", nested)]
    assert classify(nested[0]) == "open"


def test_what_is_no_exception_is_open():
    assert classify(asyncio.CancelledError()) == "open"
    assert classify(KeyboardInterrupt()) == "open"
    assert classify(BaseExceptionGroup("calls", [ValueError(), asyncio.CancelledError()])) == "open"


# --- the table ---


def foreign(name: str, **attributes: object) -> Exception:
    """An exception whose class has the qualified name of a class of a client library."""
    module, _, qualname = name.rpartition(".")
    cls = type(qualname, (Exception,), {"__module__": module, **attributes})
    return cls()


def test_classes_are_recognised_by_name_with_all_their_subclasses():
    timeout = foreign("httpx.ReadTimeout")
    assert classify(timeout) == "open"
    assert classify(type("MyTimeout", (type(timeout),), {})()) == "open"
    assert classify(foreign("shop.httpx.ReadTimeout")) == "failed"


def test_an_exception_that_a_rule_cannot_read_is_open():
    """A later version of a library may have moved what a rule reads; a guess would lose effects."""
    assert classify(foreign("pymongo.errors.OperationFailure")) == "open"
    assert classify(foreign("botocore.exceptions.ClientError", response=None)) == "open"
    assert classify(foreign("httpx.HTTPStatusError")) == "open"


def test_every_rule_says_in_the_documentation_what_it_does():
    for name, rule in RULES.items():
        said = (rule.__doc__ or "").split("\n\n")[0]
        assert "**open**" in said or "definite" in said or "wraps" in said, f"{name}: {said!r}"
        assert f"| `{name.removeprefix('builtins.')}` |" in table_markdown()


def test_the_page_shows_the_table_as_it_is():
    assert_current(Path("docs/reference/open-outcomes.md"), "table", table_markdown())


def test_no_client_library_is_imported():
    code = (
        "import sys; import sagafsm.core.outcome as o; o.classify(TimeoutError())\n"
        f"names = {sorted({name.split('.')[0] for name in RULES} - sys.stdlib_module_names - {'sagafsm'})}\n"
        "sys.exit(', '.join(name for name in names if name in sys.modules) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
