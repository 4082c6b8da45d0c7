"""Tells other processes that something has changed, and waits for them to say so. A hint: polling stays the truth.

What must stay true: nothing here is on the way of a write, and if it fails, nothing but the hint is lost. Whoever wants
to know listens first, then looks, then waits; so nothing is missed in between, nor while the connection was away: a
counter in the database says how often others have told. Many changes are told together.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import Any

from sagafsm.core.errors import StoreError, StoreUnavailable

from ..queries import Queries
from .driver import Connection
from .errors import DRIVER, translate
from .options import Options
from .pool import Pool, connect, part

LOGGER = logging.getLogger("sagafsm")
COALESCE = 0.01  # seconds in which changes come together
SPACING = 0.05  # seconds from one time of telling to the next
FOLD_EVERY = 5.0  # seconds; see migration 0002
SHORTEST_WATCH, LONGEST_WATCH = 0.05, 0.5  # seconds between two looks where one cannot listen


class Wakeups:
    """``listens`` false: a pooler stands in between, through which nobody can listen; then one looks."""

    def __init__(self, queries: Queries, options: Options, pool: Pool, *, listens: bool) -> None:
        self._queries = queries
        self._options = options
        self._pool = pool
        self._listens = listens
        self._channel = f"sagafsm_{options.schema}"
        self._name = uuid.uuid4().hex
        self._connection: Connection | None = None
        self._heard = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._untold = False
        self._told_at = self._folded_at = float("-inf")
        # How often this process has told, and how often all others have, when it last looked.
        self._own = 0
        self._seen = 0
        self._counting = asyncio.Lock()
        self._closed = False

    async def begin(self) -> None:
        """Note what others have told so far; what they tell from now on counts."""
        self._seen = await self._others()

    def tell(self) -> None:
        """Tell the others, soon."""
        self._untold = True
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._tell(), name="sagafsm tells")

    async def wait(self, timeout: float) -> bool:
        """Return true soon after another process has told, false after ``timeout`` seconds."""
        clock = asyncio.get_running_loop().time
        deadline, pause = clock() + timeout, SHORTEST_WATCH
        while True:
            if self._listens and (self._connection is None or self._connection.is_closed()):
                await self._listen()
            self._heard.clear()
            others = await self._others()
            if others != self._seen:
                self._seen = others
                return True
            left = deadline - clock()
            if left <= 0:
                return False
            try:
                async with asyncio.timeout(left if self._listens else min(pause, left)):
                    await self._heard.wait()
            except TimeoutError:
                pause = min(pause * 1.5, LONGEST_WATCH)

    async def close(self) -> None:
        """Tell what is untold, and listen no longer."""
        self._closed = True
        try:
            if self._task is not None:
                await asyncio.gather(self._task, return_exceptions=True)
        finally:
            if self._connection is not None:
                await part(self._connection)

    async def _tell(self) -> None:
        clock = asyncio.get_running_loop().time
        while self._untold:
            if not self._closed:
                await asyncio.sleep(max(COALESCE, self._told_at + SPACING - clock()))
            self._untold, self._told_at = False, clock()
            try:
                async with self._counting, self._pool.connection(writing=True) as connection:
                    await connection.fetchrow(self._queries["tell"], self._channel, self._name)
                    self._own += 1
                if clock() - self._folded_at >= FOLD_EVERY:
                    self._folded_at = clock()
                    async with self._pool.connection(writing=True) as connection:
                        await connection.execute(self._queries["fold_counts"])
            except StoreError as exc:
                LOGGER.debug("other processes could not be told of a change, they will see it later: %s", exc)

    async def _others(self) -> int:
        async with self._counting, self._pool.connection() as connection:
            value, called = await connection.fetchrow(self._queries["changes"]) or (0, False)
            return int(value) * called - self._own

    async def _listen(self) -> None:
        connection = await connect(self._options, prepared=False)
        try:
            connection.add_termination_listener(self._hear_the_end)
            await connection.add_listener(self._channel, self._hear)
        except BaseException as exc:
            connection.terminate()
            if isinstance(exc, DRIVER):
                raise translate(exc, self._options.where, writing=False) from exc
            raise
        if self._closed:  # meanwhile: nobody would close this one
            connection.terminate()
            raise StoreUnavailable("the store is closed")
        self._connection = connection

    def _hear(self, connection: Any, pid: int, channel: str, payload: object) -> None:
        if payload != self._name:
            self._heard.set()

    def _hear_the_end(self, connection: Any) -> None:
        self._heard.set()
