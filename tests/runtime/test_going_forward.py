"""From step to step: fallbacks, the pivot, the deadline, branches, conditions."""

import asyncio

import pytest

from sagafsm import Parallel, Rejected, SagaDefinition, SagaState, Sequence, Step, StepContext
from tests.runtime.steps import failing, one_step, run
from tests.runtime.world import EXACT, state_of

# --- fallback ---


async def test_a_fallback_is_tried_when_the_action_certainly_failed(world, did):
    async def backup(data, ctx: StepContext):
        did(f"backup {ctx.via} {ctx.attempt} {ctx.cause.message}")
        assert ctx.action_key != ctx.idempotency_key
        return "by the backup"

    saga, _ = await run(world, one_step(failing(did, Rejected("no funds")), fallback=backup))
    assert did.names == ["work 1", "backup fallback 2 no funds"]
    assert (saga.steps["work"].via, saga.results["work"]) == ("fallback", "by the backup")


async def test_no_fallback_while_the_outcome_is_unknown(world, did):
    saga, _ = await run(world, one_step(failing(did, *[TimeoutError()] * 3), fallback=failing(did, name="backup")))
    assert did.count("backup 1") == 0
    assert state_of(saga) == "failed compensated"


# --- pivot and forward recovery ---


def with_pivot(did, last, **options):
    return SagaDefinition(
        name="pivoted",
        retry=EXACT,
        steps=[
            Step("reserve", failing(did, name="reserve"), compensation=lambda data, result: did("release")),
            Step("ship", failing(did, name="ship"), pivot=True),
            Step("confirm", last, **options),
        ],
    )


async def test_after_the_pivot_nothing_is_undone(world, did):
    saga, _ = await run(world, with_pivot(did, failing(did, *[OSError()] * 3, name="confirm")))
    assert state_of(saga) == "pending stuck"
    assert "after the pivot" in saga.stuck_reason
    assert did.names[-1] == "confirm 3"


async def test_a_pivot_that_fails_turns_the_saga_back(world, did):
    definition = SagaDefinition(
        name="pivoted",
        steps=[
            Step("reserve", failing(did, name="reserve"), compensation=lambda data, result: did("release")),
            Step("ship", failing(did, Rejected("no"), name="ship"), pivot=True),
        ],
    )
    saga, _ = await run(world, definition)
    assert (state_of(saga), did.names) == ("failed compensated", ["reserve 1", "ship 1", "release"])


async def test_a_pivot_of_unknown_outcome_waits_for_a_person(world, did):
    definition = SagaDefinition(name="pivoted", steps=[Step("ship", failing(did, *[TimeoutError()] * 3), pivot=True)])
    saga, _ = await run(world, definition)
    assert state_of(saga) == "pending stuck"


# --- deadline ---


async def test_a_deadline_cuts_what_runs_and_turns_back(world, did):
    async def slow(data):
        try:
            await asyncio.sleep(1000)
        finally:
            did("cut")

    definition = SagaDefinition(
        name="late",
        deadline=60,
        steps=[
            Step("first", failing(did, name="first"), compensation=lambda data, result: did("undo first")),
            Step("slow", slow, compensation=lambda data, result: did(f"undo slow {result}")),
        ],
    )
    saga, _ = await run(world, definition)
    assert (state_of(saga), saga.error.type) == ("failed compensated", "DeadlineExceeded")
    assert sorted(did.names) == sorted(["first 1", "cut", "undo slow None", "undo first"])
    assert did.times[-1] == pytest.approx(60, abs=0.01)


# --- branches and conditions ---


async def test_branches_run_at_once_and_what_follows_waits_for_all(world, did):
    def takes(name, seconds):
        async def work(data):
            await asyncio.sleep(seconds)
            did(name)

        return Step(name, work, compensatable=False)

    definition = SagaDefinition(
        name="branches",
        steps=[Parallel(takes("a", 3), Sequence(takes("b", 1), takes("c", 1))), takes("d", 1)],
    )
    await run(world, definition)
    assert did.entries == [("b", 1), ("c", 2), ("a", 3), ("d", 4)]


async def test_after_a_failure_siblings_end_and_then_everything_is_undone_in_reverse(world, did):
    def branch(name, seconds, error=None):
        async def work(data):
            await asyncio.sleep(seconds)
            did(name)
            if error:
                raise error

        return Step(name, work, compensation=lambda data, result: did(f"undo {name}"))

    definition = SagaDefinition(
        name="branches",
        steps=[
            Parallel(branch("slow", 9), branch("quick", 1), branch("bad", 2, Rejected("no"))),
            branch("never", 1),
        ],
    )
    saga, _ = await run(world, definition)
    assert did.names == ["quick", "bad", "slow", "undo slow", "undo quick"]
    assert saga.steps["never"].state.value == "waiting"


async def test_a_condition_that_is_false_skips_the_step(world, did):
    definition = SagaDefinition(
        name="maybe",
        steps=[
            Step("gift", failing(did, name="gift"), compensatable=False, when=lambda data: data["gift"]),
            Step("ship", lambda data, gift: did(f"ship {gift}"), compensatable=False),
        ],
    )
    saga, _ = await run(world, definition, {"gift": False})
    assert (did.names, saga.results) == (["ship None"], {"gift": None, "ship": None})
    assert saga.steps["gift"].state.value == "skipped"


async def test_a_condition_that_raises_is_a_failure_of_its_step(world, did):
    definition = one_step(failing(did), when=lambda data: data["missing"])
    saga, _ = await run(world, definition, {})
    assert (saga.state, saga.error.type, did.names) == (SagaState.FAILED, "KeyError", [])
