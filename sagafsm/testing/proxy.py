"""A TCP proxy that breaks connections on demand: what a store does when the network or its server fails.

::

    async with Proxy("127.0.0.1", 5432) as proxy:
        store = MyStore(host=proxy.host, port=proxy.port)
        strike = proxy.plan(Trouble.LOSE_REPLY, request=3)   # the third request from now on
        ...                                                  # it is applied, and nobody is told
        assert strike.struck

What must stay true: it knows nothing of what is spoken through it. What a client sends until it is answered is one
request, also where it sends several things at once. Where a request is said to have reached the server, the server
has answered it to its end before the connection is cut. Nothing of a proxy is left when its block is left.
"""

from __future__ import annotations

import asyncio
import enum
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

CHUNK = 1 << 20
QUIET = 0.05  # seconds after which an answer that has begun has come to its end


class Trouble(enum.Enum):
    """What can happen to a request."""

    CUT_BEFORE = "cut before"
    """The connection is cut; the request never reaches the server."""
    LOSE_REPLY = "lose reply"
    """The server does what it is asked; its reply is swallowed, and the connection is cut."""
    CUT_REPLY = "cut reply"
    """The server does what it is asked; the connection is cut in the middle of its reply."""
    LATE = "late"
    """The connection is cut at once; the request reaches the server ``seconds`` later."""
    DELAY = "delay"
    """The request is held back for ``seconds``; then everything goes on."""
    STALL = "stall"
    """The server does what it is asked; no reply comes, and the connection stays open until the client gives up."""


class Strike:
    """One planned trouble. ``struck``: how often it has happened."""

    def __init__(
        self, trouble: Trouble, first: int, times: int, per_connection: bool, containing: bytes, seconds: float
    ) -> None:
        self.trouble = trouble
        self.seconds = seconds
        self.struck: int = 0
        self._first = first
        self._times = times
        self._per_connection = per_connection
        self._containing = containing
        self._seen: dict[int, int] = {}
        self._under_way = 0
        self._over = asyncio.Event()
        self._over.set()

    async def over(self) -> None:
        """Wait until what has struck is over: the server has dealt with each request that reaches it."""
        await self._over.wait()

    def _meets(self, request: bytes, connection: int) -> bool:
        if self._containing not in request:
            return False
        key = connection if self._per_connection else 0
        number = self._seen[key] = self._seen.get(key, 0) + 1
        return self._first <= number < self._first + self._times

    def _begin(self) -> None:
        self._under_way += 1
        self._over.clear()

    def _end(self) -> None:
        self._under_way -= 1
        if not self._under_way:
            self._over.set()


class Proxy:
    """Stands between clients and a TCP server; an asynchronous context manager. Speaks to every client at once.

    ``host`` and ``port``: where clients find it, on the loopback interface. ``requests``: how many it has seen.
    """

    host = "127.0.0.1"

    def __init__(self, server_host: str, server_port: int) -> None:
        self.port = 0
        self.requests = 0
        self._target = (server_host, server_port)
        self._server: asyncio.Server
        self._open: dict[int, _Connection] = {}
        self._accepted = 0
        self._plans: list[Strike] = []
        self._refusing = False
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._open)

    def plan(
        self,
        trouble: Trouble,
        *,
        request: int = 1,
        times: int = 1,
        per_connection: bool = False,
        containing: bytes = b"",
        seconds: float = 0.05,
    ) -> Strike:
        """Let trouble come to the ``request``-th request from now on (1: the next), and to ``times`` in a row.

        Requests of all connections are counted together, or ``per_connection``, each connection by itself. Only those
        are counted that hold the bytes ``containing``. Plans hold until :meth:`heal`.
        """
        strike = Strike(trouble, request, times, per_connection, containing, seconds)
        self._plans.append(strike)
        return strike

    def cut(self) -> None:
        """Cut every connection that is open; new ones are accepted."""
        for connection in list(self._open.values()):
            connection.cut()

    def refuse(self) -> None:
        """Cut every connection, and each new one as soon as it is made: the server is away until :meth:`heal`."""
        self._refusing = True
        self.cut()

    def heal(self) -> None:
        """Forget every plan: from now on everything passes."""
        self._refusing = False
        self._plans.clear()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, self.host, self.port, limit=CHUNK)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self.cut()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()
        await asyncio.sleep(0)  # a transport that was cut closes its socket in the next turn

    def _strikes(self, request: bytes, connection: int) -> Strike | None:
        """Which trouble comes to this request; every plan counts it."""
        self.requests += 1
        met = [strike for strike in self._plans if strike._meets(request, connection)]
        if not met:
            return None
        met[0].struck += 1
        return met[0]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._accepted += 1
        task = asyncio.get_running_loop().create_task(self._serve(self._accepted, reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self._refusing:
                return
            upstream = await asyncio.open_connection(*self._target, limit=CHUNK)
            self._open[number] = _Connection(self, number, (reader, writer), upstream)
            await self._open[number].run()
        except OSError:
            pass  # the server is away: the client is cut off
        finally:
            writer.transport.abort()
            if connection := self._open.pop(number, None):
                connection.cut()


class _Connection:
    """One client, and the connection to the server that was made for it."""

    def __init__(
        self,
        proxy: Proxy,
        number: int,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._proxy = proxy
        self._number = number
        self._from_client, self._to_client = client
        self._from_server, self._to_server = server
        self._answered = True
        self._trouble: Strike | None = None
        self._stop = asyncio.Event()

    def cut(self) -> None:
        """Cut both ends."""
        self._stop.set()
        self._to_client.transport.abort()
        self._to_server.transport.abort()

    async def run(self) -> None:
        """Pass everything on until one end closes or trouble ends it."""
        pumps = [asyncio.ensure_future(self._requests()), asyncio.ensure_future(self._replies())]
        stop = asyncio.ensure_future(self._stop.wait())
        tasks: list[asyncio.Future[Any]] = [*pumps, stop]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if self._trouble is not None and not stop.done():
                await asyncio.wait(tasks, return_when=asyncio.ALL_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._trouble is not None:
                self._trouble._end()

    async def _requests(self) -> None:
        with suppress(OSError):
            while data := await self._from_client.read(CHUNK):
                if self._answered and self._trouble is None:
                    self._answered = False
                    if (strike := self._proxy._strikes(data, self._number)) is not None:
                        await self._meet(strike, data)
                        continue
                await self._pass_on(data)
        if self._trouble is None or self._trouble.trouble is Trouble.STALL:
            self._stop.set()

    async def _pass_on(self, data: bytes) -> None:
        self._to_server.write(data)
        await self._to_server.drain()

    async def _meet(self, strike: Strike, data: bytes) -> None:
        if strike.trouble is Trouble.CUT_BEFORE:
            self.cut()
            return
        if strike.trouble is Trouble.DELAY:
            await asyncio.sleep(strike.seconds)
            await self._pass_on(data)
            return
        self._trouble = strike
        strike._begin()
        if strike.trouble is Trouble.LATE:
            self._to_client.transport.abort()
            await asyncio.sleep(strike.seconds)
        await self._pass_on(data)

    async def _replies(self) -> None:
        with suppress(OSError):
            while data := await self._from_server.read(CHUNK):
                self._answered = True
                if self._trouble is not None:
                    await self._withhold(self._trouble.trouble, data)
                    return
                self._to_client.write(data)
                await self._to_client.drain()
        self._stop.set()

    async def _withhold(self, trouble: Trouble, reply: bytes) -> None:
        """The server has begun to answer: let it come to the end, and keep the answer from the client."""
        if trouble is Trouble.CUT_REPLY:
            self._to_client.write(reply[: len(reply) // 2])
        with suppress(TimeoutError, OSError):
            while True:
                async with asyncio.timeout(QUIET):
                    if not await self._from_server.read(CHUNK):
                        break
        if trouble is not Trouble.STALL:
            self._stop.set()
