"""Leaving while something is half done (a write, a registration, a look for work): nothing begins afterwards."""

import asyncio

import pytest

from sagafsm import InvalidInput, SagaDefinition, Step, WaitFor
from tests.runtime.steps import undo
from tests.runtime.world import NEVER, Around, cancelled_at, state_of


class Slow(Around):
    """A store that takes so many seconds to commit, to register a worker and to read, once it is told to."""

    def __init__(self, store):
        super().__init__(store)
        self.seconds, self.claims = 0, 0

    async def commit(self, batch):
        await asyncio.sleep(self.seconds)
        return await self.inner.commit(batch)

    async def heartbeat(self, worker_id, ttl):
        await asyncio.sleep(self.seconds)
        return await self.inner.heartbeat(worker_id, ttl)

    async def claim(self, worker_id, kinds, *, limit, saga_ids=None):
        self.claims += 1
        return await self.inner.claim(worker_id, kinds, limit=limit, saga_ids=saga_ids)


def working(did, name, seconds=0.0):
    async def work(data):
        did(f"{name} begins")
        await asyncio.sleep(seconds)
        did(f"{name} ends")

    return Step(name, work, compensation=undo)


@pytest.fixture
def saga(did):
    return SagaDefinition(name="asks", steps=[WaitFor("go", signal="go", timeout=10), working(did, "a")])


async def test_a_signal_that_is_stored_while_leaving_begins_no_call(world, did):
    """The call began after the orchestrator was closed, and the next process made it once more."""
    wait = WaitFor("go", signal="go", timeout=10)
    saga = SagaDefinition(name="asks", steps=[working(did, "first"), wait, working(did, "a")])
    store, before = Slow(world.store), asyncio.all_tasks()
    async with world.orchestrator(saga, store=store, poll_interval=20, lease=300) as orchestrator:
        await orchestrator.start(saga, saga_id="s-1")
        await world.idle()
        assert "s-1" in orchestrator._engine.drivers
        store.seconds = 2
        telling = asyncio.ensure_future(orchestrator.signal("s-1", "go"))
        await world.idle()
    await telling
    await asyncio.sleep(1)
    assert did.names == ["first begins", "first ends"]
    assert asyncio.all_tasks() == before
    async with world.orchestrator(saga) as orchestrator:
        assert state_of(await orchestrator.wait("s-1", timeout=100)) == "completed"
    assert did.names[2:] == ["a begins", "a ends"]


async def test_a_saga_that_is_born_while_leaving_begins_no_call(world, did):
    saga = SagaDefinition(name="born", steps=[working(did, "a", 5)])
    store, before = Slow(world.store), asyncio.all_tasks()
    async with world.orchestrator(saga, store=store) as orchestrator:
        store.seconds = 2
        starting = asyncio.ensure_future(orchestrator.start(saga, saga_id="s-1"))
        await world.idle()
    assert (await starting).created
    await asyncio.sleep(1)
    assert did.names == []
    assert asyncio.all_tasks() == before
    async with world.orchestrator(saga) as orchestrator:
        assert state_of(await orchestrator.wait("s-1", timeout=100)) == "completed"
    assert did.names == ["a begins", "a ends"]


async def test_who_executes_while_the_process_leaves_does_not_take_the_saga_again_and_again(world, did):
    """Each time it was given back at once: claims and writes without a pause until the last call had ended."""
    short = SagaDefinition(name="short", steps=[working(did, "a", 2), working(did, "b")])
    long = SagaDefinition(name="long", steps=[working(did, "c", 8)])
    store = Slow(world.store)
    async with world.orchestrator(short, long, store=store, drain_timeout=10) as orchestrator:
        await orchestrator.start(long)
        await orchestrator.create(short, saga_id="s-1")
        executing = asyncio.ensure_future(orchestrator.execute("s-1"))
        await asyncio.sleep(1)
    with pytest.raises(InvalidInput, match="was closed before"):
        await executing
    assert did.names == ["c begins", "a begins", "a ends", "c ends"]
    assert (await world.store.load(["s-1"]))["s-1"].record.fence <= 2
    assert store.claims < 20


async def test_a_worker_that_is_being_registered_while_leaving_is_gone_afterwards(world, saga):
    """Its heart then beat for ever, for an orchestrator that was closed."""
    store, before = Slow(world.store), asyncio.all_tasks()
    async with world.orchestrator(saga, store=store, worker=False) as orchestrator:
        await orchestrator.create(saga, saga_id="s-1")
        store.seconds = 2
        executing = asyncio.ensure_future(orchestrator.execute("s-1"))
        await world.idle()
        assert await world.store.workers() == []
    with pytest.raises(InvalidInput, match="was closed before"):
        await executing
    await asyncio.sleep(100)
    assert await world.store.workers() == []
    assert asyncio.all_tasks() == before


async def test_a_worker_that_has_left_registers_no_more(world, saga):
    async with world.orchestrator(saga, worker=False) as orchestrator:
        worker = orchestrator._worker
    with pytest.raises(InvalidInput, match="was closed before"):
        await worker.take(["s-1"])
    assert await world.store.workers() == []


@pytest.mark.parametrize("instant", range(1, 8))
async def test_a_look_for_work_that_is_cut_off_leaves_nothing_running(world, did, saga, instant):
    """Cut off at one moment, it left behind what took the sagas up, and nobody waited for that."""
    store, at_first = Slow(world.store), asyncio.all_tasks()
    async with world.orchestrator(saga, worker=False) as submitter:
        for n in range(3):
            await submitter.start(saga, saga_id=f"s-{n}")
    async with world.orchestrator(saga, store=store, worker=False) as orchestrator:
        worker = orchestrator._worker
        await worker.ensure_lease()
        store.seconds = 2
        before = asyncio.all_tasks()
        async with cancelled_at(worker.sweep(), instant):
            left = asyncio.all_tasks() - before - orchestrator._engine._background
            assert not [task for task in left if "commit" not in repr(task)]  # what is being written goes on
    assert asyncio.all_tasks() == at_first


async def test_a_call_that_ends_while_leaving_ends_the_saga_too_where_it_was_the_last(world, did):
    saga = SagaDefinition(name="short", steps=[working(did, "a", 2)])
    async with world.orchestrator(saga, drain_timeout=10) as orchestrator:
        await orchestrator.start(saga, saga_id="s-1")
        await asyncio.sleep(1)
    assert (await world.store.load(["s-1"]))["s-1"].record.state == "completed"


async def test_a_compensation_that_ends_while_leaving_ends_the_saga_too_where_it_was_the_last(world, did):
    async def undone(data, result):
        did("undoing")
        await asyncio.sleep(2)

    async def fails(data):
        raise ValueError("no")

    saga = SagaDefinition(
        name="back",
        steps=[
            Step("a", lambda data: asyncio.sleep(0), compensation=undone),
            Step("b", fails, compensatable=False, retry=NEVER),
        ],
    )
    async with world.orchestrator(saga, drain_timeout=10) as orchestrator:
        await orchestrator.start(saga, saga_id="s-1")
        await asyncio.sleep(1)
        assert did.names == ["undoing"]
    record = (await world.store.load(["s-1"]))["s-1"].record
    assert (record.state, record.outcome, record.owner) == ("failed", "compensated", None)
