"""Keeping secrets out of what is shown: passwords in URLs and connection strings, wherever in a text they stand.

What must stay true: in doubt too much is hidden. A user without a password may be shown, a password never, not even
one that was written into its URL as it is (``p@ss/word``).
"""

from __future__ import annotations

import re

HIDDEN = "***"
_WORD = r"(?:password|passwd|passphrase|pwd|secret|token|credential|api_?key|access_?key|private_?key)"
# Up to the last @ of the word: a password may hold an @ or a slash that should have been escaped.
_USER_INFO = re.compile(r"(?<=://)(?=[^\s@]*:)\S*@")
_PARAMETER = re.compile(
    rf"([\w.-]*{_WORD}[\w.-]*(?:\s*=\s*|['\"]\s*:\s*))('[^']*'|\"[^\"]*\"|[^\s&;,#'\"]+)", re.IGNORECASE
)
_NAME = re.compile(_WORD, re.IGNORECASE)
_HOST = re.compile(r"(?:\[[^\]]*\]|[^:\[\]]*)(?::\d*)?")


def redact(text: str) -> str:
    """A text as it may be shown: user and password of every URL in it, and the values of secret parameters, hidden."""
    return _PARAMETER.sub(rf"\1{HIDDEN}", _USER_INFO.sub(f"{HIDDEN}@", text))


def holds_secret(text: str) -> bool:
    """Whether there is something in it that must not be shown."""
    return redact(text) != text


def is_cut_off(url: str) -> bool:
    """Whether a password in a URL holds a / ? or # as it is: parsers take what stands before it for host and port."""
    rest = url.partition("://")[2]
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    path, _, query = rest[len(authority) :].partition("?")
    if ":" not in authority:
        return False
    hosts = all(_HOST.fullmatch(host) for host in authority.split(","))
    return "@" in path or ("@" in query and "@" not in authority and not hosts)


def names_secret(key: str) -> bool:
    """Whether what stands under such a key must not be shown."""
    return _NAME.search(key) is not None
