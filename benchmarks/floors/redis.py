"""The floor on Redis: whatever has come while the server wrote is one pipeline of EVALSHA, an append each.

The server is the tests' own: appendonly, appendfsync=always, the same for the floor and the engine; each database is a
server of its own. It does not rewrite its log meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import shutil
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

from .base import HEIR, Event, Rows

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
        ends = int(state in ("completed", "failed"))
        encode, head = msgspec.json.encode, f"{saga_id}-{version}"
        items = [
            b"%b %b %b\n%b" % (head.encode(), kind.encode(), repr(now).encode(), encode(data)) for kind, data in events
        ]
        keys = [f"saga:{saga_id}", f"events:{saga_id}", "due"]
        arguments = [self._script, 3, *keys, saga_id, version, fence, after, state, ends, now, *items]
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
            try:
                answers: list[Any] = await pipeline.execute(raise_on_error=False)
            except Exception as exc:  # whoever waits must not do so for ever
                answers = [exc] * len(batch)
            for (_, future), answer in zip(batch, answers, strict=True):
                if answer == 1:
                    future.set_result(None)
                else:
                    future.set_exception(RuntimeError(f"not appended, and there is nobody else: {answer!r}"))
        self._flushing = None

    async def take_over(self) -> dict[str, list[dict[str, Any]]]:
        """Claim with one pipeline, which reads as well."""
        found: list[Any] = await self._client.zrangebyscore("due", "-inf", time.time())
        due: list[str] = [saga_id.decode() for saga_id in found]
        pipeline = self._client.pipeline(transaction=False)
        for saga_id in due:
            pipeline.hincrby(f"saga:{saga_id}", "fence", 1)
            pipeline.hset(f"saga:{saga_id}", "owner", HEIR)
            pipeline.lrange(f"events:{saga_id}", 0, -1)
        decode, answers = msgspec.json.decode, await pipeline.execute()
        return {
            saga_id: [decode(item.partition(b"\n")[2]) for item in items]
            for saga_id, items in zip(due, answers[2::3], strict=True)
        }

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

    def settle(self) -> None:
        """It has nothing to do later: a key is where it will be."""

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

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.settings = ("--dir", str(folder.resolve()), "--auto-aof-rewrite-percentage", "0")


@attrs.frozen
class RedisPlace:
    """A folder, in which each database is a server's."""

    folder: Path
    about: str

    @contextmanager
    def fresh(self, name: str) -> Iterator[RedisDatabase]:
        """A server of its own: nothing of the run before is left, and none is busy with forgetting it."""
        folder = self.folder / name
        folder.mkdir()
        try:
            with Server(folder) as server:
                yield RedisDatabase(server.url)
        finally:
            shutil.rmtree(folder)


@contextmanager
def open_place(folder: Path) -> Iterator[RedisPlace]:
    """Nothing is started yet but to see which version it is."""
    place = RedisPlace(folder, "")
    with place.fresh("version") as database, Client.from_url(database.url) as client:
        version = client.info("server")["redis_version"]
    yield RedisPlace(folder, f"Redis {version}, appendfsync always")


def find(url: str) -> RedisDatabase:
    """The server of a URL."""
    return RedisDatabase(url)
