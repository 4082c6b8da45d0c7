"""Reads sagas by their ids, many in one call, each in one view."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sagafsm.store import StoredSaga

from .keys import Partition, Partitions, encode
from .records import read_saga
from .router import Router, script
from .scripts import READ

AT_ONCE = 200  # sagas in one call: no script keeps the server's other clients waiting for long


def saga_keys(partition: Partition, name: bytes) -> tuple[bytes, bytes, bytes]:
    """Record, log and snapshot of a saga."""
    return partition.record(name), partition.log(name), partition.snapshot(name)


async def read(
    router: Router, partitions: Partitions, saga_ids: Sequence[str], *, whole: bool
) -> dict[str, Sequence[Any]]:
    """The fields of each saga that exists (and what it takes to be whole), as :mod:`.records` reads them."""
    groups: dict[Partition, list[str]] = {}
    for saga_id in dict.fromkeys(saga_ids):
        groups.setdefault(partitions.of(encode(saga_id)), []).append(saga_id)
    pieces = [
        (partition, wanted[start : start + AT_ONCE])
        for partition, wanted in groups.items()
        for start in range(0, len(wanted), AT_ONCE)
    ]
    calls = [
        script(
            partition, READ, [key for saga_id in wanted for key in saga_keys(partition, encode(saga_id))], int(whole)
        )
        for partition, wanted in pieces
    ]
    if not calls:
        return {}
    answers = await router.all(calls, write=False)
    return {
        saga_id: values
        for (_, wanted), answer in zip(pieces, answers, strict=True)
        for saga_id, values in zip(wanted, answer, strict=True)
        if values is not None
    }


async def load(router: Router, partitions: Partitions, saga_ids: Sequence[str]) -> dict[str, StoredSaga]:
    """Sagas as they are stored."""
    found = await read(router, partitions, saga_ids, whole=True)
    return {saga_id: read_saga(saga_id, values) for saga_id, values in found.items()}
