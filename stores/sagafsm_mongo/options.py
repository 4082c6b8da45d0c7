"""What can be said in a MongoDB URL: ``mongodb://host/database?replicaSet=rs0&pool_size=50``.

What must stay true: a password shows in no error, nor a piece of one that was not escaped; what the URL says about
write concern, read concern and read preference changes nothing; an option that nobody knows is an error.
"""

from __future__ import annotations

import re
import warnings
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import attrs
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from sagafsm.core.errors import SettingsError
from sagafsm.core.secrets import HIDDEN, redact

DATABASE = "sagafsm"
NOT_FOR_US = ("admin", "config", "local")  # the server's own; what lies in "local" is on one member only
PATIENCE = 10.0  # seconds to wait for a majority
SCHEMES = ("mongodb", "mongodb+srv")
DEFAULTS = {
    "appName": "sagafsm",
    "serverSelectionTimeoutMS": 5_000,  # to find a primary
    "connectTimeoutMS": 5_000,
    "socketTimeoutMS": 30_000,  # to get an answer
}

_NAME = re.compile(r"[A-Za-z0-9_-]{1,38}")


@attrs.frozen(kw_only=True)
class Options:
    """Where the database is, and how it is spoken to. ``url`` is the driver's part, and may hold a password."""

    url: str = attrs.field(repr=False)
    database: str
    patience: float = PATIENCE
    client: dict[str, Any] = attrs.field(factory=dict, repr=False)

    @classmethod
    def from_url(cls, url: str, **client: Any) -> Options:
        """``client``: options for PyMongo's client beside those in the URL. Raises SettingsError."""
        shown = redact(str(url))
        try:
            parts = urlsplit(url)
            if parts.scheme not in SCHEMES or not parts.netloc:
                raise ValueError("a scheme and a host are needed")
        except (ValueError, AttributeError) as exc:
            raise SettingsError(
                f"{shown!r} is no MongoDB URL ({exc}); write for example 'mongodb://localhost:27017/sagas'"
            ) from None
        if parts.fragment or any("@" in part for part in (parts.path, parts.query)):
            # One of / ? # @ stands in the password as it is: what follows it would be taken for something else.
            raise SettingsError(
                "in a MongoDB URL the user name and the password are to be escaped (p@ss/word: p%40ss%2Fword), as "
                f"urllib.parse.quote_plus does; so is an @ in an option; found {_hidden(shown)!r}"
            )
        database = unquote(parts.path.strip("/")) or DATABASE
        if not _NAME.fullmatch(database):
            raise SettingsError(
                f"{database!r} in {shown!r} cannot be the name of a database: A-Z a-z 0-9 _ - are allowed"
            )
        if database in NOT_FOR_US:
            raise SettingsError(
                f"{database!r} in {shown!r} belongs to the server; name a database of sagafsm's own, and the one that "
                "knows the user beside it: mongodb://…/sagas?authSource=admin"
            )
        said = parse_qsl(parts.query, keep_blank_values=True)
        options: dict[str, Any] = {}
        for name, text in said:
            if name == "pool_size":
                options["maxPoolSize"] = int(_number(name, text, shown, least=1, whole=True))
            elif name == "patience":
                options["patience"] = _number(name, text, shown, least=0.1)
        patience = options.pop("patience", PATIENCE)
        rest = [(name, text) for name, text in said if name not in ("pool_size", "patience")]
        known = {name.lower() for name, _ in rest} | {name.lower() for name in client}
        options |= {name: value for name, value in DEFAULTS.items() if name.lower() not in known}
        plain = urlunsplit(parts._replace(query=urlencode(rest)))
        return cls(url=plain, database=database, patience=patience, client={**options, **client})

    def connect(self) -> AsyncMongoClient[dict[str, Any]]:
        """A client. Raises SettingsError where the driver does not understand the URL."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # the driver only warns of an option that it does not know
                return AsyncMongoClient(self.url, **self.client)
        except (PyMongoError, ValueError, TypeError, UserWarning) as exc:
            raise SettingsError(f"{redact(self.url)!r}: {redact(str(exc))}") from None


def _hidden(shown: str) -> str:
    """What of a URL can be shown where nobody knows how far its password goes."""
    scheme, _, rest = shown.partition("://")
    return f"{scheme}://{HIDDEN}@{rest.rpartition('@')[2]}" if "@" in rest else f"{scheme}://{HIDDEN}"


def _number(name: str, text: str, shown: str, *, least: float, whole: bool = False) -> float:
    try:
        value = int(text) if whole else float(text)
    except ValueError:
        value = -1.0
    if not least <= value <= 3600:
        raise SettingsError(f"{name}={text!r} in {shown!r}: write a number from {least:g} to 3600")
    return value
