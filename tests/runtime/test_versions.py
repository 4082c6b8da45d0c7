"""Versions side by side, and what happens to sagas whose definition is not at hand or has changed its shape."""

import asyncio
import logging

import pytest

from sagafsm import DefinitionError, Saga, SagaConflict, SagaDefinition, Sleep, Step, StoreCorrupt, sleep, step
from tests.runtime.steps import undo
from tests.runtime.world import state_of


def version(did, number, *names):
    """A version of one definition: it naps, then does these steps."""
    return SagaDefinition(
        name="order",
        version=number,
        steps=[
            Sleep("nap", 100),
            *(Step(name, lambda data, name=name: did(f"{name} of {number}"), compensation=undo) for name in names),
        ],
    )


async def begun(world, definition, saga_id):
    async with world.orchestrator(definition) as orchestrator:
        await orchestrator.start(definition, saga_id=saga_id)
        await asyncio.sleep(1)


async def test_a_saga_runs_with_the_version_it_was_started_with(world, did):
    old, new = version(did, 1, "a", "b"), version(did, 2, "c")
    await begun(world, old, "s-1")
    async with world.orchestrator(new, old) as orchestrator:
        await orchestrator.start(new, saga_id="s-2")
        first, second = await orchestrator.wait("s-1"), await orchestrator.wait("s-2")
        assert (first.definition_version, second.definition_version) == (1, 2)
    assert did.names == ["a of 1", "b of 1", "c of 2"]


async def test_a_worker_leaves_a_version_it_lacks_to_one_that_has_it_and_says_so(world, did, caplog):
    old, new = version(did, 1, "a"), version(did, 2, "c")
    await begun(world, old, "s-1")
    with caplog.at_level(logging.WARNING, "sagafsm"):
        async with world.orchestrator(new) as orchestrator:
            await asyncio.sleep(1000)
            saga = await orchestrator.get("s-1")
            assert (state_of(saga), saga.stuck) == ("pending", False)
            assert did.names == []
            async with world.orchestrator(old) as other:
                assert state_of(await other.wait("s-1")) == "completed"
    (said,) = [record.message for record in caplog.records if old.kind in record.message]  # once, not every minute
    assert said == f"1 sagas of {old.kind} are left to a worker that has this definition; this process does not"


async def test_a_changed_shape_under_an_unchanged_version_is_left_alone_and_said(world, did, caplog):
    before, after = version(did, 1, "a"), version(did, 1, "a", "b")
    await begun(world, before, "s-1")
    with caplog.at_level(logging.WARNING, "sagafsm"):
        async with world.orchestrator(after) as orchestrator:
            await asyncio.sleep(1000)
            assert state_of(await orchestrator.get("s-1")) == "pending"
            assert state_of(await orchestrator.run(after, saga_id="s-2")) == "completed"
    assert did.names == ["a of 1", "b of 1"]
    (said,) = [record.message for record in caplog.records if "another shape" in record.message]
    assert "raise the version and register the old one as well" in said
    async with world.orchestrator(before) as orchestrator:
        assert state_of(await orchestrator.wait("s-1")) == "completed"


async def test_changed_functions_are_no_changed_shape(world, did):
    before, after = version(did, 1, "a"), version(did, 1, "a")
    assert before.kind == after.kind
    await begun(world, before, "s-1")
    async with world.orchestrator(after) as orchestrator:
        assert state_of(await orchestrator.wait("s-1")) == "completed"


async def test_two_shapes_of_one_version_cannot_be_registered_together(world, did):
    with pytest.raises(DefinitionError, match="two different definitions are both order version 1"):
        world.orchestrator(version(did, 1, "a"), version(did, 1, "b"))


async def test_a_process_without_the_definition_can_look_and_operate(world, did):
    definition = version(did, 1, "a")
    await begun(world, definition, "s-1")
    async with world.orchestrator(worker=False) as operator:
        saga = await operator.get("s-1")
        assert (saga.saga_type, list(saga.steps), saga.waiting_for.kind) == ("order", ["nap", "a"], "sleep")
        assert [saga.saga_id async for saga in operator.find(saga_type="order")] == ["s-1"]
        await operator.suspend("s-1", actor="eve", reason="audit")
        await operator.abort("s-1", "not wanted")
        await operator.resume("s-1")
        async with world.orchestrator(definition) as worker:
            assert state_of(await worker.wait("s-1")) == "failed aborted"


@pytest.mark.parametrize("shape", [b"no JSON", b"[]", b'{"name": "order"}'])
async def test_a_definition_that_the_store_no_longer_remembers_well_is_said(world, did, shape):
    definition = version(did, 1, "a")
    await begun(world, definition, "s-1")
    world.store._definitions[definition.kind] = shape
    async with world.orchestrator(worker=False) as operator:
        with pytest.raises(StoreCorrupt, match=r"the definition order@1#.* as the store remembers it, cannot be read"):
            await operator.abort("s-1", "not wanted")


async def test_the_same_id_with_another_version_is_another_saga(world, did):
    old, new = version(did, 1, "a"), version(did, 2, "a")
    async with world.orchestrator(old, new) as orchestrator:
        await orchestrator.start(old, saga_id="s-1")
        with pytest.raises(SagaConflict):
            await orchestrator.start(new, saga_id="s-1")


async def test_a_step_added_to_a_class_needs_a_new_version(world, did):
    class Order(Saga[None]):
        name = "order"
        nap = sleep(100)

    first = Order

    class Order(Saga[None]):  # type: ignore[no-redef]
        name = "order"
        version = 2
        nap = sleep(100)

        @step(compensatable=False)
        async def work(self, data: None) -> None:
            did("work")

    await begun(world, first.definition, "s-1")
    async with world.orchestrator(first, Order) as orchestrator:
        assert state_of(await orchestrator.wait("s-1")) == "completed"
        assert did.names == []
        assert state_of(await orchestrator.run(Order)) == "completed"
        assert did.names == ["work"]
