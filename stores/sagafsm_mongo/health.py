"""What the server is: whether it will do, and how durable an acknowledged append is, as far as it says so.

What must stay true: nothing here needs more than the right to read; what the server will not tell is left out.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from sagafsm.core.errors import SettingsError, StoreUnavailable
from sagafsm.store import Durability

from .database import Database, Document

OLDEST = "4.2"
OLDEST_PROTOCOL = 8  # its wire version: the first whose queries know the server's time
NO_SUCH_COMMAND = 59


async def refuse_what_is_too_old(database: Database) -> None:
    """Raise SettingsError where the server lacks what the store needs."""
    if (await _hello(database)).get("maxWireVersion", 0) < OLDEST_PROTOCOL:
        version = (await database.ask({"buildInfo": 1})).get("version", "?")
        raise SettingsError(f"{database.where}: this is MongoDB {version}, and {OLDEST} is the oldest that will do")


async def durability(database: Database) -> Durability:
    """What the server is, and what to mend."""
    hello = await _hello(database)
    build = await database.ask({"buildInfo": 1})
    warnings = []
    if "setName" in hello:
        members = len(hello.get("hosts", ())) + len(hello.get("passives", ()))
        shape = f"replica set '{hello['setName']}' of {members}"
        if members == 1:
            warnings.append("the replica set has one member: what its disk loses is lost; add two")
        if hello.get("arbiters"):
            warnings.append("an arbiter votes but keeps nothing: with one member down, writes wait for a majority")
    elif hello.get("msg") == "isdbgrid":
        shape = "a sharded cluster"
    else:
        shape = "a single server"
        warnings.append("it is no replica set: what its disk loses is lost, and while it is down nothing goes on")
    synced = True
    engine = await _engine(database)
    if engine.get("persistent") is False:
        synced = False
        warnings.append(f"its storage engine '{engine.get('name')}' keeps nothing on the disk")
    description = f"MongoDB {build.get('version', '?')}, {shape}, write concern majority, journalled"
    return Durability(synced=synced, description=description, warnings=tuple(warnings))


async def _hello(database: Database) -> Document:
    try:
        return await database.ask({"hello": 1})
    except StoreUnavailable as exc:
        if getattr(exc.__cause__, "code", None) != NO_SUCH_COMMAND:
            raise
        return await database.ask({"isMaster": 1})  # before 4.4.2


async def _engine(database: Database) -> dict[str, Any]:
    with suppress(StoreUnavailable):  # it takes the role clusterMonitor
        status = await database.ask({"serverStatus": 1}, of="admin")
        engine: dict[str, Any] = status.get("storageEngine", {})
        return engine
    return {}
