"""Settings: what is the same for all sagas of a process, from arguments, the environment or a file.

What must stay true: an unknown key or a bad value is an error that names the key; the nearest setting wins (argument,
environment, file, default); secrets come from the environment only, and are never shown.
"""

from __future__ import annotations

import math
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import parse_qsl, urlencode

import attrs

from ..core.errors import SettingsError
from ..core.retry import ACTION_RETRY, COMPENSATION_RETRY, RetryPolicy
from ..core.secrets import HIDDEN, holds_secret, names_secret, redact

__all__ = ["Settings", "redact"]

FILE = "sagafsm.toml"
NOT_OURS = ("SAGAFSM_TEST_", "SAGAFSM_SECRET_")  # the tests' own, and whatever an application keeps there
_CALLED = {int: "whole number", float: "number", bool: "true or false", str: "text"}
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_OPTION = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,100}")


class Unsaid(float):
    """The default of an argument that settings can give as well: whoever hands in the same number means it."""


LEASE: Final = Unsaid(30.0)
POLL_INTERVAL: Final = Unsaid(1.0)
DRAIN_TIMEOUT: Final = Unsaid(10.0)


def nearest(argument: float, setting: float) -> float:
    """The argument, if somebody gave one."""
    return setting if isinstance(argument, Unsaid) else argument


def _positive(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    if not (_is_number(field, value) and value > 0):
        raise SettingsError(f"setting {field.name}: must be {_kind(field)} above 0, got {value!r}")


def _from(least: float) -> Callable[[Any, attrs.Attribute[Any], Any], None]:
    def check(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
        if not (_is_number(field, value) and value >= least):
            raise SettingsError(f"setting {field.name}: must be {_kind(field)} from {least:g} up, got {value!r}")

    return check


def _is_number(field: attrs.Attribute[Any], value: Any) -> bool:
    kinds = int if isinstance(field.default, int) else (int, float)
    return isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value)


def _kind(field: attrs.Attribute[Any]) -> str:
    return "a whole number" if isinstance(field.default, int) else "a number"


def _name(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", value):
        raise SettingsError(f"setting {field.name}: 1 to 100 of A-Z a-z 0-9 . _ - are allowed, got {value!r}")


def _switch(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, bool):
        raise SettingsError(f"setting {field.name}: must be true or false, got {value!r}")


def _url(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, str) or "://" not in value:
        shown = redact(value) if isinstance(value, str) else type(value).__name__
        raise SettingsError(f"setting {field.name}: must be a URL such as 'sqlite:///sagas.db', got {shown!r}")


def _options(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, Mapping):
        raise SettingsError(f"setting {field.name}: must be a table of names and values, got {type(value).__name__}")
    for key, one in value.items():
        if not isinstance(key, str) or not _OPTION.fullmatch(key):
            raise SettingsError(f"setting {field.name}: {key!r} cannot be the name of an option")
        if not isinstance(one, (str, int, float)):
            raise SettingsError(f"setting {field.name}.{key}: must be text, a number, true or false, got {one!r}")


def _shown_options(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: HIDDEN if names_secret(key) or holds_secret(str(one)) else one for key, one in options.items()}


@attrs.frozen(kw_only=True)
class Settings:
    """What all sagas of an orchestrator share.

    ``store``: a store URL. ``store_options``: more options for it, where the URL does not name them itself.
    ``require_durable``: refuse a store that could lose an acknowledged write when the power fails.

    ``namespace``: goes into every idempotency key. ``env``: dev, prod, … (shown, not used).
    ``retry_*`` and ``compensation_max_attempts``: policies where neither step, saga nor orchestrator names one.
    ``payload_limit``: bytes of an input or a result. ``retention``: seconds after which workers purge what has ended
    (0: never). ``keep_ids``: seconds for which the ids of purged sagas stay taken.

    ``concurrency``: sagas in flight in one process. ``threads``: for steps that are not async. ``lease``,
    ``poll_interval``, ``drain_timeout``: as the arguments of :class:`~sagafsm.Orchestrator`, which win.
    ``hang_timeout``: seconds after which a process whose event loop no longer answers gives up its lease.
    ``grace_period``: seconds that a cancelled call is given to end. ``store_patience``: seconds for which a failing
    store is tried again before an error is raised.
    """

    store: str = attrs.field(default="sqlite:///sagas.db", validator=_url, repr=lambda url: repr(redact(url)))
    store_options: Mapping[str, str | float | bool] = attrs.field(
        factory=dict, validator=_options, repr=lambda options: repr(_shown_options(options))
    )
    require_durable: bool = attrs.field(default=False, validator=_switch)
    namespace: str = attrs.field(default="default", validator=_name)
    env: str = attrs.field(default="prod", validator=_name)
    retry_max_attempts: int = attrs.field(default=3, validator=_positive)
    retry_initial_interval: float = attrs.field(default=1.0, validator=_from(0))
    retry_backoff_coefficient: float = attrs.field(default=2.0, validator=_from(1))
    retry_maximum_interval: float = attrs.field(default=60.0, validator=_positive)
    compensation_max_attempts: int = attrs.field(default=10, validator=_positive)
    concurrency: int = attrs.field(default=1000, validator=_positive)
    threads: int = attrs.field(default=64, validator=_positive)
    payload_limit: int = attrs.field(default=1_048_576, validator=_positive)
    retention: float = attrs.field(default=0.0, validator=_from(0))
    keep_ids: float = attrs.field(default=30 * 86_400.0, validator=_from(0))
    lease: float = attrs.field(default=float(LEASE), validator=_positive)
    poll_interval: float = attrs.field(default=float(POLL_INTERVAL), validator=_positive)
    drain_timeout: float = attrs.field(default=float(DRAIN_TIMEOUT), validator=_from(0))
    hang_timeout: float = attrs.field(default=60.0, validator=_positive)
    grace_period: float = attrs.field(default=5.0, validator=_positive)
    store_patience: float = attrs.field(default=10.0, validator=_positive)

    @property
    def retry(self) -> RetryPolicy:
        """The policy of actions."""
        return attrs.evolve(
            ACTION_RETRY,
            max_attempts=self.retry_max_attempts,
            initial_interval=self.retry_initial_interval,
            backoff_coefficient=self.retry_backoff_coefficient,
            maximum_interval=self.retry_maximum_interval,
        )

    @property
    def compensation_retry(self) -> RetryPolicy:
        """The policy of compensations."""
        return attrs.evolve(
            COMPENSATION_RETRY,
            max_attempts=self.compensation_max_attempts,
            initial_interval=self.retry_initial_interval,
            backoff_coefficient=self.retry_backoff_coefficient,
            maximum_interval=self.retry_maximum_interval,
        )

    def shown(self) -> dict[str, Any]:
        """All of it as plain JSON values, without secrets."""
        options = _shown_options(self.store_options)
        return {**attrs.asdict(self), "store": redact(self.store), "store_options": options}

    def url_with_options(self, url: str) -> str:
        """A store URL with ``store_options`` added to it; what it says itself stays."""
        if not self.store_options:
            return url
        base, _, query = url.partition("?")
        said = parse_qsl(query, keep_blank_values=True)
        names = {name for name, _ in said}
        said += [(name, _text(one)) for name, one in self.store_options.items() if name not in names]
        return f"{base}?{urlencode(said)}"

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, file: str | Path | None = None) -> Self:
        """Read ``SAGAFSM_STORE``, ``SAGAFSM_NAMESPACE``, … and a ``sagafsm.toml`` beside the process.

        ``SAGAFSM_STORE_OPTIONS`` is written as in a URL: ``pool_size=10&timeout=5``. Raises SettingsError for a key
        nobody knows, a value that does not fit, and a secret in the file.
        """
        environ = os.environ if environ is None else environ
        path = Path(FILE if file is None else file)
        known = {field.name: field for field in attrs.fields(cls)}
        found: dict[str, Any] = {}
        for key, value in _from_file(path, must_exist=file is not None).items():
            if key not in known:
                raise SettingsError(f"setting {key!r} in the file is unknown ({path}); {_known(key, known)}")
            found[key] = _checked(known[key], value, f"{key} in {path}")
        for variable, text in environ.items():
            if variable.startswith("SAGAFSM_") and not variable.startswith(NOT_OURS):
                key = variable.removeprefix("SAGAFSM_").lower()
                if key not in known:
                    raise SettingsError(f"{variable} is no setting; {_known(key, known)}")
                if key == "store_options":
                    found[key] = {**found.get(key, {}), **_checked(known[key], _parsed(text, variable), variable)}
                else:
                    found[key] = _checked(known[key], text, variable)
        return cls(**found)


def _checked(field: attrs.Attribute[Any], value: Any, where: str) -> Any:
    """A value as the setting has it; a bad one is refused, with the place that it came from."""
    converted = value if field.name == "store_options" else _converted(field, value, where)
    try:
        if field.validator is not None:
            field.validator(None, field, converted)
    except SettingsError as exc:
        raise SettingsError(f"{exc} ({where})") from None
    return converted


def _known(key: str, known: Mapping[str, Any]) -> str:
    near = get_close_matches(key, known, n=1)
    meant = f"did you mean {near[0]!r}? " if near else ""
    return f"{meant}known: {', '.join(sorted(known))}"


def _from_file(path: Path, *, must_exist: bool) -> dict[str, Any]:
    if not path.exists() and not must_exist:
        return {}
    try:
        with path.open("rb") as file:
            found = tomllib.load(file)
    except (OSError, ValueError) as exc:  # no TOML, or no text at all
        raise SettingsError(f"{path} cannot be read: {exc}") from exc
    if holds_secret(str(found.get("store", ""))):
        raise SettingsError(f"{path}: 'store' holds a password; secrets come from the environment (SAGAFSM_STORE)")
    options = found.get("store_options", {})
    for key, value in options.items() if isinstance(options, dict) else ():
        if names_secret(key) or holds_secret(str(value)):
            raise SettingsError(
                f"{path}: 'store_options.{key}' holds a secret; secrets come from the environment "
                "(SAGAFSM_STORE_OPTIONS)"
            )
    return found


def _converted(field: attrs.Attribute[Any], value: Any, where: str) -> Any:
    """A value of the file, or text of the environment, as the kind that the setting has."""
    wanted: Any = type(field.default)
    try:
        if wanted is bool and isinstance(value, str):
            return _truth(value)
        if isinstance(value, bool) is not (wanted is bool) or (wanted is int and isinstance(value, float)):
            raise ValueError
        return wanted(value)
    except (TypeError, ValueError):
        shown = HIDDEN if field.name == "store" else repr(value)
        raise SettingsError(f"setting {field.name}: {shown} is no {_CALLED[wanted]} ({where})") from None


def _truth(text: str) -> bool:
    if text.lower() not in (*_TRUE, *_FALSE):
        raise ValueError
    return text.lower() in _TRUE


def _parsed(text: str, where: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text)))
    except ValueError:
        raise SettingsError(
            f"setting store_options: write {where} as in a URL, such as 'pool_size=10&timeout=5'"
        ) from None


def _text(value: str | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
