"""Sub-sagas: run, fail, get stuck and are undone with their parent, whoever drives which of them."""

import asyncio

import pytest

from sagafsm import Rejected, SagaDefinition, Sleep, Step, SubSaga, WaitFor
from tests.runtime.world import EXACT, state_of, types


def step(did, name, *errors, undo_errors=(), seconds=0):
    left, undo_left = list(errors), list(undo_errors)

    async def work(data):
        if seconds:
            await asyncio.sleep(seconds)
        did(name)
        if left:
            raise left.pop(0)
        return f"{name}!"

    async def take_back(data, result):
        did(f"undo {name}")
        if undo_left:
            raise undo_left.pop(0)

    return Step(name, work, compensation=take_back, retry=EXACT)


def family(did, *steps, last=(), **options):
    """A parent with a step, a child of these steps, and what follows."""
    child = SagaDefinition(name="child", steps=list(steps))
    return SagaDefinition(name="parent", steps=[step(did, "before"), SubSaga("shipping", child, **options), *last])


async def test_a_child_runs_as_a_step_of_its_parent(world, did):
    definition = family(
        did, step(did, "pack"), step(did, "send"), data=lambda data, before: {"of": data, "after": before}
    )
    async with world.orchestrator(definition) as orchestrator:
        saga = await orchestrator.run(definition, 7, saga_id="p-1", correlation_id="cart", tags={"country": "CH"})
        assert saga.results == {"before": "before!", "shipping": {"pack": "pack!", "send": "send!"}}
        child = await orchestrator.get("p-1:shipping")
        assert (child.state.value, child.parent_id, child.correlation_id) == ("completed", "p-1", "cart")
        assert (child.data, child.tags) == ({"of": 7, "after": "before!"}, {"country": "CH"})
    assert did.names == ["before", "pack", "send"]
    assert world.time < 1


async def test_without_a_function_the_child_gets_its_parents_input(world, did):
    definition = family(did, step(did, "pack"))
    async with world.orchestrator(definition) as orchestrator:
        await orchestrator.run(definition, {"n": 1}, saga_id="p-1")
        assert (await orchestrator.get("p-1:shipping")).data == {"n": 1}


async def test_a_child_that_rolled_back_is_a_definite_failure_of_its_step(world, did):
    definition = family(did, step(did, "pack"), step(did, "send", Rejected("no lorry")))
    async with world.orchestrator(definition) as orchestrator:
        saga = await orchestrator.run(definition, saga_id="p-1")
        assert (state_of(saga), saga.error.type) == ("failed compensated", "Rejected")
        assert "p-1:shipping" in saga.error.message
        assert "no lorry" in saga.error.message
    assert did.names == ["before", "pack", "send", "undo pack", "undo before"]


async def test_undoing_the_parent_undoes_a_completed_child(world, did):
    definition = family(did, step(did, "pack"), last=[step(did, "bad", Rejected("no"))])
    async with world.orchestrator(definition) as orchestrator:
        saga = await orchestrator.run(definition, saga_id="p-1")
        assert state_of(saga) == "failed compensated"
        assert state_of(await orchestrator.get("p-1:shipping")) == "failed compensated"
    assert did.names == ["before", "pack", "bad", "undo pack", "undo before"]


async def test_a_child_that_need_not_be_undone_is_left(world, did):
    definition = family(did, step(did, "pack"), last=[step(did, "bad", Rejected("no"))], compensatable=False)
    async with world.orchestrator(definition) as orchestrator:
        await orchestrator.run(definition, saga_id="p-1")
        assert state_of(await orchestrator.get("p-1:shipping")) == "completed"
    assert did.names == ["before", "pack", "bad", "undo before"]


async def test_aborting_the_parent_aborts_a_running_child(world, did):
    definition = family(did, step(did, "pack", seconds=10), WaitFor("pickup", signal="pickup"))
    async with world.orchestrator(definition) as orchestrator:
        await orchestrator.start(definition, saga_id="p-1")
        await asyncio.sleep(20)
        await orchestrator.abort("p-1", "not wanted")
        assert state_of(await orchestrator.wait("p-1", timeout=100)) == "failed aborted"
        child = await orchestrator.get("p-1:shipping")
        assert child.state.value == "failed"
    assert did.names == ["before", "pack", "undo pack", "undo before"]


async def test_a_child_that_is_stuck_shows_in_its_parent_and_is_retried_through_it(world, did):
    definition = family(
        did,
        step(did, "pack", undo_errors=[Rejected("gone")]),
        step(did, "send", Rejected("no lorry")),
    )
    async with world.orchestrator(definition) as orchestrator:
        saga = await orchestrator.run(definition, saga_id="p-1")
        assert state_of(saga) == "pending stuck"
        assert "p-1:shipping" in saga.stuck_reason
        assert {saga.saga_id async for saga in orchestrator.find(stuck=True)} == {"p-1", "p-1:shipping"}
        answer = await orchestrator.retry("p-1", actor="eve", reason="found it")
        assert answer.saga_id == "p-1"
        finished = await orchestrator.wait("p-1:shipping", timeout=100)
        assert state_of(finished) == "failed compensated"
        await world.idle()
        assert state_of(await orchestrator.wait("p-1", timeout=100)) == "failed compensated"
    assert did.names[-2:] == ["undo pack", "undo before"]


async def test_who_waits_for_a_parent_whose_child_is_stuck_is_told_however_seldom_its_process_looks(world, did):
    """The parent stayed with its driver, which was to look at the child again soon, and nobody was told."""
    definition = family(did, step(did, "pack", undo_errors=[Rejected("gone")]), step(did, "send", Rejected("no lorry")))
    async with world.orchestrator(definition, poll_interval=200, lease=3_000) as orchestrator:
        assert state_of(await orchestrator.run(definition, saga_id="p-1", timeout=50)) == "pending stuck"


async def test_a_stuck_child_that_goes_on_lets_its_parent_go_on(world, did):
    definition = family(did, step(did, "pack", undo_errors=[Rejected("gone")]), step(did, "send", Rejected("no lorry")))
    async with world.orchestrator(definition) as orchestrator:
        await orchestrator.run(definition, saga_id="p-1")
        await orchestrator.skip("p-1:shipping", "pack", actor="eve", reason="thrown away")
        await orchestrator.wait("p-1:shipping", timeout=100)
        await asyncio.sleep(61)  # told at once, or found out by looking
        assert state_of(await orchestrator.wait("p-1", timeout=100)) == "failed compensated"
    assert did.names[-1] == "undo before"


@pytest.mark.parametrize("at", [0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5])
async def test_parent_and_child_survive_the_death_of_their_process(world, did, at):
    definition = family(
        did,
        step(did, "pack", seconds=1),
        Sleep("nap", 2),
        step(did, "send", seconds=1),
        last=[step(did, "bad", Rejected("no"), seconds=1)],
    )
    one = await world.open("one", definition)
    await one.ask(lambda to: to.start(definition, saga_id="p-1"))
    await asyncio.sleep(at)
    one.kill()
    async with world.orchestrator(definition) as two:
        assert state_of(await two.wait("p-1", timeout=300)) == "failed compensated"
        assert state_of(await two.wait("p-1:shipping", timeout=300)) == "failed compensated"
        assert types(await two.history("p-1:shipping")).count("SagaStarted") == 1
    assert [name for name in did.names if name.startswith("undo")] == ["undo send", "undo pack", "undo before"]


async def test_parent_and_child_may_be_driven_by_different_processes(world, did):
    """The parent's process knows no more than its store of how the child is."""
    definition = family(did, step(did, "pack", seconds=5), last=[step(did, "after")])
    child = definition.steps["shipping"].child
    one = await world.open("one", definition)
    await one.ask(lambda to: to.start(definition, saga_id="p-1"))
    await asyncio.sleep(1)
    await one.close()
    async with world.orchestrator(child) as only_children, world.orchestrator(definition, worker=False) as looking:
        await only_children.resume_all()
        await only_children.wait("p-1:shipping", timeout=100)
        assert state_of(await looking.get("p-1")) == "pending"
        assert state_of(await looking.execute("p-1", timeout=100)) == "completed"
    assert did.names[-1] == "after"


async def test_the_news_of_a_child_can_be_lost(world, did):
    """Its process died between the child's last event and the telling: the parent finds out by looking."""
    definition = family(did, step(did, "pack", seconds=5), last=[step(did, "after")])
    one = await world.open("one", definition)
    one.orchestrator._engine.family.report = lambda child, events: None
    await one.ask(lambda to: to.start(definition, saga_id="p-1"))
    await asyncio.sleep(6)
    assert state_of(await one.ask(lambda to: to.get("p-1:shipping"))) == "completed"
    saga = await one.ask(lambda to: to.wait("p-1", timeout=130))
    assert state_of(saga) == "completed"
    await one.close()


async def test_execute_runs_the_child_as_well(world, did):
    definition = family(did, step(did, "pack"), Sleep("nap", 60), last=[step(did, "after")])
    async with world.orchestrator(definition, worker=False) as orchestrator:
        saga = await orchestrator.execute(await orchestrator.create(definition), timeout=1000)
        assert state_of(saga) == "completed"
    assert did.names == ["before", "pack", "after"]


async def test_execute_returns_when_the_child_waits_for_somebody(world, did):
    definition = family(did, WaitFor("pickup", signal="pickup"))
    async with world.orchestrator(definition, worker=False) as orchestrator:
        await orchestrator.create(definition, saga_id="p-1")
        saga = await orchestrator.execute("p-1", timeout=1000)
        assert (saga.waiting_for.kind, saga.waiting_for.name) == ("child", "p-1:shipping")
        await orchestrator.signal("p-1:shipping", "pickup")
        assert state_of(await orchestrator.execute("p-1", timeout=1000)) == "completed"


async def test_a_child_of_a_child(world, did):
    inner = SagaDefinition(name="inner", steps=[step(did, "inner")])
    middle = SagaDefinition(name="middle", steps=[SubSaga("in", inner), step(did, "middle")])
    outer = SagaDefinition(name="outer", steps=[SubSaga("mid", middle), step(did, "bad", Rejected("no"))])
    async with world.orchestrator(outer) as orchestrator:
        saga = await orchestrator.run(outer, saga_id="o", timeout=100)
        assert state_of(saga) == "failed compensated"
        assert state_of(await orchestrator.get("o:mid:in")) == "failed compensated"
    assert did.names == ["inner", "middle", "bad", "undo middle", "undo inner"]
