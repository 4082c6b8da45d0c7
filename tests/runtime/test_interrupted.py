"""A call that is cut off from outside: it is called again with the same key, and nothing counts it as a failure."""

import asyncio

import pytest

from sagafsm import RetryPolicy, SagaDefinition, Step, StepContext
from tests.runtime.steps import one_step, run, undo
from tests.runtime.world import EXACT, state_of, types


class OutOfThisWorld(BaseException):
    """What is no Exception is no failure of a step."""


def cut_off(did, error, times=1, *, sync=False):
    """An action whose first calls are cut off."""
    keys = set()

    def body(ctx):
        did(f"work {ctx.attempt}")
        keys.add(ctx.idempotency_key)
        assert len(keys) == 1
        if len(did.names) <= times:
            raise error

    if sync:
        return lambda data, ctx: body(ctx)

    async def work(data, ctx: StepContext):
        body(ctx)

    return work


@pytest.mark.parametrize("worker", [True, False])
@pytest.mark.parametrize("timeout", [None, 30])
@pytest.mark.parametrize("error", [asyncio.CancelledError, OutOfThisWorld, GeneratorExit])
async def test_a_call_that_is_cut_off_is_made_again(world, did, error, timeout, worker):
    """Without a worker nobody once took such a saga up again, and ``execute`` waited for ever."""
    definition = one_step(cut_off(did, error), timeout=timeout)
    async with world.orchestrator(definition, worker=worker) as orchestrator:
        saga = await orchestrator.run(definition, saga_id="s-1", timeout=60)
        assert state_of(saga) == "completed"
        assert did.names == ["work 1", "work 1"]  # it uses up no attempt
        assert types(await orchestrator.history("s-1")) == [
            "SagaStarted",
            "AttemptStarted",
            "AttemptStarted",
            "StepSucceeded",
            "SagaCompleted",
        ]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_a_plain_function_that_ends_the_process_interrupts_its_step(world, did, error):
    saga, _ = await run(world, one_step(cut_off(did, error, sync=True)))
    assert state_of(saga) == "completed"
    assert did.names == ["work 1", "work 1"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_ctrl_c_in_an_async_step_ends_the_process_and_the_saga_can_be_resumed(error, tmp_path):
    from sagafsm import Orchestrator
    from sagafsm.runtime.memory import MemoryStore
    from sagafsm.testing import VirtualLoop

    store, calls = MemoryStore(), []

    async def work(data, ctx: StepContext):
        calls.append(ctx.idempotency_key)
        if len(calls) == 1:
            raise error

    definition = one_step(work)

    async def process():
        async with Orchestrator(store, sagas=[definition], lease=1e9) as orchestrator:
            return await orchestrator.run(definition, saga_id="s-1")

    with pytest.raises(error), asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(process())
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        saga = runner.run(process())
    assert state_of(saga) == "completed"
    assert len(calls) == 2
    assert len(set(calls)) == 1


async def test_interruptions_have_a_limit(world, did):
    policy = RetryPolicy(max_attempts=3, max_interruptions=4, initial_interval=0)
    saga, history = await run(world, one_step(cut_off(did, asyncio.CancelledError, times=99), retry=policy))
    assert len(did.names) == 1 + 4
    assert "StepUnknown" in types(history)
    assert state_of(saga) == "failed compensated"


async def test_a_call_that_must_not_be_repeated_is_unknown_when_cut_off(world, did):
    _, history = await run(world, one_step(cut_off(did, asyncio.CancelledError), idempotent=False))
    assert did.names == ["work 1"]
    assert "StepUnknown" in types(history)


async def test_a_compensation_that_is_cut_off_is_made_again(world, did):
    async def take_back(data, result, ctx: StepContext):
        did(f"undo {ctx.attempt}")
        if did.count("undo 1") == 1:
            raise asyncio.CancelledError

    async def fails(data):
        raise OSError

    definition = SagaDefinition(
        name="two",
        retry=RetryPolicy.none(),
        steps=[
            Step("work", lambda data: None, compensation=take_back),
            Step("fails", fails, compensation=undo),
        ],
    )
    saga, _ = await run(world, definition)
    assert state_of(saga) == "failed compensated"
    assert did.names == ["undo 1", "undo 1"]


async def test_a_probe_that_is_cut_off_is_asked_again(world, did):
    from sagafsm import Probe

    def probe(data, ctx: StepContext):
        did("probe")
        if did.count("probe") == 1:
            raise SystemExit
        return Probe.HAPPENED

    async def work(data):
        raise TimeoutError

    definition = one_step(work, on_unknown="probe", probe=probe, retry=RetryPolicy.none())
    saga, _ = await run(world, definition)
    assert state_of(saga) == "completed"
    assert did.names == ["probe", "probe"]


async def test_while_one_branch_is_cut_off_the_other_is_not_lost(world, did):
    from sagafsm import Parallel

    async def slow(data):
        did("slow")
        await asyncio.sleep(5)

    definition = SagaDefinition(
        name="branches",
        retry=EXACT,
        steps=[
            Parallel(
                Step("cut", cut_off(did, asyncio.CancelledError), compensation=undo),
                Step("slow", slow, compensation=undo),
            )
        ],
    )
    saga, _ = await run(world, definition)
    assert state_of(saga) == "completed"
    assert did.count("work 1") == 2
