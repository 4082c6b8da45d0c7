"""A MongoDB for tests: the real one where there is one, else a stand-in that speaks its wire protocol."""

from .server import MongoDB

__all__ = ["MongoDB"]
