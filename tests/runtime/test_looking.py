"""Looking at sagas: get, history, find, purge."""

import asyncio

import pytest

from sagafsm import InvalidInput, Rejected, SagaDefinition, SagaNotFound, SagaState, Sleep, Step, WaitFor
from tests.runtime.world import state_of


async def maybe(data):
    if data == "bad":
        raise Rejected("no")


ORDER = SagaDefinition(name="order", steps=[Step("work", maybe, compensatable=False)])
WAITS = SagaDefinition(name="waits", steps=[WaitFor("go", signal="go")])


@pytest.fixture
async def orchestrator(world):
    async with world.orchestrator(ORDER, WAITS) as orchestrator:
        await orchestrator.run(ORDER, "good", saga_id="good", tags={"country": "CH", "tier": "a"}, correlation_id="c-1")
        await asyncio.sleep(100)
        await orchestrator.run(ORDER, "bad", saga_id="bad", tags={"country": "CH"})
        await asyncio.sleep(100)
        await orchestrator.start(WAITS, saga_id="waits", correlation_id="c-1")
        await orchestrator.create(WAITS, saga_id="created")
        await orchestrator.suspend("waits", actor="eve", reason="audit")
        await asyncio.sleep(100)
        yield orchestrator


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ({}, ["good", "bad", "created", "waits"]),
        ({"state": SagaState.COMPLETED}, ["good"]),
        ({"state": "failed"}, ["bad"]),
        ({"saga_type": "waits"}, ["created", "waits"]),
        ({"suspended": True}, ["waits"]),
        ({"suspended": False, "saga_type": "waits"}, ["created"]),
        ({"stuck": True}, []),
        ({"tags": {"country": "CH"}}, ["good", "bad"]),
        ({"tags": {"country": "CH", "tier": "a"}}, ["good"]),
        ({"correlation_id": "c-1"}, ["good", "waits"]),
        ({"older_than": 150}, ["good", "bad"]),
        ({"older_than": 250}, ["good"]),
        ({"limit": 2}, ["good", "bad"]),
        ({"limit": 0}, []),
    ],
)
async def test_find(orchestrator, where, found):
    assert [saga.saga_id async for saga in orchestrator.find(**where)] == found


async def test_find_refuses_a_state_that_does_not_exist(orchestrator):
    with pytest.raises(InvalidInput, match="'done' is no state of a saga; the states are: started, pending"):
        orchestrator.find(state="done")


async def test_find_pages_through_many(world):
    async with world.orchestrator(ORDER) as orchestrator:
        for n in range(450):
            await orchestrator.create(ORDER, saga_id=f"s-{n:03}")
        assert len({saga.saga_id async for saga in orchestrator.find()}) == 450
        assert len([saga async for saga in orchestrator.find(limit=301)]) == 301


async def test_get_shows_a_saga_while_it_runs_here(world):
    definition = SagaDefinition(
        name="slow", steps=[Step("a", lambda data: asyncio.sleep(10), compensatable=False), Sleep("nap", 60)]
    )
    async with world.orchestrator(definition) as orchestrator:
        await orchestrator.start(definition, {"n": 1}, saga_id="s-1")
        await asyncio.sleep(5)
        saga = await orchestrator.get("s-1")
        assert (state_of(saga), saga.steps["a"].state.value, saga.data) == ("pending", "running", {"n": 1})
        assert saga.waiting_for is None
        await asyncio.sleep(10)
        saga = await orchestrator.get("s-1")
        assert (saga.waiting_for.kind, saga.waiting_for.step) == ("sleep", "nap")
        assert saga.waiting_for.until == pytest.approx(saga.created_at + 70, abs=0.01)


async def test_a_saga_that_was_read_does_not_change(orchestrator):
    before = await orchestrator.get("waits")
    await orchestrator.resume("waits")
    await orchestrator.signal("waits", "go")
    await orchestrator.wait("waits")
    assert state_of(before) == "pending suspended"


async def test_the_history_has_every_event_in_order(orchestrator):
    history = await orchestrator.history("bad")
    assert [event.seq for event in history] == list(range(1, len(history) + 1))
    failed = next(event for event in history if event.type == "StepFailed")
    assert (failed.step, failed.attempt, failed.data["error"]["message"]) == ("work", 1, "no")
    assert history[0].data["data"] == "bad"


async def test_purge_deletes_what_is_long_done_and_nothing_else(orchestrator):
    assert await orchestrator.purge(finished_before=250, keep_ids=0) == 1
    with pytest.raises(SagaNotFound):
        await orchestrator.get("good")
    assert await orchestrator.purge(finished_before=0) == 1
    assert [saga.saga_id async for saga in orchestrator.find()] == ["created", "waits"]
    again = await orchestrator.run(ORDER, "good", saga_id="good")  # the id is free again
    assert again.state is SagaState.COMPLETED


async def test_purge_has_a_limit(world):
    async with world.orchestrator(ORDER) as orchestrator:
        for n in range(1200):
            await orchestrator.run(ORDER, saga_id=f"s-{n}")
        await asyncio.sleep(1)
        assert await orchestrator.purge(finished_before=0, limit=5) == 5
        assert await orchestrator.purge(finished_before=0, dry_run=True) == 1195
        assert await orchestrator.purge(finished_before=0) == 1195
