"""Steps that wait: signals, sleeps, replies; early, late, twice, to the wrong one."""

import asyncio
import contextlib

import pytest

from sagafsm import (
    Compensation,
    Delivery,
    InvalidInput,
    SagaDefinition,
    SagaNotFound,
    Sleep,
    Step,
    StepContext,
    WaitFor,
)
from tests.runtime.steps import one_step, undo
from tests.runtime.world import EXACT, NEVER, state_of, types


@pytest.fixture
def begun(world):
    """Opens an orchestrator in which a saga has begun."""

    @contextlib.asynccontextmanager
    async def begun(definition):
        async with world.orchestrator(definition) as orchestrator:
            await orchestrator.start(definition, saga_id="s-1")
            await asyncio.sleep(2)
            yield orchestrator

    return begun


# --- signals ---


def waits(**options):
    return SagaDefinition(
        name="waits",
        steps=[
            Step("first", lambda data: None, compensation=undo),
            WaitFor("approval", signal="approval", **options),
        ],
    )


async def test_a_saga_waits_for_its_signal_without_a_task(world):
    definition = waits()
    async with world.orchestrator(definition) as orchestrator:
        tasks = asyncio.all_tasks()
        await orchestrator.start(definition, saga_id="s-1")
        await asyncio.sleep(1000)
        assert asyncio.all_tasks() == tasks
        saga = await orchestrator.get("s-1")
        assert (saga.waiting_for.kind, saga.waiting_for.name, saga.waiting_for.until) == ("signal", "approval", None)
        assert await orchestrator.signal("s-1", "approval", {"by": "eve"}) is Delivery.ACCEPTED
        assert (await orchestrator.wait("s-1")).results["approval"] == {"by": "eve"}


@pytest.mark.parametrize("runs", [True, False])
async def test_who_waits_no_longer_is_forgotten_and_the_others_are_told(world, runs):
    step = Step("first", lambda data: asyncio.sleep(100), compensation=undo)
    definition = SagaDefinition(name="long", steps=[step] if runs else [WaitFor("go", signal="go")])
    async with world.orchestrator(definition) as orchestrator:
        await orchestrator.start(definition, saga_id="s-1")
        waiting = [asyncio.ensure_future(orchestrator.wait("s-1")) for _ in range(3)]
        await asyncio.sleep(10)
        for one in waiting[:2]:
            one.cancel()
        await asyncio.sleep(1)
        engine = orchestrator._engine
        assert ("s-1" in engine.drivers) is runs
        assert len(engine.waiters._waiting.get("s-1", ())) <= 1
        if not runs:
            await orchestrator.signal("s-1", "go")
        assert state_of(await waiting[2]) == "completed"
        assert engine.waiters._waiting == {}


async def test_an_early_signal_is_kept_for_its_step(world):
    definition = SagaDefinition(name="late", steps=[Sleep("nap", 60), WaitFor("go", signal="go")])
    async with world.orchestrator(definition) as orchestrator:
        await orchestrator.start(definition, saga_id="s-1")
        assert await orchestrator.signal("s-1", "go", 1) is Delivery.ACCEPTED
        assert (await orchestrator.wait("s-1")).results["go"] == 1
        assert world.time == pytest.approx(60, abs=2)


async def test_the_order_of_the_steps_decides_who_gets_which_signal(world):
    definition = SagaDefinition(name="both", steps=[WaitFor("one", signal="go"), WaitFor("two", signal="go")])
    async with world.orchestrator(definition) as orchestrator:
        await orchestrator.start(definition, saga_id="s-1")
        for payload in ("first", "second"):
            await orchestrator.signal("s-1", "go", payload)
        assert (await orchestrator.wait("s-1")).results == {"one": "first", "two": "second"}


async def test_what_becomes_of_a_signal(world):
    definition = waits()
    async with world.orchestrator(definition) as orchestrator:
        await orchestrator.start(definition, saga_id="s-1")
        assert await orchestrator.signal("s-1", "something_else") is Delivery.UNEXPECTED
        assert await orchestrator.signal("s-1", "approval", message_id="m-1") is Delivery.ACCEPTED
        assert await orchestrator.signal("s-1", "approval", message_id="m-1") is Delivery.DUPLICATE
        await orchestrator.wait("s-1")
        assert await orchestrator.signal("s-1", "approval", message_id="m-1") is Delivery.DUPLICATE
        assert await orchestrator.signal("s-1", "approval", message_id="m-2") is Delivery.LATE
        with pytest.raises(SagaNotFound):
            await orchestrator.signal("nobody", "approval")
        with pytest.raises(InvalidInput, match="payload of signal"):
            await orchestrator.signal("s-1", "approval", object())
        with pytest.raises(InvalidInput, match="message id"):
            await orchestrator.signal("s-1", "approval", message_id="a b")


async def test_a_signal_that_does_not_come_in_time(world):
    fails, goes_on = waits(timeout=60), waits(timeout=60, on_timeout="continue")
    async with world.orchestrator(fails) as orchestrator:
        saga = await orchestrator.run(fails)
        assert (state_of(saga), saga.error.message) == ("failed compensated", "no signal 'approval' within 60 s")
        assert world.time == pytest.approx(60, abs=0.01)
    async with world.orchestrator(goes_on) as orchestrator:
        saga = await orchestrator.run(goes_on)
        assert (state_of(saga), saga.results["approval"]) == ("completed", None)


async def test_an_abort_ends_the_waiting(world):
    definition = waits()
    async with world.orchestrator(definition) as orchestrator:
        await orchestrator.start(definition, saga_id="s-1")
        await asyncio.sleep(10)
        await orchestrator.abort("s-1", "not wanted")
        assert state_of(await orchestrator.wait("s-1")) == "failed aborted"


# --- replies ---


def asks(did, **options):
    async def ask(data, ctx: StepContext):
        did(f"ask {ctx.attempt}")

    async def withdraw(data, result):
        did(f"withdraw {result}")

    options.setdefault("compensation", withdraw)
    return one_step(ask, awaits_reply=True, **options)


async def test_a_step_waits_for_its_reply(did, begun):
    async with begun(asks(did)) as orchestrator:
        saga = await orchestrator.get("s-1")
        assert (saga.waiting_for.kind, saga.waiting_for.step, saga.waiting_for.attempt) == ("reply", "work", 1)
        assert await orchestrator.complete_step("s-1", "work", {"price": 7}) is Delivery.ACCEPTED
        assert (await orchestrator.wait("s-1")).results == {"work": {"price": 7}}
        assert await orchestrator.complete_step("s-1", "work", {"price": 8}) is Delivery.LATE
        assert did.names == ["ask 1"]


async def test_a_reply_can_say_no_or_not_now(did, begun):
    async with begun(asks(did)) as orchestrator:
        assert await orchestrator.fail_step("s-1", "work", OSError("busy"), retryable=True) is Delivery.ACCEPTED
        await asyncio.sleep(5)
        assert did.names == ["ask 1", "ask 2"]
        assert await orchestrator.fail_step("s-1", "work", "sold out", attempt=1) is Delivery.LATE
        assert await orchestrator.fail_step("s-1", "work", "sold out", attempt=2) is Delivery.ACCEPTED
        saga = await orchestrator.wait("s-1")
        assert (state_of(saga), saga.error.type, saga.error.message) == ("failed compensated", "Rejected", "sold out")
        assert did.names == ["ask 1", "ask 2"]  # nothing to withdraw: it certainly did not happen


async def test_a_reply_that_comes_before_the_call_has_returned_counts(world, did):
    async def ask(data, ctx: StepContext):
        did("ask")
        assert await orchestrator.complete_step(ctx.saga_id, "work", "fast") is Delivery.ACCEPTED
        await asyncio.sleep(5)
        raise OSError("the line broke after they had answered")

    definition = one_step(ask, awaits_reply=True)
    async with world.orchestrator(definition) as orchestrator:
        saga = await orchestrator.run(definition)
        assert (state_of(saga), saga.results) == ("completed", {"work": "fast"})
        assert did.names == ["ask"]


async def test_a_reply_that_does_not_come_leaves_the_outcome_open(world, did, begun):
    async with begun(asks(did, timeout=60)) as orchestrator:
        saga = await orchestrator.wait("s-1")
        assert state_of(saga) == "failed compensated"
        assert did.names == ["ask 1", "ask 2", "ask 3", "withdraw None"]
        assert world.time == pytest.approx(60 + 1 + 60 + 2 + 60, abs=0.1)
        assert await orchestrator.complete_step("s-1", "work") is Delivery.LATE


async def test_replies_to_the_wrong_one(did, begun):
    async with begun(waits()) as orchestrator:
        assert await orchestrator.complete_step("s-1", "nothing") is Delivery.UNEXPECTED
        assert await orchestrator.complete_step("s-1", "first") is Delivery.UNEXPECTED  # it awaits no reply
        assert await orchestrator.complete_step("s-1", "first", compensation=True) is Delivery.UNEXPECTED
        with pytest.raises(SagaNotFound):
            await orchestrator.complete_step("nobody", "first")
        with pytest.raises(InvalidInput, match="result of step 'first'"):
            await orchestrator.complete_step("s-1", "first", object())


async def test_the_same_reply_twice_counts_once(did, begun):
    async with begun(asks(did)) as orchestrator:
        await orchestrator.fail_step("s-1", "work", "busy", retryable=True, message_id="m-1")
        await asyncio.sleep(5)
        assert (
            await orchestrator.fail_step("s-1", "work", "busy", retryable=True, message_id="m-1") is Delivery.DUPLICATE
        )
        assert await orchestrator.complete_step("s-1", "work", message_id="m-2") is Delivery.ACCEPTED
        assert await orchestrator.complete_step("s-1", "work", message_id="m-2") is Delivery.DUPLICATE


async def test_a_call_is_not_repeated_while_its_reply_is_awaited(world, did):
    definition = asks(did)
    one = await world.open("one", definition)
    await one.ask(lambda to: to.start(definition, saga_id="s-1"))
    await asyncio.sleep(5)
    one.kill()
    async with world.orchestrator(definition) as two:
        await asyncio.sleep(100)
        await two.complete_step("s-1", "work", 1)
        assert state_of(await two.wait("s-1")) == "completed"
    assert did.names == ["ask 1"]


async def test_a_compensation_can_await_its_reply_too(world, did):
    async def withdraw(data, result, ctx: StepContext):
        did(f"withdraw {ctx.attempt}")

    definition = SagaDefinition(
        name="back",
        retry=NEVER,
        compensation_retry=EXACT,
        steps=[
            Step("ask", lambda data: None, compensation=Compensation(withdraw, awaits_reply=True, timeout=60)),
            Step("bad", lambda data: 1 / 0, compensatable=False),
        ],
    )
    async with world.orchestrator(definition) as orchestrator:
        await orchestrator.start(definition, saga_id="s-1")
        await asyncio.sleep(61.5)  # the first reply does not come
        assert did.names == ["withdraw 1", "withdraw 2"]
        saga = await orchestrator.get("s-1")
        assert (saga.state.value, saga.waiting_for.kind) == ("compensating", "reply")
        assert await orchestrator.complete_step("s-1", "ask") is Delivery.UNEXPECTED  # the action awaits none
        assert await orchestrator.complete_step("s-1", "ask", compensation=True, attempt=1) is Delivery.LATE
        assert await orchestrator.complete_step("s-1", "ask", compensation=True) is Delivery.ACCEPTED
        assert state_of(await orchestrator.wait("s-1")) == "failed compensated"


# --- sleeps ---


async def test_a_sleep_survives_restarts_and_wakes_at_its_time(world, did):
    definition = SagaDefinition(
        name="naps", steps=[Sleep("nap", 3600), Step("work", lambda data: did("work"), compensatable=False)]
    )
    for n in range(3):
        async with world.orchestrator(definition) as orchestrator:
            await orchestrator.start(definition, saga_id="s-1")
            await asyncio.sleep(100 if n else 1)
    async with world.orchestrator(definition) as orchestrator:
        saga = await orchestrator.wait("s-1")
        assert (state_of(saga), saga.results["nap"]) == ("completed", None)
    assert did.entries == [("work", pytest.approx(3600, abs=0.01))]
    assert types(await world.store.events("s-1")).count("WaitStarted") == 1
