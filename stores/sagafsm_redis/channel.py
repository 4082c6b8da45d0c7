"""One connection that many calls share: commands go out as they come, and answers come back in the same order.

What must stay true: an answer goes to the call that it belongs to, whatever becomes of the others: a call that is given
up (by the store's own timeout; callers cannot reach it) ends the whole connection, because nobody could tell any more
whose answer comes next. Nothing is ever sent twice from here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from redis.asyncio.connection import Connection
from redis.exceptions import AuthenticationError, BusyLoadingError, RedisError, ResponseError

from .errors import Lost, NotSent

_Waiting = tuple["asyncio.Future[list[Any]]", int]


class Channel:
    """An open connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: deque[_Waiting] = deque()
        self._end: BaseException | None = None
        self._reader = asyncio.get_running_loop().create_task(self._read(), name="sagafsm redis reader")

    @classmethod
    async def open(cls, make: Callable[[], Connection], seconds: float) -> Channel:
        """Connect and say who we are. Raises NotSent."""
        connection = make()
        try:
            async with asyncio.timeout(seconds):
                await connection.connect()  # type: ignore[no-untyped-call]
        except (RedisError, OSError, TimeoutError) as exc:
            await shut(connection)
            raise NotSent from exc
        except BaseException:
            await shut(connection)
            raise
        return cls(connection)

    @property
    def closed(self) -> bool:
        """Whether the connection has ended."""
        return self._end is not None

    async def call(self, data: Sequence[bytes], answers: int, seconds: float) -> list[Any]:
        """Send packed commands and return as many answers, errors of the server among them as values.

        Raises NotSent or Lost.
        """
        if self._end is not None:
            raise NotSent from self._end
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append((future, answers))
        try:
            async with asyncio.timeout(seconds):
                await self._connection.send_packed_command(data, check_health=False)
                return await future
        except Lost:
            raise
        except (RedisError, OSError, TimeoutError) as exc:
            await self._finish(exc)
            raise Lost from exc
        except BaseException as exc:
            await self._finish(exc)
            raise
        finally:
            if future.done() and not future.cancelled():
                future.exception()  # it may have come beside an error of the sending

    async def close(self) -> None:
        """End the connection; calls that wait for an answer learn that there will be none."""
        await self._finish(ConnectionError("the store was closed"), orderly=True)

    async def _read(self) -> None:
        try:
            while True:
                answers = [await self._answer()]
                if not self._waiting:  # nobody asked: it is the end, or the server tells why it will be
                    raise answers[0] if isinstance(answers[0], Exception) else ResponseError(repr(answers[0]))
                future, count = self._waiting[0]
                while len(answers) < count:
                    answers.append(await self._answer())
                self._waiting.popleft()
                if not future.done():
                    future.set_result(answers)
        except (RedisError, OSError) as exc:
            await self._finish(exc)

    async def _answer(self) -> Any:
        """What the server says next; an error that it answers with is no end of the connection.

        The driver takes some of those for one: then the calls behind would look as if they had never been made.
        """
        try:
            return await self._connection.read_response(disconnect_on_error=False)
        except (ResponseError, BusyLoadingError, AuthenticationError) as exc:
            return exc

    async def _finish(self, end: BaseException, *, orderly: bool = False) -> None:
        if self._end is None:
            self._end = end
            for future, _ in self._waiting:
                if not future.done():
                    lost = Lost()
                    lost.__cause__ = end
                    future.set_exception(lost)
            self._waiting.clear()
            try:
                if asyncio.current_task() is not self._reader:
                    self._reader.cancel()
                    await asyncio.gather(self._reader, return_exceptions=True)
            finally:
                await shut(self._connection, orderly=orderly)


async def shut(connection: Connection, *, orderly: bool = False) -> None:
    """Close a connection; ``orderly``: and wait until it is, which with TLS takes an answer."""
    try:
        await connection.disconnect(nowait=not orderly)
    except (RedisError, OSError):
        return
