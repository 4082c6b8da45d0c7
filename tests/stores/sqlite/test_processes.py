"""Several real processes on one file: nothing is lost, torn or written twice, also when they are killed."""

import asyncio
import os
import random
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from sagafsm.core.errors import StoreError
from sagafsm.store import Committed
from sagafsm.testing.appends import create
from sagafsm_sql import SQLStore

PROGRAM = Path(__file__).with_name("writer_process.py")
ROOT = Path(__file__).parents[3]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "stores")])}


@pytest.fixture(params=["", "?journal_mode=DELETE&timeout=20"], ids=["wal", "delete"])
def url(tmp_path, request):
    return f"sqlite:///{tmp_path}/sagas.db{request.param}"


@pytest.fixture
def spawn():
    """Start a writer; whatever is still running at the end of the test is killed."""
    started = []

    def start(url, names, count):
        command = [sys.executable, str(PROGRAM), url, ",".join(names), str(count)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


async def born(url, names):
    store = SQLStore.from_url(url)
    await store.setup()
    await store.commit([create(name) for name in names])
    await store.close()


def acknowledged(output):
    """The highest version that was acknowledged, by saga."""
    versions = {}
    for line in output.splitlines():
        name, _, version = line.partition(" ")
        if version.isdigit():
            versions[name] = max(versions.get(name, 0), int(version))
    return versions


def check_file(url):
    """Each saga's version is the number of its events and the highest of their numbers; the file is whole."""
    path = url.removeprefix("sqlite:///").partition("?")[0]
    connection = sqlite3.connect(path)
    try:
        rows = connection.execute(
            "SELECT s.id, s.version, count(e.seq), max(e.seq) FROM sagas s JOIN saga_events e ON e.saga_id = s.id"
            " GROUP BY s.id"
        ).fetchall()
        assert all(version == count == highest for _, version, count, highest in rows), rows
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        counted = connection.execute("SELECT state, sum(count) FROM saga_counts GROUP BY state HAVING sum(count) > 0")
        real = connection.execute("SELECT state, count(*) FROM sagas GROUP BY state")
        assert sorted(counted) == sorted(real)
    finally:
        connection.close()
    return {name: version for name, version, _, _ in rows}


async def test_four_processes_append_to_one_file(url, spawn):
    names = ["a", "b", "c"]
    await born(url, names)
    outputs = [process.communicate(timeout=50)[0] for process in [spawn(url, names, 40) for _ in range(4)]]
    assert all(output.endswith("done\n") for output in outputs)
    versions = check_file(url)
    accepted = [line for output in outputs for line in output.splitlines() if line[0] in "abc"]
    assert len(accepted) == len(set(accepted)) >= 160
    for name in names:
        assert versions[name] == max(
            found for output in outputs for saga, found in acknowledged(output).items() if saga == name
        )


async def test_a_file_survives_kills_in_the_middle_of_appends(url, spawn):
    """Up to 20 kills: what was acknowledged is there, what was not is there wholly or not at all."""
    names = [f"s{n}" for n in range(20)]
    await born(url, names)
    chance = random.Random(7)
    versions = dict.fromkeys(names, 2)
    for _ in range(5 if "DELETE" not in url else 2):
        processes = [spawn(url, names, 10**9) for _ in range(4)]
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        outputs = []
        for process in processes:
            heard = [process.stdout.readline() for _ in range(chance.randint(1, 60))]
            process.kill()
            # Not communicate(): it passes over what lies in a buffer already, and begins in the middle of a line.
            outputs.append("".join(heard) + process.stdout.read())
            process.wait(timeout=20)
        found = check_file(url)
        for output in outputs:
            for name, version in acknowledged(output).items():
                assert found[name] >= version
        assert all(found[name] >= versions[name] for name in names)
        versions = found
    assert sum(versions.values()) > 2 * len(names)


async def test_several_processes_may_create_the_file_at_once(url, spawn):
    processes = [spawn(url, ["none"], 0) for _ in range(4)]
    assert [process.communicate(timeout=50)[0] for process in processes] == ["ready\ndone\n"] * 4
    assert check_file(url) == {}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_store_refuses_to_be_used_after_a_fork(tmp_path):
    store = SQLStore.from_url(f"sqlite:///{tmp_path}/sagas.db")

    async def refusals():
        refused = 0
        for ask in (
            lambda: store.commit([]),
            lambda: store.load([]),
            store.setup,
            lambda: store.claim("w", [], limit=1),
        ):
            try:
                await ask()
            except StoreError as exc:
                refused += "fork" in str(exc)
        await store.close()  # which must not touch the parent's connections
        return refused

    with asyncio.Runner() as runner:
        runner.run(store.setup())
        child = os.fork()
        if child == 0:
            os._exit(asyncio.run(refusals()))
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 4
        assert runner.run(write(store)) == [Committed(2)]
        runner.run(store.close())


async def write(store):
    return await store.commit([create("s")])
