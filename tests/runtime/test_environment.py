"""Ids and identity: what tells one saga, one process and one boot from another."""

import os
import subprocess
import sys
import uuid

from sagafsm.runtime import environment as environment_module
from sagafsm.runtime.environment import Environment


def test_saga_ids_are_uuids_of_version_7_and_none_comes_twice():
    ids = [Environment().saga_id() for _ in range(1000)]

    assert len(set(ids)) == 1000
    assert all(uuid.UUID(found).version == 7 and uuid.UUID(found).variant == uuid.RFC_4122 for found in ids)


def test_saga_ids_of_a_later_millisecond_sort_later(monkeypatch):
    environment = Environment()
    monkeypatch.setattr("time.time_ns", lambda: 1_800_000_000_000 * 1_000_000)
    early = environment.saga_id()
    monkeypatch.setattr("time.time_ns", lambda: 1_800_000_000_001 * 1_000_000)

    assert early < environment.saga_id()


def test_a_worker_of_this_process_is_alive_and_one_of_an_ended_process_is_dead():
    environment = Environment()
    mine = environment.worker_id()
    host, namespace, pid, started, chance = mine.split(":")

    assert int(pid) == os.getpid()
    assert not environment.is_dead(mine)
    assert environment.is_dead(f"{host}:{namespace}:{pid}:1{started}:{chance}")  # the same number, another process
    assert not environment.is_dead(f"elsewhere:{namespace}:{pid}:1{started}:{chance}")  # nobody here can tell
    assert not environment.is_dead("a name that somebody chose")


def test_on_macos_a_worker_whose_process_id_is_free_is_dead(monkeypatch):
    """There is no /proc there: without this, every killed process held its sagas for as long as its lease."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    monkeypatch.setattr(environment_module, "_host", lambda: ("5e55-darwin", "0"))
    monkeypatch.setattr(environment_module, "_start_time", lambda pid: None)
    monkeypatch.setattr(environment_module.sys, "platform", "darwin")
    environment = Environment()
    mine = environment.worker_id()
    assert mine.split(":")[3] == "0"
    assert not environment.is_dead(mine)
    assert environment.is_dead(mine.replace(f":{os.getpid()}:", f":{ended.pid}:"))
    monkeypatch.setattr(environment_module.sys, "platform", "linux")
    assert not environment.is_dead(mine.replace(f":{os.getpid()}:", f":{ended.pid}:"))  # perhaps another container's
