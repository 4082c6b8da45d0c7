"""``execute`` on a saga that waits for others, where something is to be done all the same."""

import asyncio

from sagafsm import Rejected, RetryPolicy, SagaDefinition, Step, SubSaga, WaitFor
from tests.runtime.steps import undo
from tests.runtime.world import state_of, types


def waits(**options):
    """A step that is undone, and a wait after it."""

    async def first(data): ...

    return SagaDefinition(
        name="waits", steps=[Step("first", first, compensation=undo), WaitFor("yes", signal="yes", **options)]
    )


async def test_a_saga_that_waits_is_left_alone_until_it_is_told_something(world):
    async with world.orchestrator(saga := waits(), worker=False) as orchestrator:
        await orchestrator.create(saga, saga_id="s")
        assert state_of(await orchestrator.execute("s")) == "pending"
        assert types(await orchestrator.history("s"))[-1] == "WaitStarted"


async def test_execute_carries_out_an_abort_that_came_while_the_saga_waited(world):
    """It used to answer that the saga waits, with the abort only noted."""
    async with world.orchestrator(saga := waits(), worker=False) as orchestrator:
        await orchestrator.create(saga, saga_id="s")
        await orchestrator.execute("s")
        await orchestrator.abort("s", "not wanted any more")
        assert state_of(await orchestrator.execute("s")) == "failed aborted"


async def test_execute_sees_that_the_time_for_waiting_has_passed(world):
    async with world.orchestrator(saga := waits(timeout=60), worker=False) as orchestrator:
        await orchestrator.create(saga, saga_id="s")
        assert state_of(await orchestrator.execute("s")) == "pending"
        await asyncio.sleep(61)
        assert state_of(await orchestrator.execute("s")) == "failed compensated"


async def test_execute_sees_that_the_deadline_has_passed(world):
    async def first(data): ...

    saga = SagaDefinition(
        name="late", deadline=60, steps=[Step("first", first, compensatable=False), WaitFor("yes", signal="yes")]
    )
    async with world.orchestrator(saga, worker=False) as orchestrator:
        await orchestrator.create(saga, saga_id="s")
        await orchestrator.execute("s")
        await asyncio.sleep(61)
        assert state_of(await orchestrator.execute("s")) == "failed compensated"


async def test_an_abort_that_must_wait_for_a_reply_does_not_keep_execute_busy(world):
    async def ask(data): ...

    saga = SagaDefinition(name="asks", steps=[Step("ask", ask, awaits_reply=True, timeout=3600, compensatable=False)])
    async with world.orchestrator(saga, worker=False) as orchestrator:
        await orchestrator.create(saga, saga_id="s")
        await orchestrator.execute("s")
        await orchestrator.abort("s", "not wanted any more")
        assert state_of(await orchestrator.execute("s")) == "pending"
        await orchestrator.complete_step("s", "ask")
        assert state_of(await orchestrator.execute("s")) == "failed aborted"


async def test_retry_of_a_parent_whose_child_is_stuck_lifts_both(world):
    """It used to lift the child only: the parent stayed on the dead-letter list until somebody ran the child."""
    mended = []

    async def first(data): ...

    async def take_back(data, result):
        if not mended:
            raise RuntimeError("not yet")

    async def second(data):
        raise Rejected("no")

    child = SagaDefinition(
        name="child",
        compensation_retry=RetryPolicy.none(),
        steps=[Step("first", first, compensation=take_back), Step("second", second, compensatable=False)],
    )
    parent = SagaDefinition(name="parent", steps=[SubSaga("below", child)])
    async with world.orchestrator(parent) as orchestrator:
        saga = await orchestrator.run(parent, saga_id="p")
        assert state_of(saga) == "pending stuck"
    async with world.orchestrator(parent, worker=False) as orchestrator:
        assert state_of(await orchestrator.retry("p", actor="ann", reason="mended")) == "pending"
        assert state_of(await orchestrator.get("p:below")) == "compensating"
        mended.append(True)
        assert state_of(await orchestrator.execute("p")) == "failed compensated"
