"""What can be said in a MongoDB URL: ``mongodb://host/database?replicaSet=rs0&pool_size=50``.

What must stay true: a password shows in no error; what the URL says about write concern, read concern and read
preference changes nothing; an option that nobody knows is an error.
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
from sagafsm.core.secrets import redact

DATABASE = "sagafsm"
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
        database = unquote(parts.path.strip("/")) or DATABASE
        if not _NAME.fullmatch(database):
            raise SettingsError(
                f"{database!r} in {shown!r} cannot be the name of a database: A-Z a-z 0-9 _ - are allowed"
            )
        said = parse_qsl(parts.query, keep_blank_values=True)
        options: dict[str, Any] = {}
        for name, text in said:
            if name == "pool_size":
                options["maxPoolSize"] = int(_number(name, text, shown, least=1))
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


def _number(name: str, text: str, shown: str, *, least: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not least <= value <= 3600:
        raise SettingsError(f"{name}={text!r} in {shown!r}: write a number from {least:g} to 3600")
    return value
