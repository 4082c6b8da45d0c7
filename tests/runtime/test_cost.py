"""What things cost: store commits, tasks, memory. Waiting sagas cost the process nothing."""

import asyncio
import gc
import tracemalloc

import pytest

from sagafsm import Rejected, RetryPolicy, SagaDefinition, Sleep, Step, WaitFor
from tests.runtime.world import NEVER, Around, state_of


class Counting(Around):
    """Counts what is written."""

    def __init__(self, store):
        super().__init__(store)
        self.appends, self.batches_written = 0, 0

    async def commit(self, batch):
        self.appends += len(batch)
        self.batches_written += 1
        return await self.inner.commit(batch)


async def nothing(data):
    return None


def steps(count):
    plain = [Step(f"s{n}", nothing, compensation=lambda data, result: None) for n in range(count)]
    return SagaDefinition(name="steps", steps=plain)


@pytest.mark.parametrize("count", [1, 2, 4, 10])
async def test_a_happy_path_of_n_steps_costs_n_plus_1_appends(world, count):
    definition, store = steps(count), Counting(world.store)
    async with world.orchestrator(definition, store=store) as orchestrator:
        await orchestrator.run(definition)
    assert store.appends == count + 1


async def test_a_way_back_costs_one_append_for_the_end_of_each_call(world):
    async def fails(data):
        raise Rejected("no")

    plain = [Step(f"s{n}", nothing, compensation=lambda data, result: None) for n in range(3)]
    definition = SagaDefinition(name="back", steps=[*plain, Step("bad", fails, compensatable=False, retry=NEVER)])
    store = Counting(world.store)
    async with world.orchestrator(definition, store=store) as orchestrator:
        await orchestrator.run(definition)
    assert store.appends == 1 + 4 + 3  # the start, the ends of four calls, the ends of three compensations


async def test_sagas_in_flight_share_their_commits(world):
    definition, store = steps(4), Counting(world.store)
    async with world.orchestrator(definition, store=store) as orchestrator:
        await asyncio.gather(*(orchestrator.run(definition) for _ in range(100)))
    assert store.appends == 100 * 5
    assert store.batches_written <= 100


@pytest.mark.parametrize(
    "wait", [Sleep("wait", 3600), WaitFor("wait", signal="go", timeout=3600, on_timeout="continue")]
)
async def test_ten_thousand_sagas_that_wait_cost_no_task_each(world, wait):
    definition = SagaDefinition(name="waits", steps=[wait])
    async with world.orchestrator(definition, worker=False) as submitter:
        for n in range(10_000):
            await submitter.start(definition, saga_id=f"s-{n}")
    async with world.orchestrator(definition, poll_interval=60) as orchestrator:
        tasks = len(asyncio.all_tasks())
        await asyncio.sleep(120)
        assert len(asyncio.all_tasks()) == tasks
        assert orchestrator._engine.drivers == {}
        counts = {count.state: count.count for count in await world.store.counts()}
        assert counts == {"pending": 10_000}
        await asyncio.sleep(3600)
        counts = {count.state: count.count for count in await world.store.counts()}
        assert counts == {"completed": 10_000}
        assert len(asyncio.all_tasks()) == tasks


async def test_two_thousand_sagas_leave_nothing_behind(world):
    async def maybe(data):
        if data % 3 == 0:
            raise Rejected("no")

    definition = SagaDefinition(
        name="mixed",
        steps=[
            Step("a", nothing, compensation=lambda data, result: None),
            Step("b", maybe, compensation=lambda data, result: None, timeout=5),
        ],
    )

    async def run(numbers):
        for n in numbers:
            saga = await orchestrator.run(definition, n, saga_id=f"s-{n}")
            assert state_of(saga) == ("failed compensated" if n % 3 == 0 else "completed")
        for _ in range(2):  # the second forgets their ids as well
            await orchestrator.purge(finished_before=-1, keep_ids=0)
        await asyncio.sleep(10)
        gc.collect()

    async with world.orchestrator(definition) as orchestrator:
        tracemalloc.start()
        try:
            await run(range(1000))  # as many as are remembered
            tasks = len(asyncio.all_tasks())
            before, _ = tracemalloc.get_traced_memory()
            await run(range(1000, 3000))
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        engine = orchestrator._engine
        assert len(asyncio.all_tasks()) == tasks
        assert (engine.drivers, engine.orphans, engine._background, engine.waiters._waiting) == ({}, {}, set(), {})
        assert after - before < 200_000  # bytes: 100 for each saga would be a leak
        assert len(world.loop._timers) < 300


async def test_a_log_that_grows_without_end_is_stopped_for_a_person(world):
    async def busy(data):
        raise OSError("busy")

    policy = RetryPolicy(max_attempts=None, initial_interval=1, backoff_coefficient=1, jitter=0)
    definition = SagaDefinition(
        name="endless", steps=[Step("a", busy, compensation=lambda data, result: None, retry=policy)]
    )
    async with world.orchestrator(definition) as orchestrator:
        saga = await orchestrator.run(definition)
        assert state_of(saga) == "pending stuck"
        assert saga.version <= 10_010
        assert "fails again and again" in saga.stuck_reason
