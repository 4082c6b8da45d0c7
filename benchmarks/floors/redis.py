"""The floor on Redis: whatever has come while the server wrote is one pipeline of EVALSHA, an append each.

The server is the tests' own: appendonly, appendfsync=always, the same for the floor and the engine.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import msgspec
from redis import Redis as Client
from redis.asyncio import Redis as AsyncClient
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.servers.redis import Redis

from .base import Event, Rows

APPEND = Path(__file__).with_suffix(".lua").read_text()

Work = tuple[list[Any], "asyncio.Future[None]"]


class RedisFloor:
    """A task that flushes, and a queue."""

    def __init__(self, url: str) -> None:
        self._client = AsyncClient.from_url(url, protocol=2, retry=Retry(NoBackoff(), 0), socket_timeout=None)
        self._queue: list[Work] = []
        self._flushing: asyncio.Task[None] | None = None
        self._script = ""

    async def open(self) -> None:
        """Connect, and hand the script in."""
        self._script = await self._client.script_load(APPEND)

    async def append(self, saga_id: str, version: int, events: Sequence[Event], *, state: str, fence: int = 1) -> int:
        """One durable append; the version after it. Raises where another has written."""
        after, now = version + len(events), time.time()
        due_at = "" if state in ("completed", "failed") else now
        encode, head = msgspec.json.encode, f"{saga_id}-{version}"
        items = [
            b"%b %b %b\n%b" % (head.encode(), kind.encode(), repr(now).encode(), encode(data)) for kind, data in events
        ]
        keys = [f"saga:{saga_id}", f"events:{saga_id}", "due"]
        arguments = [self._script, 3, *keys, saga_id, version, fence, after, state, due_at, now, *items]
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((arguments, future))
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())
        await future
        return after

    async def _flush(self) -> None:
        while self._queue:
            batch, self._queue = self._queue, []
            pipeline = self._client.pipeline(transaction=False)
            for arguments, _ in batch:
                pipeline.evalsha(*arguments)
            for (_, future), written in zip(batch, await pipeline.execute(), strict=True):
                if written == 1:
                    future.set_result(None)
                else:
                    future.set_exception(RuntimeError("lost the race against nobody"))
        self._flushing = None

    async def close(self) -> None:
        """Write what is left."""
        if self._flushing is not None:
            await self._flushing
        await self._client.aclose()


@attrs.frozen
class RedisDatabase:
    """A server with nothing in it."""

    url: str

    async def open_floor(self) -> RedisFloor:
        floor = RedisFloor(self.url)
        await floor.open()
        return floor

    def count_floor(self) -> Rows:
        return self._count("events:*", lambda head: head.split(b" ")[1].decode())

    def count_engine(self) -> Rows:
        return self._count("saga-events:*", lambda head: json.loads(head)[1])

    def _count(self, pattern: str, kind_of: Any) -> Rows:
        rows: dict[str, tuple[int, int]] = {}
        with Client.from_url(self.url, protocol=2) as client:
            keys = list(client.scan_iter(pattern, count=1000))
            for start in range(0, len(keys), 500):
                pipeline = client.pipeline(transaction=False)
                for key in keys[start : start + 500]:
                    pipeline.lrange(key, 0, -1)
                for items in pipeline.execute():
                    for item in items:
                        head, _, data = item.partition(b"\n")
                        kind = kind_of(head)
                        count, size = rows.get(kind, (0, 0))
                        rows[kind] = (count + 1, size + len(data))
        return dict(sorted(rows.items()))


class Server(Redis):
    """One that may write where the databases of a measurement lie: it is run by whoever runs this."""

    account = None


@attrs.frozen
class RedisPlace:
    """A server for all runs, emptied in between."""

    server: Redis

    @contextmanager
    def fresh(self, name: str) -> Iterator[RedisDatabase]:
        """Nothing of the run before is left, and the server is not busy with forgetting it."""
        with Client.from_url(self.server.url) as client:
            client.flushall(asynchronous=False)
            client.config_set("appendonly", "no")  # begins a new log
            client.config_set("appendonly", "yes")
            while client.info("persistence")["aof_rewrite_in_progress"]:
                time.sleep(0.01)
        yield RedisDatabase(self.server.url)


@contextmanager
def open_place(folder: Path) -> Iterator[RedisPlace]:
    """A server whose log lies in the folder."""
    server = Server()
    server.settings = ("--dir", str(folder))
    with server:
        yield RedisPlace(server)
