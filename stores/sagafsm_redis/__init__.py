"""Sagas in Redis: on one server, or on a cluster."""

from .store import RedisStore

__all__ = ["RedisStore"]
