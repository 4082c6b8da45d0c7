"""Sagas that are moved go on at the target from where they were, to the same end, and nowhere else."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sagafsm import (
    Parallel,
    Rejected,
    RetryPolicy,
    SagaDefinition,
    SagaMoved,
    SagaStuck,
    Sleep,
    Step,
    SubSaga,
    WaitFor,
    copy_sagas,
    undo_copy,
)
from sagafsm.runtime.memory import MemoryStore
from sagafsm.testing import VirtualLoop
from sagafsm.testing.environment import VirtualClock
from tests.runtime.steps import undo
from tests.runtime.world import Ledger, World, state_of, types

NAMES = {"source_name": "a", "target_name": "b"}
BACK = {"source_name": "b", "target_name": "a"}


def second_store(world):
    return MemoryStore(clock=VirtualClock(world.loop))


async def test_a_saga_that_sleeps_wakes_up_at_the_target_only(world, did):
    naps = SagaDefinition(
        name="naps", steps=[Sleep("nap", 100), Step("work", lambda data: did(data), compensation=undo)]
    )
    target = second_store(world)
    async with world.orchestrator(naps) as here, world.orchestrator(naps, store=target) as there:
        for n in range(5):
            await here.start(naps, n, saga_id=f"s{n}", tags={"n": str(n)})
        await asyncio.sleep(10)
        report = await copy_sagas(world.store, target, **NAMES, wait=60)
        assert (report.moved, report.ok) == (5, True)
        await asyncio.sleep(200)
        assert sorted(did.names) == [0, 1, 2, 3, 4]
        assert all([state_of(await there.get(f"s{n}")) == "completed" for n in range(5)])
        assert [saga.saga_id async for saga in there.find(tags={"n": "3"})] == ["s3"]
        for n in range(5):
            with pytest.raises(SagaMoved, match=rf"saga s{n} was moved to b"):
                await here.get(f"s{n}")
        assert {saga.saga_id for saga in [one async for one in here.find(stuck=True)]} == {f"s{n}" for n in range(5)}


async def test_whatever_is_said_to_a_saga_that_moved_is_refused_and_changes_nothing(world):
    waits = SagaDefinition(name="waits", steps=[WaitFor("go", signal="go")])
    target = second_store(world)
    async with world.orchestrator(waits) as here:
        await here.start(waits, saga_id="s")
        await here.create(waits, saga_id="asleep")
        await asyncio.sleep(1)
        assert (await copy_sagas(world.store, target, **NAMES)).moved == 2
        before = await world.store.load(["s", "asleep"])
        for verb in (
            here.signal("s", "go"),
            here.abort("s", "stop", actor="eve"),
            here.suspend("s", actor="eve", reason="x"),
            here.resume("s"),
            here.retry("s", actor="eve", reason="x"),
            here.complete_step("s", "go"),
            here.execute("s"),
            here.wait("s"),
            here.execute("asleep"),
        ):
            with pytest.raises(SagaMoved, match="was moved to b"):
                await verb
        again = await here.start(waits, saga_id="s")
        with pytest.raises(SagaMoved, match="was moved to b"):
            await again.result()
        await here.resume_all()
        await asyncio.sleep(1000)
        assert await world.store.load(["s", "asleep"]) == before
        assert len(await here.history("s")) == 2
    async with world.orchestrator(waits, store=target) as there:
        await there.signal("s", "go")
        assert state_of(await there.wait("s")) == "completed"
        await there.start(waits, saga_id="asleep")
        await asyncio.sleep(1)
        assert (await there.get("asleep")).waiting_for.name == "go"


async def test_a_saga_that_is_on_its_way_cannot_be_touched_at_the_target_either(world):
    waits = SagaDefinition(name="waits", steps=[WaitFor("go", signal="go")])
    target = second_store(world)
    async with world.orchestrator(waits) as here, world.orchestrator(waits, store=target) as there:
        await here.start(waits, saga_id="s")
        await asyncio.sleep(1)
        await copy_sagas(world.store, target, **NAMES, keep=True)
        for verb in (there.signal("s", "go"), there.execute("s"), there.retry("s", actor="eve", reason="x")):
            with pytest.raises(SagaMoved, match="is on its way from a"):
                await verb
        await here.signal("s", "go")
        assert state_of(await here.wait("s")) == "completed"
        assert (await copy_sagas(world.store, target, **NAMES)).ok
        assert state_of(await there.get("s")) == "completed"


async def test_a_saga_whose_step_runs_is_moved_when_the_step_is_done(world, did):
    async def slow(data):
        did("begin")
        await asyncio.sleep(40)
        did("end")

    busy = SagaDefinition(
        name="busy",
        steps=[Step("slow", slow, compensation=undo), Sleep("nap", 100), Step("last", lambda data: did("last"),
                                                                             compensation=undo)],
    )  # fmt: skip
    target = second_store(world)
    async with world.orchestrator(busy) as here, world.orchestrator(busy, store=target) as there:
        await here.start(busy, saga_id="s")
        await asyncio.sleep(10)
        assert (await copy_sagas(world.store, target, **NAMES, wait=5)).busy == 1
        report = await copy_sagas(world.store, target, **NAMES, wait=60)
        assert report.moved == 1
        assert state_of(await there.wait("s")) == "completed"
        assert did.names == ["begin", "end", "last"]


async def test_a_family_goes_on_at_the_target_and_its_compensation_reaches_every_member(world, did):
    below = SagaDefinition(
        name="below",
        steps=[Step("book", lambda data: did("book"), compensation=lambda data, result: did("unbook"))],
    )
    slow = SagaDefinition(
        name="slow",
        steps=[
            Step("ship", lambda data: did("ship"), compensation=lambda data, result: did("unship")),
            Sleep("nap", 50),
        ],
    )

    async def fail(data):
        raise Rejected("no")

    parent = SagaDefinition(
        name="parent", steps=[SubSaga("one", below), SubSaga("two", slow), Step("last", fail, compensatable=False)]
    )
    target = second_store(world)
    definitions = (parent, below, slow)
    async with world.orchestrator(*definitions) as here, world.orchestrator(*definitions, store=target) as there:
        await here.start(parent, saga_id="p")
        await asyncio.sleep(10)
        report = await copy_sagas(world.store, target, **NAMES, wait=60)
        assert (report.moved, report.finished, report.already, report.ok) == (2, 0, 1, True)
        saga = await there.wait("p", timeout=1000)
        assert state_of(saga) == "failed compensated"
        assert did.names == ["book", "ship", "unship", "unbook"]
        assert (await here.stats()).live == 2


async def test_undoing_a_move_lets_the_source_go_on(world, did):
    naps = SagaDefinition(
        name="naps", steps=[Sleep("nap", 100), Step("work", lambda data: did(data), compensation=undo)]
    )
    async with world.orchestrator(naps) as here:
        await here.start(naps, 1, saga_id="s")
        await asyncio.sleep(1)
        await copy_sagas(world.store, second_store(world), **NAMES)
        await asyncio.sleep(1000)
        assert await undo_copy(world.store, "b") == 1
        assert state_of(await here.wait("s", timeout=1000)) == "completed"
        assert did.names == [1]


async def test_a_stuck_saga_is_mended_at_the_target(world, did):
    broken = [True]

    def work(data):
        if broken:
            raise OSError("down")
        did("done")

    def release(data, result):
        if broken:
            raise OSError("down")
        did("released")

    saga = SagaDefinition(
        name="stuck",
        steps=[Step("reserve", lambda data: 1, compensation=release), Step("work", work, compensatable=False)],
        retry=RetryPolicy.none(),
        compensation_retry=RetryPolicy.none(),
    )
    target = second_store(world)
    async with world.orchestrator(saga) as here:
        with pytest.raises(SagaStuck):
            await (await here.start(saga, saga_id="s")).result()
        assert (await copy_sagas(world.store, target, **NAMES)).moved == 1
    broken.clear()
    async with world.orchestrator(saga, store=target) as there:
        found = await there.get("s")
        assert found.stuck
        assert "down" in found.stuck_reason
        await there.retry("s", actor="eve", reason="it is up")
        assert state_of(await there.wait("s")) == "failed compensated"
        assert did.names == ["released"]


# --- whatever the saga, and wherever it is cut ---


def build(shape, did):
    """A saga of steps, sleeps and signals; one step may fail."""
    steps = []
    for n, kind in enumerate(shape):
        name = f"{kind}_{n}"
        if kind == "nap":
            steps.append(Sleep(name, 10))
        elif kind == "wait":
            steps.append(WaitFor(name, signal="go", timeout=30, on_timeout="continue"))
        elif kind == "pair":
            steps.append(
                Parallel(
                    Step(f"{name}_a", action(did, f"{name}_a"), compensation=compensation(did, f"{name}_a")),
                    Sleep(f"{name}_b", 3),
                )
            )  # fmt: skip
        else:
            steps.append(
                Step(name, action(did, name, fails=kind == "bad"), compensation=compensation(did, name),
                     retry=RetryPolicy(max_attempts=2, initial_interval=5, jitter=0))
            )  # fmt: skip
    return SagaDefinition(name="any", steps=steps)


def action(did, name, *, fails=False):
    async def work(data):
        did(name)
        await asyncio.sleep(2)
        if fails:
            raise OSError("down")

    return work


def compensation(did, name):
    async def back(data, result):
        did(f"undo {name}")
        await asyncio.sleep(2)

    return back


def on_a_loop(work):
    loop = VirtualLoop(max_steps=1_000_000)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(work())


async def ended(shape, moves):
    """Run a saga, moved to and fro at these times; how it ended, what was done, and the types of its events."""
    world = World()
    did = Ledger(world.loop.time)
    saga = build(shape, did)
    stores, names = [world.store, second_store(world)], ["a", "b"]
    async with world.orchestrator(saga, store=stores[0]) as one, world.orchestrator(saga, store=stores[1]) as two:
        orchestrators = [one, two]
        await one.start(saga, {"x": 1}, saga_id="s")
        for pause in moves:
            await asyncio.sleep(pause)
            report = await copy_sagas(*stores, source_name=names[0], target_name=names[1], wait=100)
            assert report.ok, report
            ends = [[event.data for event in await store.events("s")] for store in stores]
            assert ends[0] == ends[1][: len(ends[0])]
            for swapped in (stores, names, orchestrators):
                swapped.reverse()
        found = await orchestrators[0].wait("s", timeout=10_000)
        return state_of(found), sorted(did.names), types(await orchestrators[0].history("s"))


@settings(max_examples=40)
@given(
    shape=st.lists(st.sampled_from(["step", "nap", "wait", "pair", "bad"]), min_size=1, max_size=5),
    moves=st.lists(st.integers(0, 40), max_size=3),
)
def test_a_saga_ends_the_same_however_often_it_is_moved(shape, moves):
    stayed = on_a_loop(lambda: ended(shape, []))
    moved = on_a_loop(lambda: ended(shape, moves))
    assert moved[:2] == stayed[:2]
    ignored = {"TakenOver", "StepInterrupted"}
    assert [kind for kind in moved[2] if kind not in ignored] == [kind for kind in stayed[2] if kind not in ignored]
