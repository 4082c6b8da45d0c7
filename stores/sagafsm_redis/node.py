"""One server: reached when it is first needed, and again after its connection was lost.

What must stay true: while a connection is being made, everybody who needs it waits for that one, and no longer: where
it cannot be made, all of them are told at once. A call that could not be sent was not sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from redis.asyncio.connection import Connection

from .channel import Channel
from .errors import NotSent

Meeting = tuple[str, int]


class Node:
    """A server. ``seconds``: for making a connection, and for a call."""

    def __init__(self, name: str, make: Callable[[], Connection], seconds: float) -> None:
        self.name = name
        self._make = make
        self._seconds = seconds
        self._channels: dict[str, Channel] = {}
        self._connecting: dict[str, asyncio.Task[Channel]] = {}
        self._closed = False
        self._times = 0

    async def call(self, data: Sequence[bytes], answers: int, *, lane: str = "", extra: float = 0.0) -> list[Any]:
        """Send packed commands; return their answers. Raises NotSent or Lost.

        ``lane``: calls that may keep others waiting go over a connection of their own; ``extra`` seconds are for them.
        """
        channel = self._channels.get(lane)
        if channel is None or channel.closed:
            channel = await self._connect(lane)
        return await channel.call(data, answers, self._seconds + extra)

    @property
    def meeting(self) -> Meeting:
        """Changes whenever it is connected to anew: it may be another server then, or have lost something."""
        return self.name, self._times

    def connection(self) -> Connection:
        """A connection for a purpose of its own, not made yet."""
        return self._make()

    async def _connect(self, lane: str) -> Channel:
        if self._closed:
            raise NotSent from ConnectionError("the store is closed")
        connecting = self._connecting.get(lane)
        if connecting is None:
            connecting = asyncio.get_running_loop().create_task(self._open(lane), name="sagafsm redis connects")
            self._connecting[lane] = connecting
        try:
            return await asyncio.shield(connecting)
        except NotSent as exc:
            raise NotSent from exc.__cause__

    async def _open(self, lane: str) -> Channel:
        try:
            channel = self._channels[lane] = await Channel.open(self._make, self._seconds)
            self._times += lane == ""
            return channel
        finally:
            del self._connecting[lane]

    async def hang_up(self) -> None:
        """End its connections: what answers under this address now may be another server."""
        channels, self._channels = self._channels, {}
        await asyncio.gather(*(channel.close() for channel in channels.values()))

    async def close(self) -> None:
        """End its connections for good."""
        self._closed = True
        try:
            await asyncio.gather(*self._connecting.values(), return_exceptions=True)
        finally:
            await self.hang_up()
