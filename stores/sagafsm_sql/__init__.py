"""Sagas in an SQL database, through SQLAlchemy."""

from .store import SQLStore

__all__ = ["SQLStore"]
