"""Connections to the database: opened when needed, kept, and never used again once there is any doubt about them.

What must stay true: whoever was cut short in a statement leaves a closed connection behind, never one that is in a
transaction or waits for an answer; a connection that lay idle for long is asked whether it lives before it is used for
a write. No connection is ever in a state that the next transaction depends on: a pooler may give that to another one.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import cast

import asyncpg  # type: ignore[import-untyped]

from sagafsm.core.errors import SettingsError, StoreError, StoreUnavailable

from .driver import Connection
from .errors import DRIVER, translate
from .options import Options
from .types import KnownTypes

IDLE = 30.0  # seconds after which a connection may have been forgotten by something in between
SETTLED = 1.0  # seconds to wait for a statement that was cut short
CACHED = 200  # statements that a connection keeps prepared


async def connect(
    options: Options, *, prepared: bool, patient: bool = False, types: KnownTypes | None = None
) -> Connection:
    """A new connection. ``patient``: its statements may take as long as they need.

    Raises StoreUnavailable, or SettingsError where the driver cannot make sense of what it is given.
    """
    try:
        return cast(
            Connection,
            await asyncpg.connect(
                options.dsn,
                timeout=options.timeout,  # pyright: ignore[reportArgumentType] - its default is an int, a float will do
                command_timeout=None if patient else options.timeout,
                statement_cache_size=CACHED if prepared else 0,
                max_cached_statement_lifetime=0,
                server_settings={"application_name": options.application_name},
                connection_class=types.connection_class if types else asyncpg.Connection,
            ),
        )
    except asyncpg.ClientConfigurationError as exc:
        raise SettingsError(f"{options.where} cannot be connected to: {exc}") from exc
    except DRIVER as exc:
        raise translate(exc, options.where, writing=False) from exc


class Pool:
    """Up to ``size`` connections, used from one event loop."""

    def __init__(self, options: Options, size: int, *, prepared: bool, types: KnownTypes) -> None:
        self._options = options
        self._types = types
        self._prepared = prepared
        self._pid = os.getpid()
        self._room = asyncio.Semaphore(size)
        self._idle: list[tuple[Connection, float]] = []
        self._used: set[Connection] = set()
        self._closed = False

    @asynccontextmanager
    async def connection(self, *, writing: bool = False) -> AsyncIterator[Connection]:
        """A connection for the block. What the driver raises in the block leaves it as ours (see errors.translate)."""
        connection = await self.take()
        clean = False
        try:
            yield connection
            clean = True
        except DRIVER as exc:
            clean = isinstance(exc, asyncpg.PostgresError | ValueError)
            raise translate(exc, self._options.where, writing=writing) from exc
        except asyncio.CancelledError:
            await settle(connection)
            raise
        except Exception:
            clean = True
            raise
        finally:
            self.give_back(connection, clean=clean)

    async def take(self) -> Connection:
        """A connection that lives, as far as one can tell; to be given back. Raises StoreUnavailable."""
        if os.getpid() != self._pid:
            raise StoreError(
                "this store was opened before the process forked, and its connections must not be used by both; open "
                "a store in the new process"
            )
        if self._room.locked():
            await self._wait_for_room()
        else:
            await self._room.acquire()
        try:
            if self._closed:  # perhaps while this one waited
                raise StoreUnavailable("the store is closed; nothing was written")
            while self._idle:
                connection, since = self._idle.pop()
                if await self._lives(connection, since):
                    break
            else:
                connection = await connect(self._options, prepared=self._prepared, types=self._types)
        except BaseException:
            self._room.release()
            raise
        self._used.add(connection)
        return connection

    def give_back(self, connection: Connection, *, clean: bool) -> None:
        """Keep the connection for the next one; not ``clean``, it is closed."""
        self._used.discard(connection)
        if not clean or self._closed or connection.is_closed() or connection.is_in_transaction():
            connection.terminate()
        else:
            self._idle.append((connection, asyncio.get_running_loop().time()))
        self._room.release()

    async def close(self) -> None:
        """Close what is idle, cut off what is in use."""
        self._closed = True
        if os.getpid() != self._pid:
            return
        for connection in self._used:
            connection.terminate()
        try:
            while self._idle:
                connection, _ = self._idle.pop()
                await part(connection)
        finally:
            for connection, _ in self._idle:
                connection.terminate()

    async def _wait_for_room(self) -> None:
        try:
            async with asyncio.timeout(self._options.timeout):
                await self._room.acquire()
        except TimeoutError as exc:
            raise StoreUnavailable(
                f"no connection to {self._options.where} became free within {self._options.timeout:g} s; nothing was "
                "written; raise pool_size, or ask for less at once"
            ) from exc

    async def _lives(self, connection: Connection, since: float) -> bool:
        if connection.is_closed():
            return False
        if asyncio.get_running_loop().time() - since < IDLE:
            return True
        try:
            await connection.execute("SELECT")
        except DRIVER:
            connection.terminate()
            return False
        except BaseException:
            connection.terminate()
            raise
        return True


async def settle(connection: Connection) -> None:
    """Let a statement that was cut short come to its end, if that is soon, so that it surprises nobody later on."""
    with suppress(*DRIVER):
        async with asyncio.timeout(SETTLED):
            await connection.execute("ROLLBACK")  # waits until the server has confirmed that it was cancelled


async def part(connection: Connection) -> None:
    """Close a connection in an orderly way, or at least close it."""
    with suppress(*DRIVER):
        await connection.close(timeout=2.0)
    if not connection.is_closed():
        connection.terminate()
