"""What can happen to Redis servers while sagas run: on one server, and on a cluster.

What must stay true: each trouble ends by itself, may come again, and was felt: it says what somebody must have been
told of it.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable
from typing import Any

import redis

from tests.servers.base import HOST
from tests.servers.redis import Redis
from tests.servers.redis_cluster import Member, RedisCluster

SLOW_START = ("--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024")


def client(server: Redis) -> redis.Redis:
    """What an operator has at hand."""
    return redis.Redis(host=HOST, port=server.port, decode_responses=True)


# --- one server ---


async def flush_scripts(server: Redis) -> None:
    deadline = time.monotonic() + 30
    with client(server) as raw:
        while unknown_scripts(raw) <= 20:
            assert time.monotonic() < deadline, "hardly anybody called a script meanwhile"
            raw.script_flush()
            await asyncio.sleep(0.03)


def unknown_scripts(raw: redis.Redis) -> int:
    """How often a script was called that the server had forgotten."""
    return int(raw.info("errorstats").get("errorstat_NOSCRIPT", {"count": 0})["count"])


async def cut_connections(server: Redis) -> None:
    with client(server) as raw:
        for _ in range(10):
            for kind in ("normal", "pubsub"):
                raw.client_kill_filter(_type=kind, skipme=True)
            await asyncio.sleep(0.1)


async def fill_the_memory(server: Redis) -> None:
    with client(server) as raw:
        raw.config_set("maxmemory", "1")
        await asyncio.sleep(1.0)
        raw.config_set("maxmemory", "0")


async def run_a_script_for_ever(server: Redis) -> None:
    def run() -> None:
        with client(server) as other:
            try:
                other.eval("while true do end", 0)
            except redis.ResponseError as exc:
                assert "killed" in str(exc)  # noqa: PT017 - it never ends in another way

    with client(server) as raw:
        raw.config_set("busy-reply-threshold", "50")
        running = asyncio.ensure_future(asyncio.to_thread(run))
        while not (running.done() or is_busy(raw)):  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.01)
        await asyncio.sleep(1.0)
        raw.script_kill()
        await running


def is_busy(raw: redis.Redis) -> bool:
    """Whether a script keeps everybody else waiting."""
    try:
        raw.ping()
    except redis.ResponseError as exc:
        return "BUSY" in str(exc)
    return False


async def become_a_replica(server: Redis) -> None:
    with client(server) as raw:
        raw.replicaof(HOST, "1")
        await asyncio.sleep(1.0)
        raw.replicaof("NO", "ONE")


async def freeze(server: Redis) -> None:
    server.pause()
    await asyncio.sleep(1.5)
    server.resume()


async def start_slowly(server: Redis) -> None:
    with client(server) as raw:
        raw.mset({f"ballast-{n}": "x" * 40 for n in range(1000)})
        raw.bgrewriteaof()
        await asyncio.to_thread(wait_until_rewritten, raw)
    server.kill()
    server.settings = SLOW_START
    await asyncio.to_thread(server.start)


def wait_until_rewritten(raw: redis.Redis) -> None:
    while any(value for name, value in raw.info("persistence").items() if name.startswith("aof_rewrite_")):
        time.sleep(0.01)


Trouble = tuple[Callable[[Any], Awaitable[None]], str]

ON_ONE_SERVER: dict[str, Trouble] = {
    "scripts are flushed": (flush_scripts, ""),
    "connections are cut": (cut_connections, "did not answer"),
    "the memory is full": (fill_the_memory, "maxmemory"),
    "a script runs for ever": (run_a_script_for_ever, "SCRIPT KILL"),
    "it becomes a replica": (become_a_replica, "is a replica"),
    "it freezes": (freeze, "did not answer"),
    "it is killed and starts slowly": (start_slowly, "still reading its data"),
}
"""What happens, and a pattern of what the store must have said of it."""


# --- a cluster ---


def master_of(cluster: RedisCluster, prefix: str) -> Member:
    """The master that has the most sagas."""
    counts = {}
    for member in cluster.masters():
        with client(member) as raw:
            counts[member] = sum(1 for _ in raw.scan_iter(f"{prefix}saga:*", count=1000))
    return max(counts, key=lambda member: counts[member])


async def kill_a_master(cluster: RedisCluster) -> None:
    victim = master_of(cluster, "")
    victim.kill()
    await asyncio.to_thread(cluster.wait_for_masters, 3)
    await asyncio.to_thread(victim.start)  # as a replica of the one that has taken over


async def freeze_a_master(cluster: RedisCluster) -> None:
    """Until another has taken over; then it wakes up, and takes itself for the master for a moment."""
    victim = master_of(cluster, "")
    victim.pause()
    try:
        deadline = time.monotonic() + 30
        others = [member for member in cluster.members if member is not victim]
        while sum(is_master(member) for member in others) < 3:
            assert time.monotonic() < deadline, "no replica takes over"
            await asyncio.sleep(0.05)
    finally:
        victim.resume()
    await asyncio.to_thread(cluster.wait_until_whole)


async def move_slots(cluster: RedisCluster) -> None:
    with client(master_of(cluster, "")) as raw:
        slots = {int(raw.cluster("keyslot", key)) for key in raw.scan_iter("saga-layout*", count=1000)}
    for slot in slots:
        await asyncio.to_thread(cluster.move_slot, slot)


def is_master(member: Member) -> bool:
    return "role:master" in member.ask("INFO", "replication")


ON_A_CLUSTER: dict[str, Trouble] = {
    "a master is killed": (kill_a_master, "did not answer|cannot be reached"),
    "a master freezes and wakes up": (freeze_a_master, "did not answer"),
    "slots move": (move_slots, ""),
}


# --- losing the newest appends ---


class TakenBack:
    """One server, that comes back with its data of an earlier moment: a backup, or a disk that lied."""

    def __init__(self, server: Redis) -> None:
        self.url = server.url
        self._server = server
        self._log = server.folder / "appendonlydir"
        self._kept = server.folder / "kept"

    def keep(self) -> None:
        """What is there now is what will be left."""
        shutil.copytree(self._log, self._kept)

    def lose(self) -> None:
        """Lose the rest."""
        self._server.kill()
        shutil.rmtree(self._log)
        self._kept.rename(self._log)
        for path in (self._log, *self._log.iterdir()):
            self._server.own(path)
        self._server.start()


class MissedByReplica:
    """A cluster, of which a master dies while its replica lags behind; all sagas are on that master."""

    def __init__(self, cluster: RedisCluster) -> None:
        self.url = cluster.url + "?partitions=1"
        self._cluster = cluster

    def keep(self) -> None:
        self._cluster.wait_until_whole()
        self._master = master_of(self._cluster, "")
        with client(self._master) as raw:
            raw.wait(1, 5000)
            port = int(raw.info("replication")["slave0"]["port"])
            self._replica = next(member for member in self._cluster.members if member.port == port)
            self._replica.pause()
            raw.client_kill_filter(_type="replica")  # what was sent to it already it would still read

    def lose(self) -> None:
        self._master.kill()
        self._replica.resume()
        self._cluster.wait_for_masters(3)
        assert is_master(self._replica)


LOSSES: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "a server comes back as it was": (Redis, TakenBack),
    "a replica takes over that lagged behind": (RedisCluster, MissedByReplica),
}
