"""One attempt and the next: retries, timeouts, what a step is given, outcomes that are open, probes."""

import asyncio

import attrs
import pytest

from sagafsm import (
    Probe,
    Rejected,
    RetryPolicy,
    Saga,
    SagaDefinition,
    Settings,
    Step,
    StepContext,
    Unknown,
    step,
)
from tests.runtime.steps import failing, one_step, run, undo
from tests.runtime.world import EXACT, state_of, types

# --- retries ---


async def test_a_failure_is_tried_again_after_a_stored_backoff(world, did):
    saga, history = await run(world, one_step(failing(did, OSError("busy"), OSError("busy"), result=7)))
    assert saga.results == {"work": 7}
    assert did.names == ["work 1", "work 2", "work 3"]
    assert did.times == pytest.approx([0, 1, 3], abs=0.01)
    retries = [event.data["retry_at"] - event.at for event in history if event.type == "AttemptFailed"]
    assert retries == pytest.approx([1, 2])


async def test_max_attempts_is_the_number_of_calls_and_nothing_waits_after_the_last(world, did):
    saga, _ = await run(world, one_step(failing(did, *[OSError("busy")] * 9)))
    assert did.count("work 3") == 1
    assert len(did.names) == 3
    assert world.time == pytest.approx(3, abs=0.01)
    assert state_of(saga) == "failed compensated"
    assert (saga.steps["work"].state.value, saga.steps["work"].attempts) == ("failed", 3)
    assert (saga.error.type, saga.error.message, saga.error.step) == ("OSError", "busy", "work")


async def test_a_backoff_longer_than_the_poll_interval_holds_no_task(world, did):
    policy = RetryPolicy(max_attempts=2, initial_interval=3600, maximum_interval=3600, jitter=0)
    definition = one_step(failing(did, OSError("busy")), retry=policy)
    async with world.orchestrator(definition) as orchestrator:
        idle = len(asyncio.all_tasks())
        handle = await orchestrator.start(definition)
        await asyncio.sleep(10)
        saga = await orchestrator.get(handle.saga_id)
        assert (saga.waiting_for.kind, saga.steps["work"].state.value) == ("backoff", "running")
        assert len(asyncio.all_tasks()) == idle
        assert orchestrator._engine.drivers == {}
        await handle.result()
        assert did.times == pytest.approx([0, 3600], abs=0.01)


async def test_a_rejection_is_not_tried_again(world, did):
    saga, _ = await run(world, one_step(failing(did, Rejected("card declined"))))
    assert did.names == ["work 1"]
    assert (saga.outcome, saga.error.type) == ("compensated", "Rejected")


async def test_a_type_listed_as_not_retryable_is_a_rejection(world, did):
    policy = RetryPolicy(max_attempts=9, non_retryable=(KeyError,))
    await run(world, one_step(failing(did, KeyError("x")), retry=policy))
    assert did.names == ["work 1"]


@pytest.mark.parametrize(
    ("own", "saga_wide", "orchestrators", "settings", "calls"),
    [(2, 4, 5, 6, 2), (None, 4, 5, 6, 4), (None, None, 5, 6, 5), (None, None, None, 6, 6), (None, None, None, None, 3)],
)
async def test_the_nearest_policy_wins(world, did, own, saga_wide, orchestrators, settings, calls):
    def policy(attempts):
        return None if attempts is None else RetryPolicy(max_attempts=attempts, initial_interval=0)

    action = failing(did, *[OSError()] * 99)
    definition = SagaDefinition(
        name="one", steps=[Step("work", action, compensation=undo, retry=policy(own))], retry=policy(saga_wide)
    )
    options = {"retry": policy(orchestrators)}
    if settings is not None:
        options["settings"] = Settings(retry_max_attempts=settings)
    await run(world, definition, **options)
    assert len(did.names) == calls


# --- what a step is given ---


async def test_a_step_gets_its_input_afresh_and_the_results_by_name(world):
    @attrs.define
    class Basket:
        items: list[str]

    seen = []

    class Shop(Saga[Basket]):
        retry = EXACT

        @step(compensatable=False)
        async def pack(self, basket: Basket, ctx: StepContext) -> list[str]:
            basket.items.append("changed")
            if ctx.attempt == 1:
                raise OSError
            return basket.items

        @step(compensatable=False)
        async def ship(self, basket: Basket, pack: list[str], ctx: StepContext) -> None:
            seen.append((basket.items, pack, dict(ctx.results)))

    await run(world, Shop.definition, Basket(["a"]))
    assert seen == [(["a"], ["a", "changed"], {"pack": ["a", "changed"]})]


async def test_the_context_tells_which_call_this_is(world):
    contexts = []

    async def work(data, ctx: StepContext):
        contexts.append(ctx)
        ctx.log.info("seen")
        if ctx.attempt < 3:
            raise OSError

    await run(world, one_step(work))
    assert [ctx.attempt for ctx in contexts] == [1, 2, 3]
    assert len({ctx.idempotency_key for ctx in contexts}) == 1
    ctx = contexts[0]
    assert (ctx.saga_id, ctx.saga_type, ctx.step, ctx.correlation_id, ctx.via) == (
        "s-1",
        "one",
        "work",
        "s-1",
        "action",
    )
    assert ctx.action_key == ctx.idempotency_key
    assert (ctx.cause, ctx.deadline) == (None, None)


# --- timeouts and open outcomes ---


async def test_a_timeout_leaves_the_outcome_open_and_keeps_the_key(world, did):
    keys = []

    async def work(data, ctx: StepContext):
        keys.append(ctx.idempotency_key)
        if ctx.attempt == 1:
            await asyncio.sleep(100)
        return "at last"

    saga, history = await run(world, one_step(work, timeout=5))
    assert saga.results == {"work": "at last"}
    assert len(set(keys)) == 1
    assert world.time == pytest.approx(5 + 1, abs=0.01)
    assert next(event for event in history if event.type == "AttemptFailed").data["open"] is True


@pytest.mark.parametrize("error", [Unknown("who knows"), ConnectionResetError("mid-air"), TimeoutError("slow")])
async def test_an_open_outcome_that_stays_open_is_compensated(world, did, error):
    async def take_back(data, result, ctx: StepContext):
        did(f"undo {result} {ctx.action_key == key}")

    async def work(data, ctx: StepContext):
        nonlocal key
        key = ctx.idempotency_key
        raise error

    key = ""
    saga, history = await run(world, one_step(work, compensation=take_back))
    assert did.names == ["undo None True"]
    assert types(history)[-5:] == [
        "StepUnknown",
        "CompensationStarted",
        "CompensationAttemptStarted",
        "StepCompensated",
        "SagaFailed",
    ]
    assert saga.steps["work"].state.value == "compensated"


async def test_a_body_that_ignores_its_cancellation_is_given_a_grace_period(world, did):
    async def work(data, ctx: StepContext):
        did(f"begin {ctx.attempt}")
        if ctx.attempt == 1:
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                await asyncio.sleep(3)  # cleans up for a while, and swallows the cancellation
        did(f"end {ctx.attempt}")

    await run(world, one_step(work, timeout=5))
    assert did.names == ["begin 1", "end 1", "begin 2", "end 2"]
    assert did.times == pytest.approx([0, 8, 8, 8], abs=0.01)


@pytest.mark.parametrize("backoff", [0, 1, 2, 4])
async def test_a_body_that_never_ends_holds_the_retry_up_for_the_grace_period_and_no_longer(world, did, backoff):
    """A backoff longer than the poll interval once forgot the body, and two ran side by side."""

    async def work(data, ctx: StepContext):
        did(f"begin {ctx.attempt}")
        while ctx.attempt == 1:
            try:
                await asyncio.sleep(100)
                break
            except asyncio.CancelledError:
                continue

    policy = RetryPolicy(max_attempts=2, initial_interval=backoff, jitter=0)
    await run(world, one_step(work, timeout=5, retry=policy), settings=Settings(grace_period=3))
    assert did.names == ["begin 1", "begin 2"]
    assert did.times[1] + 0.01 >= 5 + 3
    assert did.times[1] <= 5 + backoff + 3 + 0.01


async def test_a_call_that_must_not_be_repeated_is_unknown_at_once(world, did):
    saga, _ = await run(world, one_step(failing(did, TimeoutError()), idempotent=False))
    assert did.names == ["work 1"]
    assert saga.steps["work"].state.value == "compensated"


async def test_an_unknown_outcome_can_stop_for_a_person(world, did):
    saga, _ = await run(world, one_step(failing(did, *[TimeoutError()] * 3), on_unknown="stick"))
    assert state_of(saga) == "pending stuck"
    assert "the outcome of step work is unknown" in saga.stuck_reason


@pytest.mark.parametrize(
    ("answers", "state", "asked"),
    [
        ([Probe.HAPPENED("found")], "completed", 1),
        ([Probe.DID_NOT_HAPPEN], "failed compensated", 1),
        ([Probe.STILL_UNKNOWN, OSError(), Probe.HAPPENED("found")], "completed", 3),
        ([Probe.STILL_UNKNOWN] * 3, "pending stuck", 3),
    ],
)
async def test_a_probe_is_asked_what_became_of_it(world, did, answers, state, asked):
    def probe(data, ctx: StepContext):
        did("probe")
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    action = failing(did, *[TimeoutError()] * 3)
    saga, _ = await run(world, one_step(action, on_unknown="probe", probe=probe))
    assert (state_of(saga), did.count("probe")) == (state, asked)
    if state == "completed":
        assert saga.results == {"work": "found"}


async def test_a_probe_that_cannot_tell_does_not_hide_what_left_the_outcome_open(world, did):
    action = failing(did, *[TimeoutError("no answer from the bank")] * 3)
    saga, _ = await run(world, one_step(action, on_unknown="probe", probe=lambda data: Probe.STILL_UNKNOWN))
    assert (saga.error.type, saga.error.message) == ("TimeoutError", "no answer from the bank")
    assert "the probe cannot tell yet" in saga.stuck_reason


async def test_a_result_that_breaks_when_it_is_looked_at_happened_all_the_same(world, did):
    """The error was no one's that was expected: the step was called ten times more."""

    @attrs.define
    class Half:
        sku: str = attrs.field(init=False)

    async def work(data):
        did("work")
        return Half()

    saga, history = await run(world, one_step(work, on_unknown="stick"))
    assert state_of(saga) == "pending stuck"
    assert did.names == ["work"]
    assert history[-2].data["error"]["type"] == "ResultNotStorable"


async def test_a_result_that_cannot_be_stored_happened_all_the_same(world, did):
    async def work(data):
        did("work")
        return object()

    async def take_back(data, result):
        did(f"undo {result}")

    saga, _ = await run(world, one_step(work, compensation=take_back))
    assert did.names == ["work", "undo None"]
    assert (saga.outcome, saga.error.type) == ("compensated", "ResultNotStorable")


async def test_a_result_over_the_limit_cannot_be_stored(world):
    async def work(data):
        return "x" * 1000

    saga, _ = await run(world, one_step(work), settings=Settings(payload_limit=500))
    assert saga.error.type == "ResultNotStorable"
    assert "500" in saga.error.message
