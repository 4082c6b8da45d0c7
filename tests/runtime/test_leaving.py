"""Leaving: running calls get time to end, nothing new starts, and somebody else can take over at once."""

import asyncio

import pytest

from sagafsm import InvalidInput, SagaDefinition, Sleep, Step, SubSaga, WaitFor
from tests.runtime.steps import undo
from tests.runtime.test_lost_news import DiesWith
from tests.runtime.world import Around, cancelled_at, state_of, types


@pytest.fixture
def saga(did):
    async def work(name, seconds):
        did(f"{name} begins")
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            did(f"{name} cut")
            raise
        did(f"{name} ends")

    return SagaDefinition(
        name="two",
        steps=[
            Step("a", lambda data: work("a", 6), compensation=undo),
            Step("b", lambda data: work("b", 6), compensation=undo),
        ],
    )


async def test_a_running_call_may_end_and_nothing_new_begins(world, did, saga):
    async with world.orchestrator(saga, drain_timeout=10) as one:
        await one.start(saga, saga_id="s-1")
        await asyncio.sleep(2)
    assert world.time == pytest.approx(6, abs=0.01)
    assert did.names == ["a begins", "a ends"]
    record = (await world.store.load(["s-1"]))["s-1"].record
    assert (record.owner, record.state) == (None, "pending")
    assert await world.store.workers() == []
    async with world.orchestrator(saga) as two:
        assert state_of(await two.wait("s-1")) == "completed"
    assert did.names == ["a begins", "a ends", "b begins", "b ends"]
    assert did.times[2] == pytest.approx(6, abs=0.01)  # at once


async def test_a_call_that_takes_too_long_is_cut_off_and_made_again(world, did, saga):
    async with world.orchestrator(saga, drain_timeout=3) as one:
        await one.start(saga, saga_id="s-1")
        await asyncio.sleep(1)
    assert world.time == pytest.approx(4, abs=0.01)
    assert did.names == ["a begins", "a cut"]
    async with world.orchestrator(saga) as two:
        finished = await two.wait("s-1")
        assert state_of(finished) == "completed"
        assert finished.steps["a"].attempts == 1  # interrupted, not failed
        assert "AttemptFailed" not in types(await two.history("s-1"))
    assert did.times[2] == pytest.approx(4, abs=0.01)


async def test_no_time_at_all_is_allowed(world, did, saga):
    async with world.orchestrator(saga, drain_timeout=0) as one:
        await one.start(saga, saga_id="s-1")
        await asyncio.sleep(1)
    assert did.names == ["a begins", "a cut"]
    assert world.time == pytest.approx(1, abs=0.01)


async def test_sagas_that_wait_hold_nobody_up(world):
    definition = SagaDefinition(name="waits", steps=[Sleep("nap", 3600), WaitFor("go", signal="go")])
    async with world.orchestrator(definition) as one:
        for n in range(10):
            await one.start(definition, saga_id=f"s-{n}")
        await asyncio.sleep(1)
    assert world.time == pytest.approx(1, abs=0.01)


async def test_a_second_worker_goes_on_while_the_first_leaves(world, did, saga):
    async with world.orchestrator(saga) as two:
        async with world.orchestrator(saga) as one:
            await one.start(saga, saga_id="s-1")
            await asyncio.sleep(2)
        assert did.names[:2] == ["a begins", "a ends"]
        assert state_of(await two.wait("s-1")) == "completed"
    assert did.times[2] <= 6 + 1.1  # the poll interval


async def test_who_still_waits_when_the_orchestrator_is_closed_is_told(world, saga):
    """They once went on asking a store that was closed."""
    naps = SagaDefinition(name="naps", steps=[Sleep("nap", 3600)])
    async with world.orchestrator(saga, naps, drain_timeout=1) as orchestrator:
        handles = [await orchestrator.start(definition) for definition in (saga, naps)]
        waiting = [asyncio.ensure_future(handle.result()) for handle in handles]
        await asyncio.sleep(1)
    for result in waiting:
        with pytest.raises(InvalidInput, match="was closed before the saga came to its end"):
            await result
    assert world.time < 3


async def test_the_end_of_the_last_call_is_the_end_of_the_saga_and_nothing_is_left_for_the_next_process(
    world, did, saga
):
    async with world.orchestrator(saga, drain_timeout=10) as one:
        await one.start(saga, saga_id="s-1")
        await asyncio.sleep(8)
    assert did.names == ["a begins", "a ends", "b begins", "b ends"]
    record = (await world.store.load(["s-1"]))["s-1"].record
    assert (record.state, record.owner, record.due_at) == ("completed", None, None)


async def test_what_was_opened_is_closed_also_when_opening_fails(world, saga):
    class Closing(Around):
        closed = 0

        async def close(self):
            self.closed += 1

        async def definitions(self):
            raise OSError("no such disk")

    store, tasks = Closing(world.store), asyncio.all_tasks()
    with pytest.raises(OSError, match="no such disk"):
        await world.orchestrator(saga, store=store).__aenter__()
    assert store.closed == 1
    assert asyncio.all_tasks() == tasks


async def test_an_orchestrator_can_be_opened_again_after_it_was_closed(world, saga):
    orchestrator = world.orchestrator(saga)
    for n in range(2):
        async with orchestrator:
            assert state_of(await orchestrator.run(saga, saga_id=f"s-{n}")) == "completed"


async def test_several_orchestrators_of_one_process_share_nothing(world, saga):
    async with world.orchestrator(saga) as one, world.orchestrator(saga) as two:
        assert one._engine.worker_id != two._engine.worker_id
        await asyncio.gather(one.run(saga, saga_id="s-1"), two.run(saga, saga_id="s-2"))
        assert len(await world.store.workers()) == 2


async def test_nothing_that_was_shielded_goes_on_after_the_end(world, saga):
    """What is cancelled in the background may wait for work that it shielded, which is left to the background too.

    Found by the simulation: a parent was being told of its child while the store took its time.
    """
    tasks = asyncio.all_tasks()
    async with world.orchestrator(saga) as orchestrator:
        engine = orchestrator._engine

        async def tell():
            await engine.to_the_end(asyncio.sleep(1_000))

        engine.background(tell())
        await asyncio.sleep(0.1)
    assert asyncio.all_tasks() == tasks


async def test_nothing_that_the_worker_had_shielded_goes_on_after_the_end(world):
    """It was left to the background only after the background had been waited for.

    Found by the simulation: a worker had taken a saga up and told it of its child, and the store took its time.
    """

    class Slow(Around):
        asked = False

        async def load(self, saga_ids):
            if list(saga_ids) == ["p"]:
                self.asked = True
                await asyncio.sleep(1_000)
            return await self.inner.load(saga_ids)

    child = SagaDefinition(name="child", steps=[Step("pack", lambda data: None, compensatable=False)])
    parent = SagaDefinition(name="parent", steps=[SubSaga("shipping", child)])
    hook = DiesWith("p:shipping", "SagaCompleted")  # its parent is not told
    hook.process = await world.open("first", parent, child, hooks=[hook])
    await hook.process.ask(lambda to: to.create(parent, saga_id="p"))
    hook.process.spawn(lambda to: to.start(parent, saga_id="p"))
    await world.idle()

    store, tasks = Slow(world.store), asyncio.all_tasks()
    async with world.orchestrator(parent, child, store=store, poll_interval=0.1):
        await asyncio.sleep(5)
        assert store.asked
    assert asyncio.all_tasks() == tasks


@pytest.mark.parametrize("instant", range(1, 7))
async def test_who_is_cancelled_while_leaving_leaves_nothing_running(world, saga, instant):
    tasks = asyncio.all_tasks()
    orchestrator = await world.orchestrator(saga, drain_timeout=0).__aenter__()
    await orchestrator.start(saga)
    await world.idle()
    async with cancelled_at(orchestrator.close(), instant):
        await asyncio.sleep(1)
    assert asyncio.all_tasks() == tasks
