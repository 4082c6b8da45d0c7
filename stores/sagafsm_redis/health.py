"""Says how durable an acknowledged append is on the servers as they are set, and what to mend; in the log, too.

What must stay true: it looks at every server that has a part of the database, and tells of the worst. A server that
does not show its settings (most managed services do not) is not called durable.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import attrs
from redis.exceptions import AuthenticationError, BusyLoadingError, ResponseError

from sagafsm.core.errors import StoreError
from sagafsm.store import Durability

from .errors import Lost, NotSent, translate
from .node import Node
from .options import Options
from .packing import pack
from .topology import Topology

LOGGER = logging.getLogger("sagafsm")
SETTINGS = (
    "appendonly", "appendfsync", "no-appendfsync-on-rewrite", "maxmemory-policy", "min-replicas-to-write",
)  # fmt: skip


@attrs.frozen
class _Server:
    """What one server says of itself; ``settings`` None: it does not show them."""

    name: str
    version: str
    settings: Mapping[str, str] | None
    replicas: int


async def durability(options: Options, topology: Topology) -> Durability:
    """Ask all of them."""
    servers = await _servers(options, topology)
    warnings = list(dict.fromkeys(warning for server in servers for warning in _warnings(server, options)))
    synced = all(_synced(server) for server in servers)
    if not synced and options.durability == "relaxed":
        warnings.insert(0, "durability=relaxed: a crash may lose the appends of the last second or more")
    worst = next((server for server in servers if not _synced(server)), servers[0])
    description = f"Redis {worst.version}, {_shown(worst)}"
    if len(servers) > 1:
        description += f", {len(servers)} masters"
    if options.wait:
        description += f", each append on {options.wait} replicas"
    return Durability(synced=synced, description=description, warnings=tuple(warnings))


async def tell_what_may_be_lost(options: Options, topology: Topology) -> None:
    """A warning in the log where it is known that acknowledged appends may be lost, and not said to be meant."""
    if options.durability == "relaxed":
        return
    try:
        servers = await _servers(options, topology)
    except StoreError as exc:  # whoever goes on will find out more
        LOGGER.debug("the settings of %s could not be looked at: %s", options.where, exc)
        return
    lossy = [server for server in servers if server.settings is not None and not _synced(server)]
    if warnings := list(dict.fromkeys(warning for server in lossy for warning in _warnings(server, options))):
        LOGGER.warning("%s may lose sagas that it has acknowledged: %s", options.where, "; ".join(warnings))


async def _servers(options: Options, topology: Topology) -> list[_Server]:
    try:
        return [await _ask(node) for node in await topology.masters()]
    except (NotSent, Lost) as exc:
        raise translate(exc, options.where, write=False) from (exc.__cause__ or exc)


async def _ask(node: Node) -> _Server:
    commands = [pack("CONFIG", "GET", name) for name in SETTINGS]
    *shown, info, replication = await node.call(
        [*commands, pack("INFO", "server"), pack("INFO", "replication")], len(SETTINGS) + 2
    )
    for answer in (*shown, info):
        if isinstance(answer, (AuthenticationError, BusyLoadingError)):
            raise Lost from answer
    settings = None
    if not any(isinstance(answer, ResponseError) for answer in shown):
        settings = {_text(answer[0]): _text(answer[1]) for answer in shown if answer}
    return _Server(
        name=node.name,
        version=_value(info, "redis_version") or "of unknown version",
        settings=settings or None,
        replicas=int(_value(replication, "connected_slaves") or 0),
    )


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _value(info: object, name: str) -> str | None:
    text = info.decode("utf-8", "replace") if isinstance(info, bytes) else ""
    found = (line.partition(":")[2].strip() for line in text.splitlines() if line.startswith(f"{name}:"))
    return next(found, None)


def _fsync(server: _Server) -> str | None:
    """``always``, ``everysec``, ``no``, ``off`` (no log is written), or None where nobody knows."""
    if server.settings is None or "appendonly" not in server.settings:
        return None
    return server.settings.get("appendfsync") if server.settings["appendonly"] == "yes" else "off"


def _pauses(server: _Server) -> bool:
    """Whether nothing is synced while the log is written anew."""
    return (server.settings or {}).get("no-appendfsync-on-rewrite") == "yes"


def _evicts(server: _Server) -> bool:
    """Whether sagas are deleted where memory is short."""
    return (server.settings or {}).get("maxmemory-policy", "").startswith("allkeys-")


def _synced(server: _Server) -> bool:
    return _fsync(server) == "always" and not _pauses(server) and not _evicts(server)


def _shown(server: _Server) -> str:
    fsync = _fsync(server)
    if fsync is None:
        return "settings not shown"
    if fsync == "off":
        return "appendonly=no"
    found = f"appendonly=yes, appendfsync={fsync}"
    if _pauses(server):
        found += ", no-appendfsync-on-rewrite=yes"
    return found + (", evicts keys" if _evicts(server) else "")


def _warnings(server: _Server, options: Options) -> Sequence[str]:
    found = []
    fsync, settings = _fsync(server), server.settings or {}
    if fsync is None:
        found.append(
            "the server does not show its settings (CONFIG GET is refused): whether acknowledged appends survive a "
            "crash is for its operator to say; sagafsm needs appendonly=yes, appendfsync=always and "
            "maxmemory-policy=noeviction"
        )
    elif options.durability != "relaxed":
        if fsync == "off":
            found.append("appendonly is no: a restart of the server loses sagas; set 'appendonly yes'")
        elif fsync != "always":
            found.append(
                f"appendfsync is {fsync}: a loss of power loses acknowledged appends (with everysec, of about a "
                "second); set 'appendfsync always', or say durability=relaxed if that is meant"
            )
        elif _pauses(server):
            found.append(
                "no-appendfsync-on-rewrite is yes: while the server writes its log anew, a loss of power loses "
                "acknowledged appends; set it to 'no', or say durability=relaxed if that is meant"
            )
    policy = settings.get("maxmemory-policy", "noeviction")
    if policy != "noeviction":
        what = "sagas" if _evicts(server) else "the ids of purged sagas, and what is counted for limits,"
        found.append(f"maxmemory-policy is {policy}: the server may delete {what} when it is full; set 'noeviction'")
    if server.replicas and settings.get("min-replicas-to-write", "1") == "0":
        found.append(
            "min-replicas-to-write is 0: a master that is cut off from its replicas goes on taking appends, which are "
            "lost when a replica takes over; set it to 1"
        )
    if server.replicas and not options.wait:
        found.append(
            "replication is asynchronous: a failover may lose the newest appends; with '?wait=1' an append counts only "
            "once a replica has it (that makes a loss rare, not impossible)"
        )
    return found
