"""What can be said in a PostgreSQL URL: ``postgresql://user:password@host:5432/db?schema=sagas&pool_size=20``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import attrs

from sagafsm.core.errors import SettingsError
from sagafsm.runtime.settings import redact

OURS = ("durability", "history", "pool_size", "prepared", "schema", "timeout")
DRIVERS = (
    "application_name", "host", "krbsrvname", "passfile", "port", "service", "servicefile", "sslcert", "sslcrl",
    "sslkey", "sslmode", "sslnegotiation", "sslrootcert", "target_session_attrs",
)  # fmt: skip
"""What is handed on to the driver, named as libpq names it."""

FILES = {"passfile", "servicefile", "sslcert", "sslcrl", "sslkey", "sslrootcert"}

_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,50}")
_LARGEST_POOL = 1000


@attrs.frozen(kw_only=True)
class Options:
    """Which database, and how it is used. See docs/how-to/postgresql.md.

    ``dsn``: for the driver, secrets included. ``schema``: where the tables are; one for each namespace. ``pool_size``:
    connections, one more to listen not counted. ``durability``: ``synced``, or ``relaxed`` where the last fraction of
    a second may be lost in a crash. ``timeout``: seconds for one statement, or to connect. ``prepared``: whether the
    server may be given prepared statements; ``auto`` finds out whether a pooler stands in between. ``history``:
    ``none``, or ``monthly`` where a purge moves sagas into partitions by month instead of deleting them.
    """

    dsn: str = attrs.field(repr=False)
    where: str
    schema: str = "public"
    pool_size: int = 10
    durability: str = "synced"
    timeout: float = 10.0
    prepared: str = "auto"
    history: str = "none"
    application_name: str = "sagafsm"

    @property
    def quoted(self) -> str:
        """The schema as it stands in a statement: its name may be a word of SQL."""
        return f'"{self.schema}"'

    def small(self) -> Options:
        """The same with as few connections as will do."""
        return attrs.evolve(self, pool_size=2)

    @classmethod
    def from_url(cls, url: str, **given: Any) -> Options:
        """Raises SettingsError, which never shows a password."""
        shown = redact(url)
        try:
            parts = urlsplit(url)
            asked = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
            _ = "," in parts.netloc or parts.port  # raises where it is no number
        except ValueError as exc:
            raise SettingsError(
                f"{shown!r} is no PostgreSQL URL ({exc}); write for example 'postgresql://user:password@host:5432/db'"
            ) from None
        if parts.netloc.count("@") > 1:
            raise SettingsError(
                f"{shown!r}: an @ in the user name or the password is to be escaped: p@w is written p%40w"
            )
        unknown = sorted((asked.keys() | given.keys()) - {*OURS, *DRIVERS})
        if unknown:
            raise SettingsError(
                f"unknown option '{unknown[0]}' in {shown!r}; known: {', '.join(sorted((*OURS, *DRIVERS)))}"
            )
        options: Mapping[str, Any] = {**asked, **given}
        driver = {name: str(options[name]) for name in DRIVERS if name in options and name != "application_name"}
        for name in FILES & driver.keys():
            if not Path(driver[name]).expanduser().exists():
                raise SettingsError(f"{name}={driver[name]!r} in {shown!r}: there is no such file")
        if "," in parts.netloc:
            # Of several hosts only the one that takes writes will do; a standby would also be a stale reader.
            driver.setdefault("target_session_attrs", "read-write")
        return cls(
            dsn=parts._replace(query=urlencode(driver), fragment="").geturl(),
            where=f"PostgreSQL at {parts.netloc.rpartition('@')[2] or driver.get('host', 'localhost')}{parts.path}",
            schema=_schema(options.get("schema", "public"), shown),
            pool_size=_number("pool_size", options.get("pool_size", 10), 2, _LARGEST_POOL, shown, whole=True),
            durability=_one_of("durability", options.get("durability", "synced"), ("synced", "relaxed"), shown),
            timeout=_number("timeout", options.get("timeout", 10), 0.01, 3600, shown),
            prepared=_one_of("prepared", options.get("prepared", "auto"), ("auto", "yes", "no"), shown),
            history=_one_of("history", options.get("history", "none"), ("none", "monthly"), shown),
            application_name=str(options.get("application_name", "sagafsm")),
        )


def _schema(name: Any, url: str) -> str:
    if not isinstance(name, str) or not _SCHEMA.fullmatch(name):
        raise SettingsError(f"schema={name!r} in {url!r}: write up to 51 of a-z 0-9 _, the first one no digit")
    return name


def _one_of(name: str, value: Any, allowed: tuple[str, ...], url: str) -> str:
    if value not in allowed:
        raise SettingsError(f"{name}={value!r} in {url!r}: write one of {', '.join(allowed)}")
    return str(value)


def _number(name: str, value: Any, least: float, most: float, url: str, *, whole: bool = False) -> Any:
    try:
        number = int(value) if whole else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not least <= number <= most:
        raise SettingsError(f"{name}={value!r} in {url!r}: write a number from {least:g} to {most:g}")
    return number
