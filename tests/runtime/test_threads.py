"""Plain functions run in threads: real ones, on real time, and nothing here waits longer than it must."""

import asyncio
import contextvars
import threading
import time

import pytest

from sagafsm import Orchestrator, Rejected, RetryPolicy, SagaDefinition, Settings, Step, StepContext
from sagafsm.runtime.invoke import _InThread
from sagafsm.runtime.memory import MemoryStore
from sagafsm.runtime.threads import DaemonThreads
from tests.runtime.steps import one_step, undo
from tests.runtime.world import NEVER, state_of

REAL_TIME = True


class Until:
    """A hook that waits for an event of a saga."""

    def __init__(self, kind, **fields):
        self._wanted = (kind, fields)
        self.seen = asyncio.Event()

    def on_transition(self, instance, event):
        kind, fields = self._wanted
        if event.type == kind and all(getattr(event, name) == value for name, value in fields.items()):
            self.seen.set()


def no_more(thread):
    raise RuntimeError("can't start new thread")


def orchestrator_of(*sagas, **options):
    return Orchestrator(MemoryStore(), sagas=sagas, poll_interval=0.05, **options)


async def test_a_plain_function_runs_in_a_thread_and_holds_nobody_up():
    inside, release = threading.Event(), threading.Event()
    threads = []

    def blocks(data):
        threads.append(threading.current_thread())
        inside.set()
        assert release.wait(10)
        return "done"

    async def other(data):
        return "meanwhile"

    blocking, quick = one_step(blocks), SagaDefinition(name="quick", steps=[Step("a", other, compensation=undo)])
    async with orchestrator_of(blocking, quick) as orchestrator:
        handle = await orchestrator.start(blocking)
        await asyncio.to_thread(inside.wait, 10)
        assert (await orchestrator.run(quick, timeout=10)).results == {"a": "meanwhile"}
        release.set()
        assert (await handle.result(10)).results == {"work": "done"}
    assert threads[0] is not threading.main_thread()
    assert threads[0].name.startswith("sagafsm")


async def test_as_many_plain_functions_run_at_once_as_there_are_threads():
    gate, lock, running, most = threading.Barrier(4, timeout=10), threading.Lock(), 0, 0

    def meets(data):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        gate.wait()  # ends only where four are here at once
        with lock:
            running -= 1

    definition = one_step(meets, retry=NEVER)
    async with orchestrator_of(definition, settings=Settings(threads=4)) as orchestrator:
        sagas = await asyncio.gather(*(orchestrator.run(definition, timeout=20) for _ in range(12)))
    assert {state_of(saga) for saga in sagas} == {"completed"}
    assert most == 4


async def test_a_plain_function_sees_the_context_variables_of_whoever_started_the_saga():
    tenant = contextvars.ContextVar("tenant", default="nobody")

    def work(data):
        return tenant.get()

    definition = one_step(work)
    async with orchestrator_of(definition) as orchestrator:
        tenant.set("acme")
        assert (await orchestrator.run(definition, timeout=10)).results == {"work": "acme"}


async def test_a_thread_that_takes_too_long_is_of_unknown_outcome_and_the_retry_waits_for_it():
    ended, calls, release = [], [], threading.Event()

    def slow(data, ctx: StepContext):
        calls.append((ctx.attempt, list(ended)))
        if ctx.attempt == 1:
            assert release.wait(10)
            ended.append(ctx.attempt)
        return ctx.attempt

    retry = RetryPolicy(max_attempts=2, initial_interval=0, jitter=0)
    definition = one_step(slow, timeout=0.05, retry=retry)
    again = Until("AttemptStarted", attempt=2)
    async with orchestrator_of(definition, settings=Settings(grace_period=10), hooks=[again]) as orchestrator:
        handle = await orchestrator.start(definition)
        await again.seen.wait()
        assert calls == [(1, [])]  # the second attempt is in the log, and waits for the first body
        release.set()
        assert (await handle.result(10)).results == {"work": 2}
    assert calls == [(1, []), (2, [1])]


async def test_a_plain_function_that_timed_out_before_there_was_a_thread_for_it_never_begins():
    release, begun = threading.Event(), []

    def blocks(data):
        begun.append("blocks")
        assert release.wait(10)

    def waits(data):
        begun.append("waits")

    retry = RetryPolicy(max_attempts=1)
    definition = SagaDefinition(
        name="busy",
        retry=retry,
        steps=[
            Step("a", blocks, compensation=undo),
            Step("b", waits, compensation=undo, after=(), timeout=0.05),
        ],
    )
    timed_out = Until("StepUnknown", step="b")
    async with orchestrator_of(definition, settings=Settings(threads=1), hooks=[timed_out]) as orchestrator:
        handle = await orchestrator.start(definition)
        await timed_out.seen.wait()
        release.set()
        assert state_of(await orchestrator.wait(handle.saga_id, timeout=10)) == "failed compensated"
    assert begun == ["blocks"]


async def test_a_call_that_is_dropped_just_before_its_thread_gets_it_does_nothing():
    calls: list[int] = []
    call = _InThread(lambda: calls.append(1), lambda: True)
    body = asyncio.get_running_loop().create_future()
    call.drop(body)
    assert body.cancelled()
    call()
    assert calls == []


async def test_what_a_plain_function_raises_is_told_apart_as_everywhere():
    def refuses(data):
        raise Rejected("no")

    def counts(data, ctx: StepContext):
        if ctx.attempt < 2:
            raise OSError("busy")

    retry = RetryPolicy(max_attempts=3, initial_interval=0, jitter=0)
    definition = SagaDefinition(
        name="both",
        retry=retry,
        steps=[Step("counts", counts, compensation=undo), Step("refuses", refuses, compensation=undo)],
    )
    async with orchestrator_of(definition) as orchestrator:
        saga = await orchestrator.run(definition, timeout=10)
    assert (state_of(saga), saga.steps["counts"].attempts, saga.steps["refuses"].attempts) == (
        "failed compensated",
        2,
        1,
    )


async def test_a_plain_function_that_raises_stop_iteration_has_failed_like_any_other():
    """No future takes such an error: the saga waited for ever."""

    def first_of(data):
        return next(iter(data))

    definition = one_step(first_of, retry=NEVER)
    async with orchestrator_of(definition) as orchestrator:
        saga = await orchestrator.run(definition, [], timeout=10)
    assert state_of(saga) == "failed compensated"
    assert saga.error.message == "the function raised StopIteration"


async def test_where_no_thread_can_be_started_nothing_is_run_later_that_was_said_to_have_failed(monkeypatch):
    calls = []
    threads = DaemonThreads(2, "few")
    try:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", no_more)
            with pytest.raises(RuntimeError, match="can't start new thread"):
                threads.submit(calls.append, "refused")
        assert threads.submit(calls.append, "first").result(10) is None
        inside, release = threading.Event(), threading.Event()
        blocked = threads.submit(lambda: (inside.set(), release.wait(10)))
        assert inside.wait(10)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", no_more)
            queued = threads.submit(calls.append, "second")  # the one thread that there is will do it
        other = threads.submit(calls.append, "third")  # a second one can be started again, and does both
        assert (queued.result(10), other.result(10)) == (None, None)
        release.set()
        assert blocked.result(10)
    finally:
        threads.shutdown()
    assert calls == ["first", "second", "third"]


async def test_a_job_that_had_to_wait_once_does_not_make_later_ones_wait():
    """The thread that took it up counted as free."""
    threads, gates = DaemonThreads(3, "few"), [threading.Event() for _ in range(2)]
    try:
        with pytest.MonkeyPatch.context() as patch:
            first = threads.submit(gates[0].wait, 10)
            patch.setattr(threading.Thread, "start", no_more)
            second = threads.submit(gates[1].wait, 10)  # waits for the first
        gates[0].set()
        assert first.result(10)
        assert threads.submit(str, 3).result(10) == "3"  # in a thread of its own: the other one has the second job
        gates[1].set()
        assert second.result(10)
    finally:
        threads.shutdown()


async def test_leaving_does_not_wait_for_a_thread_for_ever():
    inside, release = threading.Event(), threading.Event()

    def blocks(data):
        inside.set()
        release.wait(30)

    definition, store = one_step(blocks), MemoryStore()
    began = time.monotonic()
    async with Orchestrator(store, sagas=[definition], drain_timeout=0.05, settings=Settings(grace_period=0.05)) as to:
        await to.start(definition, saga_id="s-1")
        await asyncio.to_thread(inside.wait, 10)
    assert time.monotonic() - began < 5
    assert (await store.load(["s-1"]))["s-1"].record.state == "pending"
    assert await store.workers() == []
    release.set()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_a_thread_that_wants_to_end_the_process_interrupts_its_step_only(error):
    calls = []

    def work(data):
        calls.append(1)
        if len(calls) == 1:
            raise error

    definition = one_step(work)
    async with orchestrator_of(definition) as orchestrator:
        assert state_of(await orchestrator.run(definition, timeout=10)) == "completed"
    assert len(calls) == 2
