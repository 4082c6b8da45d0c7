"""Copies between files while workers are at work on both sides, and copiers that are killed."""

import asyncio
import random
import subprocess
import sys
from collections import Counter

import pytest

from sagafsm import Orchestrator, SagaDefinition, Sleep, Step, StoreError, copy_sagas, open_store
from sagafsm.moving import mark_of
from sagafsm.moving.whole import log_hash, read_whole
from sagafsm.runtime.memory import MemoryStore
from sagafsm.store import Filter
from sagafsm.testing.appends import create, events

REAL_TIME = True
ROUNDS = 6


def saga(done):
    """Steps with short sleeps between them: there is always something to claim, and something that is held."""

    def step(number):
        async def work(data):
            await asyncio.sleep(0.005)
            done[data, number] += 1

        return Step(f"step_{number}", work, compensatable=False)

    steps = [part for n in range(ROUNDS) for part in (step(n), Sleep(f"nap_{n}", 1.2))]
    return SagaDefinition(name="busy", steps=steps)


async def settle(orchestrators, count):
    """Wait until every saga has ended in one of the stores."""
    async with asyncio.timeout(50):
        while True:
            ended = set()
            for orchestrator in orchestrators:
                for state in ("completed", "failed"):
                    ended |= {saga.saga_id async for saga in orchestrator.find(state=state)}
            if len(ended) == count:
                return
            await asyncio.sleep(0.1)


async def copy_and_kill(urls, pause):
    """Copy in a process that is killed after so many seconds; whether it was still at work."""
    copier = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sagafsm.cli", "copy", *urls, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    told = asyncio.ensure_future(copier.communicate())
    await asyncio.wait([told], timeout=pause)
    at_work = copier.returncode is None
    if at_work:
        copier.kill()
    await told
    return at_work


@pytest.fixture
def urls(tmp_path):
    return [f"sqlite:///{tmp_path}/{name}.db" for name in "ab"]


async def test_copiers_are_killed_while_workers_are_at_work_on_both_sides(urls):
    done = Counter()
    definition = saga(done)
    chance = random.Random(7)
    async with (
        Orchestrator(urls[0], sagas=[definition], poll_interval=0.05) as here,
        Orchestrator(urls[1], sagas=[definition], poll_interval=0.05) as there,
    ):
        for n in range(60):
            await here.start(definition, n, saga_id=f"s{n}")
        for _ in range(5):
            await copy_and_kill(urls, chance.uniform(0.4, 1.0))
        report = await copy_sagas(*urls, wait=40.0)
        assert report.ok, report
        await settle([here, there], 60)
        assert (await copy_sagas(*urls)).ok
        assert {saga.saga_id async for saga in there.find(state="completed")} == {f"s{n}" for n in range(60)}
        moved = [saga async for saga in here.find(stuck=True)]
        assert moved, "none was alive when it was moved: the test shows nothing"
    assert done == {(n, number): 1 for n in range(60) for number in range(ROUNDS)}


def long_store(store_count=300):
    store = MemoryStore()
    appends = [create(f"s{n:03}", events=events(1 + n % 40), created_at=float(n), due_at=1e12) for n in range(200)]
    appends += [
        create(f"t{n:03}", events=events(30), created_at=float(n), state="failed", finished_at=float(n))
        for n in range(store_count)
    ]
    return store, appends


async def everything(store):
    """Version, hash and mark of every saga."""
    found, cursor = {}, None
    while True:
        page = await store.find(Filter(), cursor=cursor)
        sagas = await read_whole(store, [record.saga_id for record in page.records])
        for name, one in sagas.items():
            mark = mark_of(one.record)
            found[name] = (one.record.version, log_hash(one.record, one.events), mark and mark.kind)
        cursor = page.cursor
        if cursor is None:
            return found


async def test_a_copier_that_is_killed_at_any_time_loses_nothing_and_doubles_nothing(urls):
    source = open_store(urls[0])
    await source.setup()
    await source.commit(long_store()[1])
    before = await everything(source)
    killed = 0
    for pause in (0.35, 0.45, 0.5, 0.6, 0.7, 5.0, 20.0):
        killed += await copy_and_kill(urls, pause)
        here = await everything(source)
        target = open_store(urls[1])
        try:
            await target.setup(migrate=False)
            there = await everything(target)
        except StoreError:
            there = {}  # it was killed before there was a file
        finally:
            await target.close()
        assert here.keys() == before.keys()
        assert {name: one[:2] for name, one in here.items()} == {name: one[:2] for name, one in before.items()}
        for name in there.keys() & {f"s{n:03}" for n in range(200)}:
            assert here[name][2] == "moved" or there[name][2] == "arriving"
    assert killed
    assert {name: one[:2] for name, one in there.items()} == {name: one[:2] for name, one in before.items()}
    assert {one[2] for one in there.values()} == {None}
    await source.close()
