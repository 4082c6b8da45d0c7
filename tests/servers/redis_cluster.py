"""A Redis cluster of six servers: three masters, and a replica of each."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from redis import Redis as Client

from .base import HOST, PATIENCE, free_port
from .redis import Redis, ask, cli

SIZE = 6


class Member(Redis):
    """One server of the cluster. It gives up a master that does not answer after a second."""

    name = "redis_member"

    settings = (
        *("--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-config-file", "nodes.conf"),
        *(
            "--cluster-replica-validity-factor",
            "0",
            "--repl-ping-replica-period",
            "1",
            "--repl-diskless-sync-delay",
            "0",
        ),
    )

    def take_ports(self) -> None:
        super().take_ports()
        self.bus = free_port()

    def command(self) -> Sequence[str]:
        return [*super().command(), "--cluster-port", str(self.bus)]


class RedisCluster:
    """All six, joined."""

    name = "redis_cluster"

    def __init__(self) -> None:
        self.members: list[Member] = []
        self._stack = ExitStack()
        try:
            for _ in range(SIZE):
                self.members.append(Member())
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """The URL of a store on the cluster."""
        return "redis+cluster://" + ",".join(f"{HOST}:{member.port}" for member in self.members)

    @classmethod
    def given(cls) -> str | None:
        """The URL of a cluster that runs already, from the environment."""
        return os.environ.get("SAGAFSM_TEST_REDIS_CLUSTER_URL") or None

    def __enter__(self) -> Self:
        try:
            for member in self.members:
                self._stack.enter_context(member)
            places = [f"{HOST}:{member.port}" for member in self.members]
            self.members[0].run(
                cli(), "--cluster", "create", *places, "--cluster-replicas", "1", "--cluster-yes", seconds=120
            )
            self.wait_until_whole()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all of them."""
        self._stack.close()
        for member in self.members:
            member.close()

    def wait_until_whole(self, *, replicas: bool = True) -> None:
        """Until every member that runs says that all slots are served (and each replica has caught up)."""
        deadline = time.monotonic() + PATIENCE
        while not all(self._is_whole(member, replicas) for member in self.members if member.running):
            assert time.monotonic() < deadline, f"the cluster is not whole within {PATIENCE:g} s"
            time.sleep(0.05)

    def _is_whole(self, member: Member, replicas: bool) -> bool:
        said = ask(member.port, "CLUSTER", "INFO")
        if "cluster_state:ok" not in said or "cluster_slots_ok:16384" not in said:
            return False
        replication = ask(member.port, "INFO", "replication")
        return "role:master" in replication or not replicas or "master_link_status:up" in replication

    def masters(self) -> list[Member]:
        """Those that are masters now."""
        running = [member for member in self.members if member.running]
        return [member for member in running if "role:master" in ask(member.port, "INFO", "replication")]

    def wait_for_masters(self, count: int) -> None:
        """Until so many of those that run are masters, and the cluster serves all slots again."""
        deadline = time.monotonic() + PATIENCE
        while len(self.masters()) < count:
            assert time.monotonic() < deadline, f"no replica has taken over within {PATIENCE:g} s"
            time.sleep(0.05)
        self.wait_until_whole(replicas=False)

    def move_slot(self, slot: int, halfway: Callable[[], object] = lambda: None) -> None:
        """Take a slot from its master to the next one, key by key, as an operator does who adds a server.

        ``halfway`` is called while some of its keys are here and some are there.
        """
        masters = {member.ask("CLUSTER", "MYID"): member for member in self.masters()}
        ids = list(masters)
        source_id = next(name for name in ids if self._has(masters[name], slot))
        target_id = ids[(ids.index(source_id) + 1) % len(ids)]
        source, target = masters[source_id], masters[target_id]
        target.ask("CLUSTER", "SETSLOT", str(slot), "IMPORTING", source_id)
        source.ask("CLUSTER", "SETSLOT", str(slot), "MIGRATING", target_id)
        with Client(host=HOST, port=source.port, decode_responses=True) as client:
            while keys := client.cluster("getkeysinslot", slot, 3):
                client.execute_command("MIGRATE", HOST, target.port, "", 0, 5000, "KEYS", *keys)
                halfway()
        for member in (target, source, *(set(masters.values()) - {source, target})):
            assert member.ask("CLUSTER", "SETSLOT", str(slot), "NODE", target_id) == "+OK"

    def _has(self, member: Member, slot: int) -> bool:
        with Client(host=HOST, port=member.port, decode_responses=True) as client:
            own = [row for row in client.cluster("slots") if int(row[0]) <= slot <= int(row[1])]
            return any(int(row[2][1]) == member.port for row in own)
