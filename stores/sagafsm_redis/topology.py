"""Which server has which partition: the only one there is, or what the cluster says.

What must stay true: what is known of a cluster is only a hint; a server that does not have a slot says so, and what it
says is believed. After any failure the cluster is asked anew before the next call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from redis.crc import key_slot
from redis.exceptions import ResponseError

from .errors import Lost, NotSent
from .keys import Partition
from .node import Node
from .options import Address, Options
from .packing import pack

SLOTS = pack("CLUSTER", "SLOTS")


class Topology:
    """The servers. On a single one everything is there."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._nodes: dict[Address, Node] = {}
        self._slots: dict[int, Address] = {}
        self._doubtful = options.cluster
        self._told_by: Address | None = None

    def node_at(self, address: Address) -> Node:
        """The server at an address."""
        if address not in self._nodes:
            host, port = address
            self._nodes[address] = Node(f"{host}:{port}", self._options.connection_to(address), self._options.timeout)
        return self._nodes[address]

    async def node_of(self, partition: Partition) -> Node:
        """The server that has a partition, as far as is known. Raises NotSent where no server can be asked."""
        if not self._options.cluster:
            return self.node_at(self._options.addresses[0])
        slot = key_slot(partition.layout)
        if self._doubtful or slot not in self._slots:
            await self._ask()
        if slot not in self._slots:
            raise NotSent from ResponseError(f"CLUSTERDOWN no server of the cluster has slot {slot}")
        return self.node_at(self._slots[slot])

    async def masters(self) -> list[Node]:
        """Every server that has a part of the database."""
        if not self._options.cluster:
            return [self.node_at(self._options.addresses[0])]
        if self._doubtful:
            await self._ask()
        return [self.node_at(address) for address in dict.fromkeys(self._slots.values())]

    def moved(self, slot: int, address: Address) -> None:
        """A server said who has a slot now."""
        self._slots[slot] = address
        self._doubtful = True

    def doubt(self) -> None:
        """Something failed: ask before the next call."""
        self._doubtful = self._options.cluster

    async def hang_up(self) -> None:
        """End the connections: a name may lead to another server now."""
        for node in self._nodes.values():
            await node.hang_up()

    async def close(self) -> None:
        """End the connections for good."""
        await asyncio.gather(*(node.close() for node in self._nodes.values()))

    async def _ask(self) -> None:
        """Ask the first server that answers, and first the one that did so last: one that is away takes its time."""
        problem: Exception = NotSent()
        before = () if self._told_by is None else (self._told_by,)
        for address in dict.fromkeys((*before, *self._slots.values(), *self._options.addresses)):
            try:
                (answer,) = await self.node_at(address).call([SLOTS], 1)
            except (NotSent, Lost) as exc:
                problem = exc
                continue
            if isinstance(answer, Exception):
                problem = answer
                continue
            self._slots = _read(answer, address)
            self._told_by = address
            self._doubtful = False
            return
        raise NotSent from (problem.__cause__ or problem)


def _read(answer: Sequence[Any], asked: Address) -> dict[int, Address]:
    slots: dict[int, Address] = {}
    for first, last, master, *_ in answer:
        host = (master[0] or b"").decode() or asked[0]  # a server that knows no name of its own leaves it to us
        address = ("" if host == "?" else host) or asked[0], int(master[1])
        slots.update(dict.fromkeys(range(first, last + 1), address))
    return slots
