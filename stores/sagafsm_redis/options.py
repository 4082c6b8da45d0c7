"""What can be said in a Redis URL: ``redis://user:password@host:6379/0?prefix=shop:&wait=1``.

What must stay true: neither the password nor the user's name is ever shown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import attrs
from redis.asyncio.connection import Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from sagafsm.core.errors import SettingsError
from sagafsm.core.secrets import redact

SCHEMES = ("redis", "rediss", "redis+cluster")
PORT = 6379
DURABILITY = ("synced", "relaxed")
FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
TLS = (*FILES, "ssl_cert_reqs", "ssl_check_hostname")
KNOWN = ("durability", "partitions", "prefix", "timeout", "tls", "wait", "wait_timeout", *TLS)

Address = tuple[str, int]


@attrs.frozen(kw_only=True)
class Options:
    """Where the database is and how it is used.

    ``addresses``: the server, or any servers of a cluster. ``prefix`` stands before every key. ``timeout``: seconds for
    a call, and for a connection to be made. ``wait``: how many replicas must have a write before it counts, and
    ``wait_timeout``, for how many seconds to wait for them. ``durability`` ``"relaxed"``: it is known and meant that
    acknowledged appends may be lost, so ``check`` does not ask to mend it. ``partitions``: of a new cluster database.
    """

    scheme: str
    addresses: tuple[Address, ...]
    database: int = 0
    username: str | None = attrs.field(default=None, repr=False)
    password: str | None = attrs.field(default=None, repr=False)
    prefix: str = ""
    timeout: float = 5.0
    wait: int = 0
    wait_timeout: float = 1.0
    durability: str = "synced"
    partitions: int = 64
    tls: Mapping[str, str | bool] | None = None

    @classmethod
    def from_url(cls, url: str, **options: object) -> Options:
        """Read a URL; ``options`` are what may stand behind its question mark, and come before what does.

        Raises SettingsError, which names what is wrong and shows no secrets.
        """
        try:
            parts, addresses = _parts(url)
        except ValueError:  # its text may hold what stands where a port should be: part of a password
            raise SettingsError(
                f"{redact(url)!r} is no Redis URL: its hosts or ports cannot be read; write for example "
                "'redis://user:password@localhost:6379/0', and in user and password %2F for /, %3F for ?, %23 for #"
            ) from None
        if parts.scheme not in SCHEMES:
            raise SettingsError(f"no Redis store for '{parts.scheme}://'; known: {', '.join(SCHEMES)}")
        given = dict(parse_qsl(parts.query, keep_blank_values=True))
        given |= {name: _text(value) for name, value in options.items()}
        if unknown := sorted(set(given) - set(KNOWN)):
            raise SettingsError(f"unknown option '{unknown[0]}' in the Redis URL; known: {', '.join(KNOWN)}")
        user, _, password = parts.netloc.rpartition("@")[0].partition(":")
        return cls(
            scheme=parts.scheme,
            addresses=addresses,
            database=_database(parts.scheme, parts.path, addresses),
            username=unquote(user) or None,
            password=unquote(password) or None,
            prefix=_prefix(given.get("prefix", "")),
            timeout=_seconds("timeout", given.get("timeout", "5")),
            wait=_number("wait", given.get("wait", "0"), 0, 100),
            wait_timeout=_seconds("wait_timeout", given.get("wait_timeout", "1")),
            durability=_one_of("durability", given.get("durability", "synced"), DURABILITY),
            partitions=_number("partitions", given.get("partitions", "64"), 1, 1024),
            tls=_tls(parts.scheme, given),
        )

    @property
    def cluster(self) -> bool:
        """Whether the servers form a cluster."""
        return self.scheme == "redis+cluster"

    def check_files(self) -> None:
        """Raises SettingsError where a file that TLS needs is not there."""
        for name, value in (self.tls or {}).items():
            if name in FILES and not Path(str(value)).is_file():
                raise SettingsError(f"{name}={value!r}: there is no such file")

    @property
    def where(self) -> str:
        """The database, for messages."""
        places = ",".join(f"{host}:{port}" for host, port in self.addresses)
        return f"Redis at {places}" + (f", database {self.database}" if self.database else "")

    def connection_to(self, address: Address) -> Callable[[], Connection]:
        """What makes a connection that tries everything once: who is to try again has to know what it means."""

        def make() -> Connection:
            host, port = address
            kind = Connection if self.tls is None else SSLConnection
            return kind(
                host=host, port=port, db=self.database, username=self.username, password=self.password,
                protocol=2, retry=Retry(NoBackoff(), 0), socket_timeout=None, socket_connect_timeout=self.timeout,
                client_name="sagafsm", **(self.tls or {}),  # type: ignore[arg-type]
            )  # fmt: skip

        return make


def _text(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _parts(url: str) -> tuple[SplitResult, tuple[Address, ...]]:
    parts = urlsplit(url)
    if "@" in parts.path or parts.fragment:
        raise ValueError("a password that holds / or #")
    return parts, tuple(_address(place) for place in parts.netloc.rpartition("@")[2].split(","))


def _address(place: str) -> Address:
    parts = urlsplit(f"//{place}")
    if parts.netloc != place or (place and not parts.hostname):
        raise ValueError(f"{place!r} is no host")
    return parts.hostname or "localhost", parts.port or PORT


def _database(scheme: str, path: str, addresses: tuple[Address, ...]) -> int:
    text = path.strip("/")
    if scheme == "redis+cluster":
        if text not in ("", "0"):
            raise SettingsError(f"a Redis cluster has only database 0, not {text!r}")
        return 0
    if len(addresses) > 1:
        raise SettingsError("several hosts are given: for a cluster write 'redis+cluster://host:port,host:port'")
    if text and not text.isdecimal():
        raise SettingsError(f"{text!r} is no number of a Redis database; write for example 'redis://localhost:6379/0'")
    return int(text or 0)


def _prefix(text: str) -> str:
    if not all(character.isascii() and (character.isalnum() or character in "._:-") for character in text):
        raise SettingsError(f"prefix={text!r}: only A-Z a-z 0-9 . _ : - are allowed, for example 'shop:'")
    return text


def _seconds(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 3600:
        raise SettingsError(f"{name}={text!r}: write a number of seconds above 0, up to 3600")
    return value


def _number(name: str, text: str, least: int, most: int) -> int:
    if not text.isdecimal() or not least <= int(text) <= most:
        raise SettingsError(f"{name}={text!r}: write a whole number from {least} to {most}")
    return int(text)


def _one_of(name: str, text: str, known: tuple[str, ...]) -> str:
    if text not in known:
        raise SettingsError(f"{name}={text!r}: write one of {', '.join(known)}")
    return text


def _tls(scheme: str, given: Mapping[str, str]) -> Mapping[str, str | bool] | None:
    wanted = scheme == "rediss" or _one_of("tls", given.get("tls", "no"), ("yes", "no")) == "yes"
    found: dict[str, str | bool] = {name: given[name] for name in TLS if name in given}
    if not wanted:
        if found:
            raise SettingsError(f"{min(found)} is given, but this URL uses no TLS; write 'rediss://' or add 'tls=yes'")
        return None
    if "ssl_cert_reqs" in found:
        _one_of("ssl_cert_reqs", str(found["ssl_cert_reqs"]), ("required", "optional", "none"))
    if "ssl_check_hostname" in found:
        found["ssl_check_hostname"] = _one_of("ssl_check_hostname", given["ssl_check_hostname"], ("yes", "no")) == "yes"
    return found
