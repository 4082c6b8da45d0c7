"""For a Python whose SQLite is too old for DBOS: with this folder on PYTHONPATH, ``sqlite3`` is the package pysqlite3.

It brings a newer SQLite (``pip install pysqlite3``). Every process of the benchmark takes it, so DBOS, the floor and
sagafsm have the same one.
"""

from __future__ import annotations

import sys

import pysqlite3  # type: ignore[import-not-found]
import pysqlite3.dbapi2  # type: ignore[import-not-found]

sys.modules["sqlite3"] = pysqlite3
sys.modules["sqlite3.dbapi2"] = pysqlite3.dbapi2
