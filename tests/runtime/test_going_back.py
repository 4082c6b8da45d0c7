"""Compensations: what they are given, their order, their retries, stuck ones, and what a person can do about them."""

import asyncio

import pytest

from sagafsm import (
    Compensation,
    InvalidInput,
    Parallel,
    Rejected,
    RetryPolicy,
    SagaDefinition,
    Sleep,
    Step,
    StepContext,
)
from tests.runtime.steps import failing
from tests.runtime.world import EXACT, NEVER, state_of, types


def step(did, name, *errors, **options):
    """A step whose compensation fails so often before it succeeds."""
    left = list(errors)

    async def work(data):
        did(name)
        return f"{name}!"

    async def take_back(data, result):
        did(f"undo {name}")
        if left:
            raise left.pop(0)

    retry = options.pop("compensation_retry", EXACT)
    return Step(name, work, compensation=Compensation(take_back, retry=retry), **options)


def bad(error=None):
    async def work(data):
        raise error or Rejected("no")

    return Step("bad", work, compensatable=False, retry=NEVER)


def saga_of(*steps, **options):
    return SagaDefinition(name="back", steps=list(steps), **options)


async def stuck(orchestrator, definition):
    saga = await orchestrator.run(definition, saga_id="s-1")
    assert saga.stuck
    return saga


async def test_a_compensation_gets_the_result_the_cause_and_both_keys(world):
    keys, seen = {}, []

    async def reserve(data, ctx: StepContext):
        keys["action"] = ctx.idempotency_key
        return {"id": 7}

    async def release(data, reservation, ctx: StepContext):
        seen.append((data, reservation, ctx.cause.message, ctx.action_key == keys["action"], ctx.attempt))
        assert ctx.idempotency_key != ctx.action_key

    definition = saga_of(Step("reserve", reserve, compensation=release), bad(Rejected("no funds")))
    async with world.orchestrator(definition) as orchestrator:
        await orchestrator.run(definition, {"n": 1})
    assert seen == [({"n": 1}, {"id": 7}, "no funds", True, 1)]


async def test_what_was_done_is_undone_in_reverse_one_at_a_time(world, did):
    definition = saga_of(step(did, "a"), Parallel(step(did, "b"), step(did, "c")), step(did, "d"), bad())
    async with world.orchestrator(definition) as orchestrator:
        await orchestrator.run(definition)
    done = did.names[:4]
    assert did.names[4:] == [f"undo {name}" for name in reversed(done)]


async def test_independent_steps_are_undone_at_once_where_that_is_wanted(world, did):
    async def slowly(data, result):
        did("begin")
        await asyncio.sleep(10)

    branches = Parallel(*(Step(f"s{n}", lambda data: None, compensation=slowly) for n in range(3)))
    definition = saga_of(branches, bad(), parallel_compensation=True)
    async with world.orchestrator(definition) as orchestrator:
        await orchestrator.run(definition)
    assert did.times == pytest.approx([0, 0, 0], abs=0.01)
    assert world.time == pytest.approx(10, abs=0.01)


async def test_a_compensation_is_tried_again_after_a_stored_backoff(world, did):
    definition = saga_of(step(did, "a", OSError(), TimeoutError()), bad())
    async with world.orchestrator(definition) as orchestrator:
        saga = await orchestrator.run(definition)
        assert state_of(saga) == "failed compensated"
        assert did.times[1:] == pytest.approx([0, 1, 3], abs=0.01)
        assert saga.steps["a"].compensation_attempts == 3


async def test_ten_calls_are_the_default(world, did):
    definition = saga_of(step(did, "a", *[OSError()] * 99, compensation_retry=None), bad())
    async with world.orchestrator(definition) as orchestrator:
        assert state_of(await orchestrator.run(definition)) == "compensating stuck"
    assert did.count("undo a") == 10


async def test_one_that_is_used_up_lets_the_others_run_and_then_waits_for_a_person(world, did):
    definition = saga_of(step(did, "a"), step(did, "b", *[OSError("busy")] * 3), step(did, "c"), bad())
    async with world.orchestrator(definition) as orchestrator:
        saga = await stuck(orchestrator, definition)
        assert state_of(saga) == "compensating stuck"
        assert did.names == ["a", "b", "c", "undo c", "undo b", "undo b", "undo b", "undo a"]
        assert {name: view.state.value for name, view in saga.steps.items()} == {
            "a": "compensated",
            "b": "compensation_failed",
            "c": "compensated",
            "bad": "failed",
        }
        assert (saga.steps["b"].compensation_error.message, saga.error.message) == ("busy", "no")
        assert "step b" in saga.stuck_reason
        assert [saga.saga_id async for saga in orchestrator.find(stuck=True)] == ["s-1"]
        await asyncio.sleep(10_000)
        assert len(did.names) == 8  # nothing happens by itself


async def test_it_can_stop_at_once_instead(world, did):
    definition = saga_of(step(did, "a"), step(did, "b", Rejected("gone")), bad(), on_compensation_failure="stick")
    async with world.orchestrator(definition) as orchestrator:
        await stuck(orchestrator, definition)
        assert did.names == ["a", "b", "undo b"]
        await orchestrator.retry("s-1", actor="eve", reason="fixed")
        assert state_of(await orchestrator.wait("s-1")) == "failed compensated"
        assert did.names == ["a", "b", "undo b", "undo b", "undo a"]


async def test_a_rejection_ends_a_compensation_at_once(world, did):
    definition = saga_of(step(did, "a", Rejected("account closed")), bad())
    async with world.orchestrator(definition) as orchestrator:
        await stuck(orchestrator, definition)
    assert did.count("undo a") == 1


async def test_retry_grants_new_attempts_to_what_is_stuck_and_to_nothing_else(world, did):
    definition = saga_of(step(did, "a"), step(did, "b", *[OSError()] * 4), bad())
    async with world.orchestrator(definition) as orchestrator:
        await stuck(orchestrator, definition)
        answer = await orchestrator.retry("s-1", actor="eve", reason="the bank is back")
        assert not answer.stuck
        assert state_of(await orchestrator.wait("s-1")) == "failed compensated"
        assert (did.count("undo b"), did.count("undo a"), did.count("a")) == (5, 1, 1)
        event = next(event for event in await orchestrator.history("s-1") if event.type == "SagaUnstuck")
        assert (event.data["actor"], event.data["reason"]) == ("eve", "the bank is back")


async def test_skip_waives_a_stuck_compensation(world, did):
    definition = saga_of(step(did, "a", Rejected("gone")), step(did, "b", Rejected("gone")), bad())
    async with world.orchestrator(definition) as orchestrator:
        await stuck(orchestrator, definition)
        assert (await orchestrator.skip("s-1", "a", actor="eve", reason="paid in cash")).stuck  # b still is
        await orchestrator.skip("s-1", "b", actor="eve", reason="paid in cash")
        saga = await orchestrator.wait("s-1")
        assert (state_of(saga), saga.steps["a"].waived) == ("failed forced", True)
        await orchestrator.skip("s-1", "a", actor="eve", reason="once more")  # nothing changes
        assert types(await orchestrator.history("s-1")).count("CompensationWaived") == 2


async def test_what_cannot_be_skipped_or_retried_is_refused(world, did):
    definition = saga_of(step(did, "a", Rejected("gone")), bad())
    async with world.orchestrator(definition) as orchestrator:
        await stuck(orchestrator, definition)
        with pytest.raises(InvalidInput, match="has no step 'x'; it has: a, bad"):
            await orchestrator.skip("s-1", "x", actor="eve", reason="why")
        with pytest.raises(InvalidInput, match="is not stuck"):
            await orchestrator.skip("s-1", "bad", actor="eve", reason="why")
        for missing in ("actor", "reason"):
            arguments = {"actor": "eve", "reason": "why", missing: " "}
            with pytest.raises(InvalidInput, match=missing):
                await orchestrator.retry("s-1", **arguments)
            with pytest.raises(InvalidInput, match=missing):
                await orchestrator.skip("s-1", "a", **arguments)


async def test_retry_of_what_is_not_stuck_changes_nothing(world, did):
    definition = saga_of(step(did, "a"), Sleep("nap", 60))
    async with world.orchestrator(definition) as orchestrator:
        await orchestrator.start(definition, saga_id="s-1")
        await asyncio.sleep(1)
        before = await orchestrator.history("s-1")
        await orchestrator.retry("s-1", actor="eve", reason="impatient")
        assert len(await orchestrator.history("s-1")) == len(before)


async def test_after_the_pivot_retry_and_skip_go_forward(world, did):
    def saga(name):
        return SagaDefinition(
            name=name,
            retry=EXACT,
            steps=[
                Step("ship", lambda data: None, pivot=True),
                Step("confirm", failing(did, Rejected("mail is down"), name=f"{name} confirm")),
                Step("close", lambda data: did(f"{name} close")),
            ],
        )

    one, two = saga("one"), saga("two")
    async with world.orchestrator(one, two) as orchestrator:
        for definition in (one, two):
            assert state_of(await orchestrator.run(definition, saga_id=definition.name)) == "pending stuck"
        await orchestrator.retry("one", actor="eve", reason="mail is back")
        saga = await orchestrator.wait("one")
        assert (state_of(saga), did.names[-1]) == ("completed", "one close")
        await orchestrator.skip("two", "confirm", actor="eve", reason="told them by phone")
        saga = await orchestrator.wait("two")
        assert (state_of(saga), saga.results["confirm"], did.names[-1]) == ("completed", None, "two close")


async def test_a_step_before_the_pivot_cannot_be_passed_over(world):
    async def lost(data):
        raise TimeoutError

    definition = saga_of(Step("a", lost, compensation=lambda data, result: None, on_unknown="stick", retry=NEVER))
    async with world.orchestrator(definition) as orchestrator:
        await stuck(orchestrator, definition)
        with pytest.raises(InvalidInput, match="before the pivot"):
            await orchestrator.skip("s-1", "a", actor="eve", reason="why")
        await orchestrator.abort("s-1", "give up")
        assert state_of(await orchestrator.wait("s-1")) == "failed aborted"


async def test_only_what_is_due_is_undone(world, did):
    async def fails(data):
        raise Rejected("no")

    async def lost(data):
        raise TimeoutError

    def take_back(name):
        return lambda data, result: did(f"undo {name}")

    definition = saga_of(
        step(did, "done"),
        Step("skipped", fails, compensation=take_back("skipped"), when=lambda data: False),
        Step("not_undoable", lambda data: None, compensatable=False),
        Parallel(
            Step("lost", lost, compensation=take_back("lost"), retry=NEVER),
            Step("failed", fails, compensation=take_back("failed")),
            Step("asked", fails, compensation=take_back("asked"), compensate_failed=True),
        ),
        step(did, "never"),
    )
    async with world.orchestrator(definition) as orchestrator:
        await orchestrator.run(definition)
    assert sorted(did.names) == sorted(["done", "undo lost", "undo asked", "undo done"])
    assert did.names[-1] == "undo done"


async def test_a_fallback_is_undone_by_its_own_compensation(world, did):
    from sagafsm import Fallback

    def take_back(name):
        return lambda data, result: did(f"undo {name} {result}")

    async def refused(data):
        raise Rejected("no funds")

    definition = saga_of(
        Step(
            "charge",
            refused,
            compensation=take_back("card"),
            fallback=Fallback(lambda data: "backup", compensation=take_back("backup card")),
        ),
        bad(),
    )
    async with world.orchestrator(definition) as orchestrator:
        await orchestrator.run(definition)
    assert did.names == ["undo backup card backup"]


async def test_a_deadline_during_compensation_changes_nothing(world, did):
    policy = RetryPolicy(max_attempts=5, initial_interval=30, backoff_coefficient=1, jitter=0)
    definition = saga_of(step(did, "a", *[OSError()] * 4, compensation_retry=policy), bad(), deadline=60)
    async with world.orchestrator(definition) as orchestrator:
        saga = await orchestrator.run(definition)
        assert (state_of(saga), saga.error.message) == ("failed compensated", "no")
    assert world.time == pytest.approx(120, abs=0.1)
