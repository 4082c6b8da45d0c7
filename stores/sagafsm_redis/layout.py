"""The layout of a database: its version, its number of partitions, and an id by which it is known again.

What must stay true: the number of partitions never changes once the database is made, and every process uses the one
that is stored. Each partition knows the id, and takes no append from a process that opened another database: after the
server was emptied, or was replaced by one without its data, nothing is written that nobody would understand.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import attrs

from sagafsm.core.errors import SettingsError, StoreCorrupt, StoreTooNew, StoreUnavailable

from .keys import Partition, Partitions
from .options import Options
from .router import Router, command, script
from .scripts import OPEN

VERSION = 1


@attrs.frozen
class Layout:
    """What was found, or made."""

    database: str
    partitions: Partitions


@attrs.frozen
class _Stored:
    version: int
    database: str
    partitions: int


async def open_layout(router: Router, options: Options, *, migrate: bool) -> Layout:
    """Find the layout, or make it. Raises SettingsError, StoreTooNew, StoreCorrupt, or the errors of the server."""
    count = options.partitions if options.cluster else 1
    first = Partitions(options.prefix, 1, tagged=options.cluster).first
    await _check_server(router, first, options)
    found, *_ = await _open(router, options, [first], migrate, secrets.token_hex(8), count)
    if found.version > VERSION:
        raise StoreTooNew(
            f"{options.where} has layout {found.version}; this sagafsm knows up to {VERSION}: upgrade sagafsm here"
        )
    partitions = Partitions(options.prefix, found.partitions, tagged=options.cluster)
    others = await _open(router, options, partitions.all[1:], migrate, found.database, found.partitions)
    for partition, other in zip(partitions.all[1:], others, strict=True):
        if other != found:
            raise StoreCorrupt(
                f"{options.where}: partition {partition.number} belongs to another database than partition 0; "
                "part of the cluster's data was lost or replaced: restore all of it, or none"
            )
    return Layout(found.database, partitions)


async def _check_server(router: Router, first: Partition, options: Options) -> None:
    """Whether the scheme of the URL fits. An unfitting server would answer with redirections that nobody follows."""
    said = await router.one(command(first, "INFO", "cluster"), write=False)
    clustered = b"cluster_enabled:1" in said
    if clustered and not options.cluster:
        raise SettingsError(f"{options.where} is part of a cluster; write 'redis+cluster://' instead of 'redis://'")


async def _open(
    router: Router, options: Options, partitions: Sequence[Partition], migrate: bool, database: str, count: int
) -> list[_Stored]:
    if not partitions:
        return []
    calls = [script(partition, OPEN, (), int(migrate), VERSION, database, count) for partition in partitions]
    return [
        _read(options, call.partition, found)
        # Making it a second time changes nothing, so nothing is left unknown.
        for call, found in zip(calls, await router.all(calls, write=False), strict=True)
    ]


def _read(options: Options, partition: Partition, found: Sequence[bytes | None] | None) -> _Stored:
    if not found:
        raise StoreUnavailable(
            f"{options.where} has no sagas yet; open the store once with migrate=True (setup() does so by default)"
        )
    version, database, partitions = (value or b"" for value in found)
    if not version.isdigit() or not database or not partitions.isdigit():
        raise StoreCorrupt(f"{options.where}: the key {partition.layout.decode()} cannot be read; restore a backup")
    return _Stored(int(version), database.decode(), int(partitions))
