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
from pathlib import Path
from typing import Any, Self

import attrs

from ..core.errors import SettingsError
from ..core.retry import ACTION_RETRY, COMPENSATION_RETRY, RetryPolicy

_SECRET = re.compile(r"://[^/@:\s]*:[^/@\s]*@")


def redact(url: str) -> str:
    """A store URL as it may be shown: without user and password."""
    return _SECRET.sub("://***@", url)


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


@attrs.frozen(kw_only=True)
class Settings:
    """What all sagas of an orchestrator share.

    ``store``: a store URL. ``namespace``: goes into every idempotency key. ``env``: dev, prod, … (shown, not used).
    ``retry_*`` and ``compensation_max_attempts``: policies where neither step, saga nor orchestrator names one.
    ``concurrency``: sagas in flight in one process. ``threads``: for steps that are not async. ``payload_limit``:
    bytes of an input or a result. ``grace_period``: seconds that a cancelled call is given to end.
    ``store_patience``: seconds for which a failing store is tried again before an error is raised.
    """

    store: str = attrs.field(default="sqlite:///sagas.db", repr=lambda url: repr(redact(url)))
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

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, file: str | Path | None = None) -> Self:
        """Read ``SAGAFSM_STORE``, ``SAGAFSM_NAMESPACE``, … and a ``sagafsm.toml`` beside the process.

        Raises SettingsError for a key nobody knows, a value that does not fit, and a password in the file.
        """
        environ = os.environ if environ is None else environ
        found = _from_file(Path(file) if file is not None else Path("sagafsm.toml"), must_exist=file is not None)
        known = {field.name: field for field in attrs.fields(cls)}
        for key in found:
            if key not in known:
                raise SettingsError(f"setting {key!r} in the file is unknown; known: {', '.join(sorted(known))}")
        for variable, text in environ.items():
            if variable.startswith("SAGAFSM_") and not variable.startswith(("SAGAFSM_TEST_", "SAGAFSM_SECRET_")):
                key = variable.removeprefix("SAGAFSM_").lower()
                if key not in known:
                    raise SettingsError(f"{variable} is no setting; known: {', '.join(sorted(known))}")
                found[key] = text
        return cls(**{key: _converted(known[key], value) for key, value in found.items()})


def _from_file(path: Path, *, must_exist: bool) -> dict[str, Any]:
    if not path.exists() and not must_exist:
        return {}
    try:
        with path.open("rb") as file:
            found = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError) as exc:
        raise SettingsError(f"{path} cannot be read: {exc}") from exc
    if _SECRET.search(str(found.get("store", ""))):
        raise SettingsError(f"{path}: 'store' holds a password; secrets come from the environment (SAGAFSM_STORE)")
    return found


def _converted(field: attrs.Attribute[Any], value: Any) -> Any:
    wanted: Any = type(field.default)
    try:
        if isinstance(value, bool) or (wanted is int and isinstance(value, float)):
            raise ValueError
        return wanted(value)
    except (TypeError, ValueError):
        raise SettingsError(f"setting {field.name}: {value!r} is no {wanted.__name__}") from None
