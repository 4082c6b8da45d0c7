"""Operators' verbs and messages from a process that does not drive the saga: the log decides, its driver acts on it."""

import asyncio

import pytest

from sagafsm import Delivery, PastPivot, SagaDefinition, SagaFinished, Sleep, Step, WaitFor
from tests.runtime.steps import undo
from tests.runtime.world import Around, state_of, types


@pytest.fixture
def saga(did):
    def takes(name, seconds=10):
        async def work(data):
            try:
                await asyncio.sleep(seconds)
            except asyncio.CancelledError:
                did(f"{name} cut")
                raise
            did(name)

        async def take_back(data, result):
            did(f"undo {name}")

        return Step(name, work, compensation=take_back)

    return SagaDefinition(name="three", steps=[takes("a"), takes("b"), WaitFor("go", signal="go"), takes("c")])


@pytest.fixture
async def here(world, saga):
    """The process that drives."""
    async with world.orchestrator(saga) as orchestrator:
        yield orchestrator


@pytest.fixture
async def there(world, saga):
    """The process of the operator: it works on nothing."""
    async with world.orchestrator(saga, worker=False) as orchestrator:
        yield orchestrator


@pytest.fixture
async def stranger(world):
    """A process that does not even know the definition."""
    async with world.orchestrator(SagaDefinition(name="other", steps=[Sleep("s", 1)]), worker=False) as orchestrator:
        yield orchestrator


@pytest.mark.parametrize("who", ["there", "stranger"])
async def test_an_abort_reaches_the_driver(did, here, there, stranger, saga, who):
    operator = {"there": there, "stranger": stranger}[who]
    await here.start(saga, saga_id="s-1")
    await asyncio.sleep(15)
    answer = await operator.abort("s-1", "fraud", actor="eve")
    assert state_of(answer) == "pending"
    finished = await operator.wait("s-1")
    assert (state_of(finished), finished.error.message) == ("failed aborted", "fraud")
    assert did.names == ["a", "b", "undo b", "undo a"]
    assert types(await here.history("s-1")).count("AbortRequested") == 1


async def test_a_cut_reaches_the_running_call_within_the_poll_interval(world, did, here, there, saga):
    await here.start(saga, saga_id="s-1")
    await asyncio.sleep(15)
    await there.abort("s-1", "stop", cut=True)
    assert state_of(await there.wait("s-1")) == "failed aborted"
    assert did.names == ["a", "b cut", "undo b", "undo a"]
    assert world.time <= 15 + 1 + 1


async def test_suspend_and_resume_reach_the_driver(world, did, here, there, saga):
    await here.start(saga, saga_id="s-1")
    await asyncio.sleep(5)
    await there.suspend("s-1", actor="eve", reason="audit")
    await asyncio.sleep(100)
    assert did.names == ["a"]
    assert (await here.get("s-1")).suspended
    await there.resume("s-1", actor="eve")
    await there.signal("s-1", "go")
    assert state_of(await there.wait("s-1")) == "completed"


async def test_a_signal_to_a_saga_that_runs_elsewhere_is_kept_for_its_step(did, here, there, saga):
    await here.start(saga, saga_id="s-1")
    await asyncio.sleep(5)
    assert await there.signal("s-1", "go", {"n": 1}, message_id="m-1") is Delivery.ACCEPTED
    assert await there.signal("s-1", "go", {"n": 1}, message_id="m-1") is Delivery.DUPLICATE
    assert await here.signal("s-1", "go", {"n": 1}, message_id="m-1") is Delivery.DUPLICATE
    finished = await there.wait("s-1")
    assert (state_of(finished), finished.results["go"]) == ("completed", {"n": 1})
    assert did.names == ["a", "b", "c"]


async def test_what_was_written_elsewhere_is_looked_at_once(world, did, there, saga):
    """While a long call ran, its saga was read anew at every look for work."""

    class Counting(Around):
        loads = 0

        async def load(self, saga_ids):
            self.loads += 1
            return await self.inner.load(saga_ids)

    store = Counting(world.store)
    async with world.orchestrator(saga, store=store) as driving:
        await driving.start(saga, saga_id="s-1")
        await asyncio.sleep(1)
        assert await there.signal("s-1", "go") is Delivery.ACCEPTED
        await asyncio.sleep(8)
        assert store.loads == 1
        assert not (await world.store.load(["s-1"]))["s-1"].record.attention
        assert state_of(await driving.wait("s-1")) == "completed"
    assert did.names == ["a", "b", "c"]


async def test_a_signal_to_a_saga_that_nobody_drives_wakes_a_worker(world, here, there, saga):
    await here.start(saga, saga_id="s-1")
    await asyncio.sleep(1000)
    assert here._engine.drivers == {}
    await there.signal("s-1", "go")
    await asyncio.sleep(1.1)
    assert list(here._engine.drivers) == ["s-1"]


async def test_refusals_are_the_same_from_everywhere(here, there, saga):
    await here.start(saga, saga_id="s-1")
    await here.signal("s-1", "go")
    await here.wait("s-1")
    with pytest.raises(SagaFinished):
        await there.abort("s-1", "too late")


async def test_past_the_pivot_is_refused_from_elsewhere(world):
    async def slow(data):
        await asyncio.sleep(10)

    definition = SagaDefinition(name="pivoted", steps=[Step("p", slow, pivot=True)])
    async with world.orchestrator(definition) as here, world.orchestrator(definition, worker=False) as there:
        await here.start(definition, saga_id="s-1")
        await asyncio.sleep(5)
        with pytest.raises(PastPivot):
            await there.abort("s-1", "stop")
        assert state_of(await here.wait("s-1")) == "completed"


async def test_both_write_at_the_same_moment_and_nothing_is_lost(world, did):
    """The driver stores the end of a call at the very instant at which the operator stores a signal."""
    definition = SagaDefinition(
        name="busy",
        steps=[
            *(Step(f"s{n}", lambda data: asyncio.sleep(1), compensation=undo) for n in range(5)),
            *(WaitFor(f"w{n}", signal="go") for n in range(5)),
        ],
    )
    async with world.orchestrator(definition) as here, world.orchestrator(definition, worker=False) as there:
        await here.start(definition, saga_id="s-1")
        for n in range(5):
            await asyncio.sleep(1)
            assert await there.signal("s-1", "go", n, message_id=f"m-{n}") is Delivery.ACCEPTED
        finished = await there.wait("s-1")
        assert [finished.results[f"w{n}"] for n in range(5)] == [0, 1, 2, 3, 4]
        history = types(await there.history("s-1"))
        assert (history.count("AttemptStarted"), history.count("SignalReceived")) == (5, 5)


async def test_a_suspended_saga_that_never_ran_is_resumed_from_elsewhere(did, here, there, saga):
    """It was once mistaken for one that was only created, and slept on."""
    await there.create(saga, saga_id="s-1")
    await there.suspend("s-1", actor="eve", reason="audit")
    await there.start(saga, saga_id="s-1")
    await asyncio.sleep(10)
    assert did.names == []
    await there.resume("s-1")
    await there.signal("s-1", "go")
    assert state_of(await there.wait("s-1", timeout=100)) == "completed"
