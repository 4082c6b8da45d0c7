"""Sagas in an SQLite file."""

from .store import SQLiteStore, from_url

__all__ = ["SQLiteStore", "from_url"]
