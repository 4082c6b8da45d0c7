"""Reads the Lua files, each with the prelude in front of it.

What must stay true: a script is called by its hash and sent whole only where the server does not know it (yet, or any
more: after SCRIPT FLUSH, a restart, or a failover).
"""

from __future__ import annotations

import hashlib
from importlib.resources import files

import attrs

_LUA = files("sagafsm_redis") / "lua"


@attrs.frozen
class Script:
    """One script."""

    name: str
    text: bytes
    digest: bytes


def _load(name: str) -> Script:
    text = (_LUA / "prelude.lua").read_bytes() + (_LUA / f"{name}.lua").read_bytes()
    # SHA-1 is the server's choice of a name for a script.
    return Script(name, text, hashlib.sha1(text, usedforsecurity=False).hexdigest().encode())


ACQUIRE = _load("acquire")
APPEND = _load("append")
BEAT = _load("beat")
GIVE_BACK = _load("give_back")
LOOK = _load("look")
OPEN = _load("open")
OWNED = _load("owned")
PURGE = _load("purge")
READ = _load("read")
RELEASE = _load("release")
RETIRE = _load("retire")
SCAN = _load("scan")
TAKE = _load("take")
