"""Whoever waits may be cancelled at any moment: no saga is lost, run twice or left to nobody because of it."""

import asyncio
import inspect

import pytest

from sagafsm import SagaDefinition, Step, WaitFor
from tests.runtime.world import EXACT, Around, state_of


class Hesitant(Around):
    """A store that takes a moment before and after everything it does, as one on the network does."""

    def __getattr__(self, name):
        method = getattr(self.inner, name)
        if not inspect.iscoroutinefunction(method):
            return method

        async def slowly(*arguments, **keywords):
            await asyncio.sleep(0)
            answer = await method(*arguments, **keywords)
            await asyncio.sleep(0)
            return answer

        return slowly


INSTANTS = range(80)


def items_of(did):
    def takes(name):
        async def work(data):
            await asyncio.sleep(0)
            did(name)

        async def take_back(data, result):
            did(f"undo {name}")

        return Step(name, work, compensation=take_back)

    return [takes("a"), WaitFor("go", signal="go", timeout=30), takes("b"), takes("c")]


@pytest.fixture
def saga(did):
    return SagaDefinition(name="three", retry=EXACT, steps=items_of(did))


async def cancelled_after(work, waits):
    """Begin this, and cancel it when it has waited so often (or when it is over); whether it was cancelled."""
    task = asyncio.ensure_future(work)
    for _ in range(waits):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    if task.cancelled():
        return True
    task.result()
    return False


async def finishes(orchestrator, saga, did, *, repeated=1):
    """The saga is or gets completed, and no step did more than an interruption explains."""
    finished = await orchestrator.wait("s-1", timeout=100)
    assert state_of(finished) == "completed"
    assert all(did.count(name) <= 1 + repeated for name in "abc")
    await asyncio.sleep(5)
    assert orchestrator._engine.drivers == {}
    assert orchestrator._engine.orphans == {}
    assert orchestrator._engine._background == set()


@pytest.mark.parametrize("waits", INSTANTS)
async def test_the_whole_process_is_cancelled_and_another_one_goes_on(world, did, saga, waits):
    async def process():
        async with world.orchestrator(saga, store=Hesitant(world.store)) as orchestrator:
            handle = await orchestrator.start(saga, saga_id="s-1")
            await orchestrator.signal("s-1", "go")
            await handle.result()

    before = asyncio.all_tasks()
    await cancelled_after(process(), waits)
    await asyncio.sleep(10)
    assert asyncio.all_tasks() == before  # nothing of it is left
    assert await world.store.workers() == []  # nor its lease
    async with world.orchestrator(saga) as orchestrator:
        await orchestrator.start(saga, saga_id="s-1")
        await orchestrator.signal("s-1", "go")
        await finishes(orchestrator, saga, did)


@pytest.mark.parametrize("waits", range(25))
async def test_start_is_cancelled(world, did, saga, waits):
    """Once such a saga belonged to a worker that did not know of it, for as long as the worker lived."""
    async with world.orchestrator(saga, store=Hesitant(world.store)) as orchestrator:
        await cancelled_after(orchestrator.start(saga, saga_id="s-1"), waits)
        await asyncio.sleep(3)
        await orchestrator.start(saga, saga_id="s-1")  # the same one
        await orchestrator.signal("s-1", "go")
        await finishes(orchestrator, saga, did)


@pytest.mark.parametrize("waits", range(25))
async def test_a_start_is_cancelled_while_a_hook_is_told_of_it(world, did, saga, waits):
    class Slow:
        async def on_transition(self, instance, event):
            await asyncio.sleep(0)

    async with world.orchestrator(saga, store=Hesitant(world.store), hooks=[Slow()]) as orchestrator:
        await cancelled_after(orchestrator.start(saga, saga_id="s-1"), waits)
        await asyncio.sleep(3)
        await orchestrator.start(saga, saga_id="s-1")
        await orchestrator.signal("s-1", "go")
        await finishes(orchestrator, saga, did)


@pytest.mark.parametrize("driven", [True, False])
@pytest.mark.parametrize("waits", range(15))
async def test_a_signal_is_cancelled(world, did, saga, waits, driven):
    """Once the log then said that a step had begun, and nobody had begun it."""
    if driven:  # something else runs meanwhile, so that the saga has a driver
        beside = Step("beside", lambda data: asyncio.sleep(9), compensation=lambda data, result: None, after=())
        saga = SagaDefinition(name="four", retry=EXACT, steps=[*items_of(did), beside])
    async with world.orchestrator(saga, store=Hesitant(world.store)) as orchestrator:
        await orchestrator.start(saga, saga_id="s-1")
        await asyncio.sleep(1)
        assert ("s-1" in orchestrator._engine.drivers) is driven
        await cancelled_after(orchestrator.signal("s-1", "go", message_id="m-1"), waits)
        await orchestrator.signal("s-1", "go", message_id="m-1")
        await finishes(orchestrator, saga, did, repeated=0)


async def test_a_start_is_cancelled_long_before_its_write_arrives(world, did, saga):
    class Slow(Around):
        async def commit(self, batch):
            await asyncio.sleep(5)
            return await self.inner.commit(batch)

    async with world.orchestrator(saga, store=Slow(world.store)) as orchestrator:
        starting = asyncio.ensure_future(orchestrator.start(saga, saga_id="s-1"))
        await asyncio.sleep(1)
        starting.cancel()
        await asyncio.sleep(10)
        await orchestrator.signal("s-1", "go")
        assert state_of(await orchestrator.wait("s-1", timeout=100)) == "completed"


@pytest.mark.parametrize("worker", [True, False])
@pytest.mark.parametrize("waits", range(40))
async def test_execute_is_cancelled(world, did, saga, waits, worker):
    async with world.orchestrator(saga, store=Hesitant(world.store), worker=worker) as orchestrator:
        await orchestrator.create(saga, saga_id="s-1")
        await orchestrator.signal("s-1", "go")
        await cancelled_after(orchestrator.execute("s-1"), waits)
        assert state_of(await orchestrator.execute("s-1", timeout=100)) == "completed"
        await finishes(orchestrator, saga, did, repeated=0)


@pytest.mark.parametrize("verb", ["abort", "suspend", "resume", "compensate"])
@pytest.mark.parametrize("waits", range(0, 20, 2))
async def test_an_operators_verb_is_cancelled(world, did, saga, waits, verb):
    asks = {
        "abort": lambda to: to.abort("s-1", "stop"),
        "compensate": lambda to: to.compensate("s-1", "stop"),
        "suspend": lambda to: to.suspend("s-1", actor="eve", reason="audit"),
        "resume": lambda to: to.resume("s-1"),
    }[verb]
    async with world.orchestrator(saga, store=Hesitant(world.store)) as orchestrator:
        await orchestrator.start(saga, saga_id="s-1")
        await asyncio.sleep(1)
        await cancelled_after(asks(orchestrator), waits)
        await asks(orchestrator)
        await orchestrator.resume("s-1")
        finished = await orchestrator.wait("s-1", timeout=100)
        assert finished.state.terminal
        assert did.count("undo a") == did.count("a") == 1


@pytest.mark.parametrize("waits", range(0, 30, 3))
async def test_entering_is_cancelled(world, saga, waits):
    before = asyncio.all_tasks()
    await cancelled_after(world.orchestrator(saga, store=Hesitant(world.store)).__aenter__(), waits)
    if asyncio.all_tasks() != before:  # it was open before it was cancelled
        assert waits > 5


@pytest.mark.parametrize("instant", range(6))
async def test_a_saga_goes_on_when_somebody_cancels_every_task_of_the_process(world, did, instant):
    """As some programs do to shut down, and then do not. At the first of these moments its own has not yet begun."""
    saga = SagaDefinition(name="alone", retry=EXACT, steps=[items_of(did)[0]])
    async with world.orchestrator(saga, poll_interval=1) as orchestrator:
        await orchestrator.start(saga, saga_id="s-1")
        strands = orchestrator._engine.drivers["s-1"]._strands
        for _ in range(instant):
            await asyncio.sleep(0)
        for task in list(strands):
            task.cancel()
        assert state_of(await orchestrator.wait("s-1", timeout=100)) == "completed"
