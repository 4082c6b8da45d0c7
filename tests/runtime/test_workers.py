"""Several workers on one store: they share the work, bury the dead, and a stale one can write nothing."""

import asyncio

import pytest

from sagafsm import SagaDefinition, Settings, Sleep, Step, StepContext
from sagafsm.core.errors import StoreUnavailable
from tests.runtime.steps import one_step, undo
from tests.runtime.world import EXACT, Around, state_of, types


def takes(did, seconds, name="work"):
    async def work(data, ctx: StepContext):
        did(f"{name} begins")
        await asyncio.sleep(seconds)
        did(f"{name} ends")
        return seconds

    return work


# --- sharing ---


async def test_two_workers_share_what_a_third_process_hands_in(world):
    async def work(data):
        await asyncio.sleep(1)

    definition = one_step(work)
    settings = Settings(concurrency=10)
    submitter = await world.open("submitter", definition, worker=False)
    for n in range(20):
        await submitter.ask(lambda to, n=n: to.start(definition, saga_id=f"s-{n}"))
    one = await world.open("one", definition, settings=settings)
    two = await world.open("two", definition, settings=settings)
    await asyncio.sleep(0.5)
    assert [len(process.orchestrator._engine.drivers) for process in (one, two)] == [10, 10]
    for n in range(20):
        assert state_of(await submitter.ask(lambda to, n=n: to.wait(f"s-{n}", timeout=60))) == "completed"
    for process in (one, two, submitter):
        await process.close()


async def test_more_sagas_than_a_process_may_run_at_once_wait_for_room(world):
    """Full of work, the worker once asked the store for more without a pause."""
    running, most = 0, 0

    async def work(data):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(10)
        running -= 1

    class Counting(Around):
        claims = 0

        async def claim(self, *arguments, **keywords):
            self.claims += 1
            return await self.inner.claim(*arguments, **keywords)

    definition, store = one_step(work), Counting(world.store)
    async with world.orchestrator(definition, store=store, settings=Settings(concurrency=3)) as orchestrator:
        handles = [await orchestrator.start(definition) for _ in range(10)]
        for handle in handles:
            assert state_of(await handle.result()) == "completed"
    assert most == 3
    assert world.time == pytest.approx(40, abs=5)
    assert store.claims < 100


async def test_the_next_sagas_are_claimed_while_the_last_are_being_stored_and_no_faster(world):
    claims = []

    class Slow(Around):
        async def claim(self, *arguments, **keywords):
            claims.append(world.time)
            await asyncio.sleep(1)
            return await self.inner.claim(*arguments, **keywords)

        async def commit(self, batch):
            await asyncio.sleep(5)
            return await self.inner.commit(batch)

    definition = one_step(lambda data: asyncio.sleep(100))
    async with world.orchestrator(definition, worker=False) as submitter:
        for n in range(600):
            await submitter.start(definition, saga_id=f"s-{n}")
    async with world.orchestrator(definition, store=Slow(world.store), poll_interval=60, lease=300) as orchestrator:
        began = world.time
        await asyncio.sleep(14)
        assert [claim - began for claim in claims[:3]] == [0, 1, 6]  # by 6, those that were claimed first are stored
        assert len(orchestrator._engine.drivers) == 600


@pytest.mark.parametrize("concurrency", [2, 3, 5, 100])
async def test_one_sweep_goes_on_as_long_as_what_it_takes_up_makes_room(world, concurrency):
    """Nine of twelve end as they are taken up, because somebody has stopped them; it once ended when it was full."""
    definition = one_step(lambda data: asyncio.sleep(1000))
    async with world.orchestrator(definition, worker=False) as submitter:
        for n in range(12):
            await submitter.start(definition, saga_id=f"s-{n}")
            if n < 9:
                await submitter.abort(f"s-{n}", "no more")
            await asyncio.sleep(1)
    settings = Settings(concurrency=concurrency)
    async with world.orchestrator(definition, worker=False, settings=settings, drain_timeout=0) as orchestrator:
        taken = await orchestrator.resume_all()
    assert taken == [f"s-{n}" for n in range(min(12, 9 + concurrency))]


async def test_an_idle_worker_asks_seldom_and_a_due_saga_is_taken_up_in_time(world):
    class Counting(Around):
        claims = 0

        async def claim(self, *arguments, **keywords):
            self.claims += 1
            return await self.inner.claim(*arguments, **keywords)

    definition = SagaDefinition(name="naps", steps=[Sleep("nap", 1000)])
    store = Counting(world.store)
    async with world.orchestrator(definition, store=store, poll_interval=10) as orchestrator:
        await orchestrator.run(definition)
        assert world.time == pytest.approx(1000, abs=0.01)
        assert store.claims < 1000 / 10 + 10


# --- death ---


async def test_a_dead_process_of_this_host_is_taken_over_at_once(world, did):
    definition = one_step(takes(did, 10))
    one = await world.open("one", definition)
    await one.ask(lambda to: to.start(definition, saga_id="s-1"))
    await asyncio.sleep(5)
    one.kill()
    async with world.orchestrator(definition) as two:
        assert state_of(await two.wait("s-1")) == "completed"
        assert did.entries == [("work begins", 0), ("work begins", 5), ("work ends", 15)]
        assert (await two.get("s-1")).steps["work"].attempts == 1
        assert len(await world.store.workers()) == 1


async def test_a_dead_process_elsewhere_is_taken_over_when_its_lease_has_run_out(world, did):
    definition = one_step(takes(did, 10))
    async with world.orchestrator(definition) as two:
        one = await world.open("one", definition, lease=30)
        await one.ask(lambda to: to.start(definition, saga_id="s-1"))
        await asyncio.sleep(5)
        one.kill(noticed=False)
        assert state_of(await two.wait("s-1")) == "completed"
    assert did.names == ["work begins", "work begins", "work ends"]
    assert 30 <= did.times[1] <= 32


async def test_a_worker_that_dies_while_others_run_is_noticed_within_a_third_of_a_lease(world, did):
    definition = one_step(takes(did, 10))
    async with world.orchestrator(definition, lease=30) as two:
        one = await world.open("one", definition, lease=300)
        await one.ask(lambda to: to.start(definition, saga_id="s-1"))
        await asyncio.sleep(5)
        one.kill()
        assert state_of(await two.wait("s-1")) == "completed"
    assert did.times[1] <= 5 + 10 + 1


async def test_doctor_knows_that_a_killed_process_is_gone_though_its_lease_still_runs(world, did):
    definition = one_step(takes(did, 10))
    one = await world.open("one", definition, lease=300)
    await one.ask(lambda to: to.start(definition, saga_id="s-1"))
    await asyncio.sleep(1)
    async with world.orchestrator(definition, worker=False) as looking:
        assert (await looking.doctor()).facts["workers"][0]["alive"] is True
        one.kill()
        found = await looking.doctor()
        assert [worker["alive"] for worker in found.facts["workers"]] == [False]
        assert "belong to a worker that is gone" in found.findings[-1].what


async def test_attempts_are_counted_across_deaths(world, did):
    async def work(data, ctx: StepContext):
        did(f"work {ctx.attempt}")
        if ctx.attempt < 3:
            raise OSError
        await asyncio.sleep(10)

    definition = one_step(work)
    for number in range(3):
        process = await world.open(f"p-{number}", definition)
        process.spawn(lambda to: to.run(definition, saga_id="s-1"))
        await asyncio.sleep(1.5)
        process.kill()
    async with world.orchestrator(definition) as last:
        assert state_of(await last.wait("s-1")) == "completed"
    assert did.names[0] == "work 1"
    assert sorted(did.names) == did.names  # never back to an earlier attempt


async def test_a_timer_that_fired_while_nobody_ran_fires_at_the_next_start(world, did):
    definition = SagaDefinition(
        name="naps", steps=[Sleep("nap", 100), Step("work", takes(did, 1), compensatable=False)]
    )
    async with world.orchestrator(definition) as one:
        await one.start(definition, saga_id="s-1")
    await asyncio.sleep(5000)
    async with world.orchestrator(definition) as two:
        assert state_of(await two.wait("s-1")) == "completed"
        assert did.times[0] == pytest.approx(5000, abs=0.01)


async def test_a_sweep_pulls_nothing_forward(world, did):
    async def fails(data):
        did("work")
        raise OSError

    definition = one_step(fails, retry=EXACT)
    one = await world.open("one", definition)
    await one.ask(lambda to: to.start(definition, saga_id="s-1"))
    await asyncio.sleep(1.5)  # the second attempt was at 1, the third is at 3
    one.kill()
    async with world.orchestrator(definition) as two:
        assert await two.resume_all() == []
        await two.wait("s-1")
    assert did.times == pytest.approx([0, 1, 3], abs=0.01)


async def test_resume_all_says_what_it_took_up(world, did):
    definition = one_step(takes(did, 10))
    async with world.orchestrator(definition, worker=False) as submitter:
        for n in range(600):
            await submitter.start(definition, saga_id=f"s-{n}")
    async with world.orchestrator(definition, worker=False) as other:
        taken = await other.resume_all()
        assert sorted(taken) == sorted(f"s-{n}" for n in range(600))
        assert await other.resume_all() == []
        await asyncio.sleep(20)
        assert did.count("work ends") == 600


# --- a stale owner ---


async def test_a_stale_owner_can_write_nothing_and_stops(world, did):
    """A process that stood still for longer than its lease wakes up and finds the saga taken."""
    definition = SagaDefinition(
        name="two",
        steps=[Step("a", takes(did, 100, "a"), compensation=undo), Step("b", takes(did, 1, "b"), compensation=undo)],
    )
    one = await world.open("one", definition, lease=30)
    await one.ask(lambda to: to.start(definition, saga_id="s-1"))
    one.orchestrator._worker._heart._task.cancel()  # as if it stood still: its lease runs out
    await asyncio.sleep(40)
    async with world.orchestrator(definition) as two:
        await asyncio.sleep(59.5)
        assert did.names == ["a begins", "a begins"]
        await asyncio.sleep(1)  # the stale one comes to the end of its call
        assert did.names == ["a begins", "a begins", "a ends"]
        assert one.orchestrator._engine.drivers == {}
        assert state_of(await two.wait("s-1")) == "completed"
        assert did.count("b begins") == 1
        assert types(await two.history("s-1")).count("StepSucceeded") == 2
    one.kill()


async def test_no_call_begins_once_the_lease_has_run_out(world, did):
    definition = SagaDefinition(
        name="two",
        steps=[Step("a", takes(did, 40, "a"), compensation=undo), Step("b", takes(did, 1, "b"), compensation=undo)],
    )
    one = await world.open("one", definition, lease=30)
    await one.ask(lambda to: to.start(definition, saga_id="s-1"))
    one.orchestrator._worker._heart._task.cancel()
    await asyncio.sleep(60)
    assert did.names == ["a begins", "a ends"]  # the end could be stored, as nobody had claimed it; b did not begin
    async with world.orchestrator(definition) as two:
        assert state_of(await two.wait("s-1")) == "completed"
    assert did.names == ["a begins", "a ends", "b begins", "b ends"]
    one.kill()


async def test_a_heartbeat_tells_a_step_that_its_saga_belongs_to_somebody_else(world, did):
    async def work(data, ctx: StepContext):
        for _ in range(20):
            await asyncio.sleep(5)
            try:
                await ctx.heartbeat()
            except asyncio.CancelledError:
                did("told to stop")
                raise
        did("done")

    definition = one_step(work)
    one = await world.open("one", definition, lease=30)
    await one.ask(lambda to: to.start(definition, saga_id="s-1"))
    await asyncio.sleep(2)
    await world.store.retire(one.worker_id)  # an operator declared it dead
    async with world.orchestrator(definition) as two:
        await two.resume_all()
        assert state_of(await two.wait("s-1")) == "completed"
    assert did.count("done") == 1
    one.kill()


async def test_steps_that_say_that_they_are_alive_do_not_each_renew_the_lease(world):
    """A hundred steps renewed it a hundred times a second; but where the heart does not, they do."""

    class Counting(Around):
        beats = 0

        async def heartbeat(self, worker_id, ttl):
            self.beats += 1
            return await self.inner.heartbeat(worker_id, ttl)

    async def work(data, ctx: StepContext):
        for _ in range(60):
            await asyncio.sleep(1)
            await ctx.heartbeat()

    definition, store = one_step(work), Counting(world.store)
    async with world.orchestrator(definition, store=store, lease=30) as orchestrator:
        handles = [await orchestrator.start(definition) for _ in range(100)]
        await asyncio.sleep(30)
        assert 3 <= store.beats <= 5
        orchestrator._worker._heart._task.cancel()
        for handle in handles:
            assert state_of(await handle.result(timeout=100)) == "completed"
        assert store.beats < 300


# --- the loop goes on ---


async def test_a_store_that_fails_once_does_not_end_the_worker(world, did):
    """An error that no store should raise once ended the polling, or the heartbeat, without a word."""

    class Broken(Around):
        def __init__(self, store):
            super().__init__(store)
            self.failing = {}

        def _fail(self, name):
            if self.failing.get(name, 0) > 0:
                self.failing[name] -= 1
                raise RuntimeError(f"{name} broke")

        async def claim(self, *arguments, **keywords):
            self._fail("claim")
            return await self.inner.claim(*arguments, **keywords)

        async def heartbeat(self, *arguments):
            self._fail("heartbeat")
            return await self.inner.heartbeat(*arguments)

        async def load(self, *arguments):
            self._fail("load")
            return await self.inner.load(*arguments)

    definition, store = one_step(takes(did, 1)), Broken(world.store)
    async with world.orchestrator(definition, store=store) as orchestrator:
        store.failing = {"claim": 3, "heartbeat": 2}
        await asyncio.sleep(60)
        assert store.failing == {"claim": 0, "heartbeat": 0}
        async with world.orchestrator(definition, worker=False) as submitter:
            await submitter.start(definition, saga_id="s-1")
            assert state_of(await submitter.wait("s-1", timeout=60)) == "completed"
        assert orchestrator._engine.lease_holds()


async def test_a_store_that_is_away_for_a_day_does_not_end_the_worker(world):
    """The pause between two tries was worked out as a number that became too large after some hours."""

    class Away(Around):
        async def claim(self, *arguments, **keywords):
            if world.time < 86_400:
                raise StoreUnavailable("away")
            return await self.inner.claim(*arguments, **keywords)

    definition = SagaDefinition(name="naps", steps=[Sleep("nap", 10)])
    async with world.orchestrator(definition, store=Away(world.store)) as orchestrator:
        await orchestrator.start(definition, saga_id="s-1")
        assert state_of(await orchestrator.wait("s-1", timeout=100_000)) == "completed"
        assert orchestrator.health().live
    assert world.time < 86_400 + 6
