"""Tells other processes that something was written, and hears when they do.

What must stay true: a hint never holds up a write and never makes one fail: it goes out by itself, on a connection of
its own, at most one every ``PAUSE`` seconds. Hints may be lost, so whoever hears nothing still has to look; after the
connection was lost, hearing begins with "something may have changed".
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import Any

from redis.asyncio.connection import Connection
from redis.exceptions import RedisError

from sagafsm.core.errors import StoreUnavailable

from .channel import shut
from .errors import NotSent
from .options import Options
from .packing import pack
from .topology import Topology

LOGGER = logging.getLogger("sagafsm")
PAUSE = 0.02


class Hints:
    """One store's hints: what it tells, and what it hears of others."""

    def __init__(self, options: Options, topology: Topology) -> None:
        self._options = options
        self._topology = topology
        # One for each database of a server, because channels know no databases.
        self._channel = f"{options.prefix}saga-changes:{options.database}"
        self._name = secrets.token_hex(8).encode()
        self._connection: Connection | None = None
        self._telling: asyncio.Task[None] | None = None
        self._more = False
        self._closed = False

    # --- telling ---

    def tell(self) -> None:
        """Something was written."""
        self._more = True
        if self._telling is None or self._telling.done():
            self._telling = asyncio.get_running_loop().create_task(self._tell(), name="sagafsm redis hints")

    async def _tell(self) -> None:
        while self._more:
            self._more = False
            try:
                await self._publish()
            except asyncio.CancelledError:
                self._more = True  # whoever closes the store tells it
                raise
            await asyncio.sleep(PAUSE)

    async def _publish(self) -> None:
        packed = pack("PUBLISH", self._channel, self._name)
        try:
            (node, *_) = await self._topology.masters()
            await node.call([packed], 1, lane="hints")
        except Exception as exc:  # whatever it is: it was only a hint
            LOGGER.debug("other processes were not told of a change: %s", exc)

    # --- hearing ---

    async def listen(self) -> None:
        """Begin to hear. Raises StoreUnavailable."""
        connection = None
        try:
            (node, *_) = await self._topology.masters()
            connection = node.connection()
            async with asyncio.timeout(self._options.timeout):
                await connection.connect()  # type: ignore[no-untyped-call]
                await connection.send_command("SUBSCRIBE", self._channel, check_health=False)
                await connection.read_response()
        except (NotSent, RedisError, OSError, TimeoutError) as exc:
            if connection is not None:
                await shut(connection)
            cause = exc.__cause__ or exc
            raise StoreUnavailable(f"{self._options.where} cannot tell of changes ({cause})") from cause
        except BaseException:
            if connection is not None:
                await shut(connection)
            raise
        if self._closed:  # meanwhile: nobody would close this one
            await shut(connection)
            raise StoreUnavailable(f"{self._options.where} cannot tell of changes (the store is closed)")
        self._connection = connection

    async def wait(self, seconds: float) -> bool:
        """Whether another store has written, within so many seconds."""
        connection = self._connection
        if connection is None:
            await self.listen()
            return True
        deadline = asyncio.get_running_loop().time() + seconds
        try:
            while (left := deadline - asyncio.get_running_loop().time()) > 0:
                message: Any = await connection.read_response(timeout=left, disconnect_on_error=False)
                if message is not None and message[-1] != self._name:
                    return True
        except (RedisError, OSError):
            await shut(connection)
            self._connection = None
            await self.listen()
            return True
        return False

    async def close(self) -> None:
        """Tell what was not yet told, then stop."""
        self._closed = True
        try:
            if self._telling is not None:
                self._telling.cancel()
                await asyncio.gather(self._telling, return_exceptions=True)
                if self._more:
                    await self._publish()
        finally:
            if self._connection is not None:
                await shut(self._connection, orderly=True)
                self._connection = None
