"""What operators may ask: abort, cut, compensate, suspend, resume; what is refused; asking twice is fine."""

import asyncio

import pytest

from sagafsm import (
    InvalidInput,
    PastPivot,
    Probe,
    Rejected,
    SagaDefinition,
    SagaFinished,
    SagaState,
    Step,
    StepContext,
    WaitFor,
)
from tests.runtime.steps import failing, undo
from tests.runtime.world import EXACT, state_of, types


def takes(did, name, seconds, **options):
    """A step that takes so long, and its compensation."""

    async def work(data):
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            did(f"{name} cut")
            raise
        did(name)
        return name

    async def take_back(data, result):
        did(f"undo {name} of {result}")

    return Step(name, work, compensation=take_back, **options)


@pytest.fixture
def saga(did):
    return SagaDefinition(
        name="three", retry=EXACT, steps=[takes(did, "a", 10), takes(did, "b", 10), takes(did, "c", 10)]
    )


@pytest.fixture
async def orchestrator(world, saga):
    async with world.orchestrator(saga) as orchestrator:
        yield orchestrator


async def begun(orchestrator, saga, seconds):
    """A saga that has run so long."""
    handle = await orchestrator.start(saga, saga_id="s-1")
    await asyncio.sleep(seconds)
    return handle


# --- abort ---


async def test_an_abort_lets_the_running_call_end_and_undoes_everything(world, did, orchestrator, saga):
    await begun(orchestrator, saga, 15)
    answer = await orchestrator.abort("s-1", "changed their mind", actor="eve")
    assert answer.state is SagaState.PENDING  # the verb does not wait for the work
    finished = await orchestrator.wait("s-1")
    assert (state_of(finished), finished.error.type, finished.error.message) == (
        "failed aborted",
        "Aborted",
        "changed their mind",
    )
    assert did.names == ["a", "b", "undo b of b", "undo a of a"]
    asked = next(event for event in await orchestrator.history("s-1") if event.type == "AbortRequested")
    assert asked.data == {"reason": "changed their mind", "actor": "eve"}


@pytest.mark.parametrize(("step", "seconds"), [("a", 5), ("b", 15), ("c", 25)])
async def test_a_cut_cancels_the_running_call_whichever_step_it_is(world, did, orchestrator, saga, step, seconds):
    """Only the first step of a sequence was once cut; a later one ran on to its end."""
    await begun(orchestrator, saga, seconds)
    await orchestrator.abort("s-1", "stop", cut=True)
    finished = await orchestrator.wait("s-1")
    assert state_of(finished) == "failed aborted"
    assert world.time == pytest.approx(seconds, abs=0.01)
    at = did.names.index(f"{step} cut")
    assert did.names[at + 1] == f"undo {step} of None"
    assert finished.steps[step].error.type == "Cut"


async def test_a_cut_after_an_abort_does_cut(did, world, orchestrator, saga):
    await begun(orchestrator, saga, 5)
    await orchestrator.abort("s-1", "please stop")
    await orchestrator.abort("s-1", "stop now", cut=True)
    finished = await orchestrator.wait("s-1")
    assert (did.names, finished.error.message) == (["a cut", "undo a of None"], "stop now")
    assert world.time == pytest.approx(5, abs=0.01)


async def test_a_cut_at_the_instant_at_which_the_call_ends_loses_nothing(world, did, saga):
    """Whatever comes first in the log counts; the saga is neither lost nor undone halfway."""
    for instant in range(12):
        did.entries.clear()
        async with world.orchestrator(saga) as orchestrator:
            await orchestrator.start(saga, saga_id=f"s-{instant}")
            await asyncio.sleep(20)
            for _ in range(instant):
                await asyncio.sleep(0)
            await orchestrator.abort(f"s-{instant}", "stop", cut=True)
            finished = await orchestrator.wait(f"s-{instant}", timeout=60)
            assert state_of(finished) == "failed aborted"
            cut = [name for name in did.names if name.endswith(" cut")]
            assert did.names[-2:] in (["undo b of b", "undo a of a"], ["undo b of None", "undo a of a"])
            assert did.names[:2] == ["a", "b"] or cut == ["b cut"]
            assert did.names.count("undo c of None") == cut.count("c cut")
            await world.idle()
            assert orchestrator._engine.drivers == {}


async def test_a_cut_reaches_a_call_that_is_about_to_begin(world, did):
    """Its beginning is in the log, and a hook is being told of it: the call is then not made at all."""

    class Slow:
        async def on_transition(self, instance, event):
            if (event.type, event.step) == ("AttemptStarted", "b"):
                await asyncio.sleep(5)

    async def take_back(data, result):
        did("undo a begins")
        await asyncio.sleep(20)
        did("undo a ends")

    definition = SagaDefinition(
        name="two", steps=[Step("a", lambda data: None, compensation=take_back), takes(did, "b", 1)]
    )
    async with world.orchestrator(definition, hooks=[Slow()]) as orchestrator:
        await begun(orchestrator, definition, 2)
        await orchestrator.abort("s-1", "stop", cut=True)
        assert state_of(await orchestrator.wait("s-1", timeout=100)) == "failed aborted"
    assert did.names == ["undo b of None", "undo a begins", "undo a ends"]


async def test_a_compensation_waits_for_the_call_that_was_cut_to_be_gone(world, did):
    async def slow_to_stop(data):
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(3)
            did("gone")

    definition = SagaDefinition(
        name="r", steps=[Step("a", slow_to_stop, compensation=lambda data, result: did("undo"))]
    )
    async with world.orchestrator(definition) as orchestrator:
        await begun(orchestrator, definition, 5)
        await orchestrator.abort("s-1", "stop", cut=True)
        assert state_of(await orchestrator.wait("s-1", timeout=100)) == "failed aborted"
    assert did.entries == [("gone", 8), ("undo", 8)]


async def test_a_call_waits_a_while_for_the_one_that_a_reply_has_overtaken(world, did):
    """The compensation of a step once ran beside its action, which was still at work when the reply had come."""

    async def slow(data):
        await asyncio.sleep(8)
        did("done")

    steps = [
        Step("a", slow, awaits_reply=True, compensation=lambda data, result: did(f"undo {result}")),
        Step("b", failing(did, Rejected("no")), compensation=undo),
    ]
    definition = SagaDefinition(name="overtaken", steps=steps)
    async with world.orchestrator(definition) as orchestrator:
        await begun(orchestrator, definition, 5)
        await orchestrator.complete_step("s-1", "a", 7)
        assert state_of(await orchestrator.wait("s-1", timeout=100)) == "failed compensated"
    assert did.entries == [("work 1", 5), ("done", 8), ("undo 7", 8)]


async def test_a_cut_reaches_every_call_of_the_step_and_its_compensation_waits_for_all(world, did):
    """A reply says that it failed while the call is still at work; after a while a second one begins beside it."""

    async def slow_to_stop(data, ctx: StepContext):
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(4 if ctx.attempt == chosen else 1)
            did(f"{ctx.attempt} gone")

    for chosen in (1, 2):
        did.entries.clear()
        ask = Step("a", slow_to_stop, awaits_reply=True, retry=EXACT, compensation=lambda data, result: did("undo"))
        definition = SagaDefinition(name="asks", steps=[ask])
        async with world.orchestrator(definition) as orchestrator:
            began = world.time
            await orchestrator.start(definition, saga_id=f"s-{chosen}")
            await asyncio.sleep(5)
            await orchestrator.fail_step(f"s-{chosen}", "a", "no", retryable=True)
            await asyncio.sleep(10)
            await orchestrator.abort(f"s-{chosen}", "stop", cut=True)
            assert state_of(await orchestrator.wait(f"s-{chosen}", timeout=100)) == "failed aborted"
        done = [(name, at - began) for name, at in did.entries]
        assert done == [(f"{3 - chosen} gone", 16), (f"{chosen} gone", 19), ("undo", 19)]


async def test_an_abort_while_a_retry_is_waited_for_turns_back_at_once(world, did):
    async def fails(data):
        raise OSError

    definition = SagaDefinition(name="r", steps=[Step("work", fails, compensation=undo, retry=EXACT)])
    async with world.orchestrator(definition) as orchestrator:
        handle = await begun(orchestrator, definition, 0.5)
        await orchestrator.abort(handle.saga_id, "stop")
        assert state_of(await orchestrator.wait("s-1")) == "failed aborted"
        assert world.time == pytest.approx(0.5, abs=0.01)


async def test_an_abort_of_a_saga_that_was_only_created_ends_it(world, orchestrator, saga):
    await orchestrator.create(saga, saga_id="s-1")
    await orchestrator.abort("s-1", "not wanted")
    finished = await orchestrator.wait("s-1", timeout=60)
    assert state_of(finished) == "failed aborted"
    assert types(await orchestrator.history("s-1")) == [
        "SagaStarted",
        "AbortRequested",
        "CompensationStarted",
        "SagaFailed",
    ]


async def test_compensate_is_an_abort_with_another_outcome(did, orchestrator, saga):
    await begun(orchestrator, saga, 15)
    await orchestrator.compensate("s-1", "the customer cancelled")
    finished = await orchestrator.wait("s-1")
    assert (state_of(finished), finished.error.message) == ("failed compensated", "the customer cancelled")
    assert did.names[-1] == "undo a of a"


async def test_an_abort_that_undoes_nothing_waives_by_name(did, orchestrator, saga):
    await begun(orchestrator, saga, 15)
    with pytest.raises(InvalidInput, match="needs an actor"):
        await orchestrator.abort("s-1", "stop", compensate=False)
    await orchestrator.abort("s-1", "moved by hand", compensate=False, actor="eve")
    finished = await orchestrator.wait("s-1")
    assert state_of(finished) == "failed forced"
    waived = [event for event in await orchestrator.history("s-1") if event.type == "CompensationWaived"]
    assert [(event.step, event.data["actor"]) for event in waived] == [("b", "eve"), ("a", "eve")]
    assert not any(name.startswith("undo") for name in did.names)


async def test_asking_twice_changes_nothing(orchestrator, saga):
    await begun(orchestrator, saga, 15)
    for _ in range(3):
        await orchestrator.abort("s-1", "stop")
    await orchestrator.wait("s-1")
    failed = await orchestrator.abort("s-1", "stop")
    assert state_of(failed) == "failed aborted"
    assert state_of(await orchestrator.compensate("s-1", "stop")) == "failed aborted"
    assert types(await orchestrator.history("s-1")).count("AbortRequested") == 1


async def test_a_completed_saga_cannot_be_aborted(orchestrator, saga):
    await begun(orchestrator, saga, 40)
    with pytest.raises(SagaFinished, match="is completed"):
        await orchestrator.abort("s-1", "too late")
    with pytest.raises(SagaFinished):
        await orchestrator.compensate("s-1", "too late")


@pytest.mark.parametrize("reason", ["", "  ", None, "x" * 2001])
async def test_a_reason_must_say_something(orchestrator, saga, reason):
    await begun(orchestrator, saga, 1)
    with pytest.raises(InvalidInput, match="reason"):
        await orchestrator.abort("s-1", reason)
    with pytest.raises(InvalidInput, match="reason"):
        await orchestrator.suspend("s-1", actor="eve", reason=reason)


# --- the point of no return ---


async def test_no_abort_while_the_pivot_runs_and_after_it(world, did):
    definition = SagaDefinition(
        name="pivoted",
        retry=EXACT,
        steps=[
            takes(did, "a", 10),
            Step("pivot", takes(did, "pivot", 10).action, pivot=True),
            WaitFor("w", signal="w"),
        ],
    )
    async with world.orchestrator(definition) as orchestrator:
        await begun(orchestrator, definition, 15)
        with pytest.raises(PastPivot, match="'pivot' runs, or its outcome is unknown"):
            await orchestrator.abort("s-1", "stop")
        await asyncio.sleep(10)
        with pytest.raises(PastPivot, match="'pivot' has succeeded"):
            await orchestrator.abort("s-1", "stop", cut=True)
        assert types(await orchestrator.history("s-1")).count("AbortRequested") == 0


async def test_between_failed_attempts_of_the_pivot_an_abort_is_accepted(world, did):
    async def refused(data):
        raise OSError

    definition = SagaDefinition(
        name="pivoted", retry=EXACT, steps=[takes(did, "a", 1), Step("pivot", refused, pivot=True)]
    )
    async with world.orchestrator(definition) as orchestrator:
        await begun(orchestrator, definition, 1.5)
        await orchestrator.abort("s-1", "stop")
        assert state_of(await orchestrator.wait("s-1")) == "failed aborted"
        assert did.names == ["a", "undo a of a"]


async def test_no_abort_while_the_outcome_of_the_pivot_is_unknown(world):
    async def lost(data):
        raise TimeoutError

    answers = [Probe.STILL_UNKNOWN] * 3
    definition = SagaDefinition(
        name="pivoted", retry=EXACT, steps=[Step("pivot", lost, pivot=True, probe=lambda data: answers.pop())]
    )
    async with world.orchestrator(definition) as orchestrator:
        assert state_of(await orchestrator.run(definition, saga_id="s-1")) == "pending stuck"
        with pytest.raises(PastPivot, match="unknown"):
            await orchestrator.abort("s-1", "stop")
        await orchestrator.complete_step("s-1", "pivot", "found it")
        finished = await orchestrator.wait("s-1")
        assert (state_of(finished), finished.results) == ("completed", {"pivot": "found it"})


# --- suspend, resume ---


async def test_a_suspended_saga_starts_nothing_new_until_it_is_resumed(world, did, orchestrator, saga):
    await begun(orchestrator, saga, 15)
    answer = await orchestrator.suspend("s-1", actor="eve", reason="audit")
    assert answer.suspended
    await asyncio.sleep(1000)
    assert did.names == ["a", "b"]  # what ran ended, and was recorded
    assert (await orchestrator.get("s-1")).suspended
    assert await orchestrator.resume_all() == []
    await orchestrator.resume("s-1", actor="eve", reason="done")
    assert state_of(await orchestrator.wait("s-1")) == "completed"
    assert did.times[-1] == pytest.approx(1025, abs=0.01)


async def test_run_and_execute_return_a_suspended_saga(world, did, orchestrator, saga):
    waiting = asyncio.ensure_future(orchestrator.run(saga, saga_id="s-1"))
    await asyncio.sleep(5)
    await orchestrator.suspend("s-1", actor="eve", reason="audit")
    assert state_of(await waiting) == "pending suspended"
    assert state_of(await orchestrator.execute("s-1")) == "pending suspended"


async def test_a_suspended_saga_can_be_aborted_and_undoes_itself_when_resumed(did, orchestrator, saga):
    await begun(orchestrator, saga, 15)
    await orchestrator.suspend("s-1", actor="eve", reason="audit")
    await orchestrator.abort("s-1", "fraud")
    await asyncio.sleep(100)
    assert did.names == ["a", "b"]
    await orchestrator.resume("s-1")
    assert state_of(await orchestrator.wait("s-1")) == "failed aborted"


async def test_compensations_are_suspended_too(world, did):
    definition = SagaDefinition(
        name="back",
        steps=[takes(did, "a", 1), takes(did, "b", 1), Step("bad", lambda data: refuse(), compensatable=False)],
    )

    def refuse():
        raise Rejected("no")

    async with world.orchestrator(definition) as orchestrator:
        await orchestrator.start(definition, saga_id="s-1")
        await asyncio.sleep(0.5)
        await orchestrator.suspend("s-1", actor="eve", reason="audit")
        await orchestrator.resume("s-1")
        assert state_of(await orchestrator.wait("s-1")) == "failed compensated"


async def test_suspending_twice_and_resuming_what_is_not_suspended_change_nothing(orchestrator, saga):
    await begun(orchestrator, saga, 1)
    for _ in range(2):
        await orchestrator.suspend("s-1", actor="eve", reason="audit")
    for _ in range(2):
        await orchestrator.resume("s-1")
    finished = await orchestrator.wait("s-1")
    history = types(await orchestrator.history("s-1"))
    assert (history.count("SagaSuspended"), history.count("SagaResumed")) == (1, 1)
    assert state_of(await orchestrator.resume("s-1")) == state_of(finished) == "completed"
    assert state_of(await orchestrator.suspend("s-1", actor="eve", reason="late")) == "completed"


async def test_resume_takes_up_a_saga_that_was_only_created(orchestrator, saga):
    await orchestrator.create(saga, saga_id="s-1")
    await orchestrator.resume("s-1")
    assert state_of(await orchestrator.wait("s-1")) == "completed"
