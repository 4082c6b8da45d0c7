"""SQLStore: picks the implementation for a URL's database.

What must stay true: each dialect lives in its own folder with its own SQL and knows nothing of the others; a driver is
imported only when its scheme is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from sagafsm.core.errors import SettingsError
from sagafsm.store import Store

DIALECTS = {"postgresql": "postgresql", "sqlite": "sqlite"}
"""URL scheme -> the subpackage whose ``from_url`` makes the store."""

EXTRAS = {"asyncpg": "postgresql"}
"""Driver -> the extra of sagafsm that brings it."""


class SQLStore:
    """Sagas in an SQL database: ``SQLStore.from_url("sqlite:///sagas.db")``."""

    @staticmethod
    def from_url(url: str, **options: Any) -> Store:
        """The store for a URL. Raises SettingsError for an unknown scheme or option, and without the driver."""
        scheme = urlsplit(url).scheme
        dialect = DIALECTS.get(scheme)
        if dialect is None:
            raise SettingsError(f"no SQL database for '{scheme}://'; known: {', '.join(sorted(DIALECTS))}")
        try:
            factory: Callable[..., Store] = import_module(f".{dialect}", __package__).from_url
        except ModuleNotFoundError as exc:
            extra = EXTRAS.get(exc.name or "")
            if extra is None:
                raise
            raise SettingsError(f"'{scheme}://' needs {exc.name}: pip install 'sagafsm[{extra}]'") from exc
        return factory(url, **options)
