"""Being told: hooks, the definition's own callbacks, and one log line per transition. None of them has a say."""

import asyncio
import logging

import pytest

from sagafsm import Rejected, Saga, SagaDefinition, SagaState, Step, Unknown, WaitFor, step, wait_for
from tests.runtime.steps import undo
from tests.runtime.world import EXACT, NEVER, state_of, types


class Recorder:
    """A hook that writes down what it is told."""

    def __init__(self):
        self.told = []

    def before_step(self, ctx):
        self.told.append(f"before {ctx.step} {ctx.attempt}")

    async def after_step(self, ctx, outcome):
        self.told.append(f"after {ctx.step} {outcome.kind} {outcome.result} {outcome.error and outcome.error.message}")

    def on_transition(self, instance, event):
        self.told.append(f"{event.seq} {event.type} {instance.state.value}")


def failing(*errors, result=None):
    left = list(errors)

    async def work(data):
        if left:
            raise left.pop(0)
        return result

    return work


async def test_hooks_are_told_of_every_call_and_every_transition(world):
    hook = Recorder()
    definition = SagaDefinition(
        name="told", retry=EXACT, steps=[Step("a", failing(OSError("busy"), result={"n": 1}), compensation=undo)]
    )
    async with world.orchestrator(definition, hooks=[hook]) as orchestrator:
        await orchestrator.run(definition)
    assert hook.told == [
        "1 SagaStarted pending",
        "2 AttemptStarted pending",
        "before a 1",
        "after a failed None busy",
        "3 AttemptFailed pending",
        "4 AttemptStarted pending",
        "before a 2",
        "after a succeeded {'n': 1} None",
        "5 StepSucceeded completed",
        "6 SagaCompleted completed",
    ]


async def test_hooks_are_told_how_a_call_ended(world):
    hook = Recorder()
    definition = SagaDefinition(
        name="told",
        retry=NEVER,
        steps=[
            Step("a", failing(), compensation=undo),
            Step("b", failing(Unknown("lost")), compensation=undo),
            Step("c", failing(Rejected("no")), compensation=undo),
        ],
    )
    async with world.orchestrator(definition, hooks=[hook]) as orchestrator:
        await orchestrator.run(definition)
    ends = [told for told in hook.told if told.startswith("after")]
    assert ends == [
        "after a succeeded None None",
        "after b unknown None lost",
        "after b succeeded None None",  # the compensations
        "after a succeeded None None",
    ]


class Raising:
    """A hook in which everything goes wrong."""

    def before_step(self, ctx):
        raise RuntimeError("before")

    async def after_step(self, ctx, outcome):
        raise RuntimeError("after")

    def on_transition(self, instance, event):
        raise RuntimeError("transition")


async def test_a_hook_that_raises_changes_nothing_and_is_counted(world, caplog):
    definition = SagaDefinition(name="one", steps=[Step("a", failing(result=1), compensation=undo)])
    other = Recorder()
    async with world.orchestrator(definition, hooks=[Raising(), other, object()]) as orchestrator:
        saga = await orchestrator.run(definition, saga_id="s-1")
        assert (state_of(saga), saga.results) == ("completed", {"a": 1})
        assert types(await orchestrator.history("s-1")) == [
            "SagaStarted",
            "AttemptStarted",
            "StepSucceeded",
            "SagaCompleted",
        ]
        assert orchestrator._engine.hooks.failures == 6
    assert len(other.told) == 6  # the hooks after it are told all the same
    assert caplog.text.count("a hook failed: Raising.") == 6


class Cancelled:
    """A hook that waits for something that was cancelled."""

    async def before_step(self, ctx):
        gone = asyncio.get_running_loop().create_future()
        gone.cancel()
        await gone

    after_step = on_transition = lambda self, *told: self.before_step(told)


async def test_a_hook_that_waits_for_something_cancelled_changes_nothing_either(world):
    """The saga was then driven by nobody, and the worker that had taken it up looked for no more."""
    definition = SagaDefinition(name="one", steps=[Step("a", failing(result=1), compensation=undo)])
    async with world.orchestrator(definition, worker=False) as submitter:
        await submitter.start(definition, saga_id="s-1")
    async with world.orchestrator(definition, hooks=[Cancelled()]) as orchestrator:
        assert state_of(await orchestrator.wait("s-1", timeout=100)) == "completed"
        assert state_of(await orchestrator.run(definition, timeout=100)) == "completed"
        assert orchestrator.health().live
        assert orchestrator._engine.hooks.failures > 6


@pytest.mark.parametrize("kind", ["SagaStarted", "AttemptStarted"])
async def test_a_hook_may_ask_something_of_a_saga_that_is_just_born(world, did, kind):
    """Its calls had not begun, so it was let go for ever; they were made all the same, and what they did was lost."""

    class Answers:
        async def on_transition(self, instance, event):
            if event.type == kind:
                await orchestrator.signal(instance.saga_id, "go", "from the hook")

    async def work(data):
        did("work")

    definition = SagaDefinition(
        name="asks", steps=[Step("a", work, compensation=undo), WaitFor("go", signal="go", on_timeout="fail")]
    )
    async with world.orchestrator(definition, hooks=[Answers()]) as orchestrator:
        saga = await orchestrator.run(definition, timeout=60)
        assert (state_of(saga), saga.results["go"]) == ("completed", "from the hook")
    assert did.names == ["work"]


class HangsFor:
    """A hook that never returns when it is told of this saga's call, made for the first time or again."""

    def __init__(self, saga_id, interruption):
        self._what = saga_id, interruption

    async def on_transition(self, instance, event):
        called = event.type == "AttemptStarted" and (instance.saga_id, event.data.get("interruption", 0))
        if called == self._what:
            await asyncio.get_running_loop().create_future()


async def test_a_hook_that_never_returns_does_not_keep_the_worker_from_taking_up_others(world):
    definition = SagaDefinition(name="one", steps=[Step("a", failing(), compensation=undo)])
    other = world.orchestrator(definition, hooks=[HangsFor("bad", 0)], drain_timeout=0)
    async with world.orchestrator(definition, worker=False) as submitter, other:
        for saga_id in ("bad", "s-1", "s-2"):
            await submitter.start(definition, saga_id=saga_id)
            await asyncio.sleep(5)
        for saga_id in ("s-1", "s-2"):
            assert state_of(await submitter.wait(saga_id, timeout=20)) == "completed"


async def test_a_hook_that_never_returns_does_not_keep_others_that_were_put_aside_from_going_on(world, did):
    async def work(data, ctx):
        did(ctx.saga_id)
        if did.count(ctx.saga_id) == 1:
            raise asyncio.CancelledError

    definition = SagaDefinition(name="one", steps=[Step("a", work, compensation=undo)])
    async with world.orchestrator(definition, hooks=[HangsFor("bad", 1)], drain_timeout=0) as orchestrator:
        for saga_id in ("bad", "s-1"):
            await orchestrator.start(definition, saga_id=saga_id)
        assert state_of(await orchestrator.wait("s-1", timeout=20)) == "completed"
    assert did.names == ["bad", "s-1", "s-1"]


async def test_whoever_is_cancelled_while_a_hook_is_told_is_cancelled(world):
    class Slow:
        async def on_transition(self, instance, event):
            await asyncio.sleep(1_000)

    definition = SagaDefinition(name="one", steps=[Step("a", failing(result=1), compensation=undo)])
    async with world.orchestrator(definition, hooks=[Slow()], drain_timeout=0) as orchestrator:
        starting = asyncio.ensure_future(orchestrator.start(definition))
        await world.idle()
        starting.cancel()
        await asyncio.wait({starting})
        assert starting.cancelled()
        assert orchestrator._engine.hooks.failures == 0


async def test_a_hook_may_ask_something_of_the_very_saga_it_is_told_of(world):
    class Answers:
        async def on_transition(self, instance, event):
            if event.type == "WaitStarted":
                await orchestrator.signal(instance.saga_id, "go", "from the hook")

    definition = SagaDefinition(
        name="asks", steps=[Step("a", failing(), compensation=undo), WaitFor("go", signal="go")]
    )
    async with world.orchestrator(definition, hooks=[Answers()]) as orchestrator:
        saga = await orchestrator.run(definition, timeout=60)
        assert saga.results["go"] == "from the hook"


async def test_the_definitions_own_callbacks_are_called_after_the_end_is_stored(world, did):
    class Order(Saga[str]):
        @step(compensatable=False, retry=NEVER)
        async def work(self, data: str) -> None:
            if data == "bad":
                raise Rejected("no")

        async def on_completed(self, saga) -> None:
            did(f"completed {saga.saga_id} {(await world.store.load([saga.saga_id]))[saga.saga_id].record.state}")

        def on_failed(self, saga) -> None:
            did(f"failed {saga.saga_id} {saga.error.message}")
            raise RuntimeError("a callback that fails changes nothing")

    async with world.orchestrator(Order) as orchestrator:
        good = await orchestrator.run(Order, "good", saga_id="good")
        bad = await orchestrator.run(Order, "bad", saga_id="bad")
        assert (good.state, bad.state) == (SagaState.COMPLETED, SagaState.FAILED)
    assert did.names == ["completed good completed", "failed bad no"]


# --- the log ---


async def test_one_line_per_transition_with_saga_and_correlation_id(world, caplog):
    definition = SagaDefinition(name="logged", steps=[Step("a", failing(Rejected("no")), compensation=undo)], version=3)
    with caplog.at_level(logging.INFO, "sagafsm"):
        async with world.orchestrator(definition) as orchestrator:
            await orchestrator.run(definition, saga_id="s-1", correlation_id="cart-7")
            history = await orchestrator.history("s-1")
    lines = [record for record in caplog.records if record.levelno == logging.INFO]
    assert [record.event for record in lines] == types(history)
    assert {(record.saga_id, record.correlation_id, record.saga_type) for record in lines} == {
        ("s-1", "cart-7", "logged")
    }
    assert lines[1].message == "saga=s-1 correlation=cart-7 event=AttemptStarted step=a state=pending"
    assert (lines[-1].event, lines[-1].state, lines[-1].step) == ("SagaFailed", "failed", None)


async def test_what_comes_from_elsewhere_is_logged_where_it_is_written(world, caplog):
    """What a process wrote to a saga that it does not drive was once neither logged nor told to its hooks."""
    definition, hook = SagaDefinition(name="logged", steps=[WaitFor("go", signal="go")]), Recorder()
    async with world.orchestrator(definition) as here:
        await here.start(definition, saga_id="s-1")
        await asyncio.sleep(10)
        with caplog.at_level(logging.INFO, "sagafsm"):
            async with world.orchestrator(definition, worker=False, hooks=[hook]) as there:
                await there.signal("s-1", "go")
            await here.wait("s-1")
    events = [record.event for record in caplog.records if hasattr(record, "event")]
    assert events == ["SignalReceived", "StepSucceeded", "SagaCompleted"]
    assert hook.told == ["3 SignalReceived pending", "4 StepSucceeded pending"]


async def test_a_slow_hook_does_not_report_an_end_twice(world, did):
    """While a hook was still being told of a signal, the saga came to its end: the end was then told once more."""

    class Slow:
        async def on_transition(self, instance, event):
            if event.type == "SignalReceived":
                await asyncio.sleep(10)

    class Order(Saga[None]):
        go = wait_for("go")

        @step(compensatable=False, after=())
        async def slow(self, data: None) -> None:
            await asyncio.sleep(2)

        def on_completed(self, saga) -> None:
            did("completed")

    async with world.orchestrator(Order, hooks=[Slow()]) as orchestrator:
        handle = await orchestrator.start(Order)
        await asyncio.sleep(1)
        await orchestrator.signal(handle.saga_id, "go")
        await asyncio.sleep(30)
        assert (await handle.instance()).state is SagaState.COMPLETED
    assert did.names == ["completed"]


async def test_a_step_logs_with_the_ids_of_its_saga(world, caplog):
    async def work(data, ctx):
        ctx.log.warning("low stock")

    definition = SagaDefinition(name="logs", steps=[Step("a", work, compensation=undo)])
    async with world.orchestrator(definition) as orchestrator:
        await orchestrator.run(definition, saga_id="s-1")
    (line,) = [record for record in caplog.records if record.message == "low stock"]
    assert (line.saga_id, line.correlation_id, line.step, line.attempt) == ("s-1", "s-1", "a", 1)
