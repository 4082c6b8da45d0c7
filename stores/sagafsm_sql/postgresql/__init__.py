"""Sagas in a PostgreSQL database."""

from .store import PostgreSQLStore, from_url

__all__ = ["PostgreSQLStore", "from_url"]
