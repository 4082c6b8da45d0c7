"""Sagas in MongoDB, through PyMongo's asynchronous client or Motor's."""

from .store import MongoStore

__all__ = ["MongoStore"]
