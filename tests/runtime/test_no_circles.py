"""Nothing goes round in circles and nothing is left to nobody: what cannot go on is looked at seldom, and again."""

import asyncio
import itertools
import logging

import pytest
from msgspec.structs import replace

from sagafsm import Probe, SagaDefinition, Step, Unknown
from sagafsm.core import commands as c
from sagafsm.runtime import driver as driver_module
from sagafsm.runtime.alarm import Alarm
from tests.runtime.steps import one_step, undo
from tests.runtime.world import EXACT, Around, state_of


async def lost(data):
    raise Unknown("no answer")


async def steps_of_the_loop(world, seconds):
    """How many callbacks were run in so many seconds."""
    before = world.loop.steps
    await asyncio.sleep(seconds)
    return world.loop.steps - before


async def test_a_question_that_an_abort_made_needless_is_not_put_again_and_again(world, did):
    """Its time came while another call still ran: the saga was then looked at a thousand times a second."""

    async def long(data):
        await asyncio.sleep(1_000)

    saga = SagaDefinition(
        name="asks",
        retry=EXACT,
        steps=[
            Step("lost", lost, on_unknown="probe", probe=lambda data: Probe.STILL_UNKNOWN, compensation=undo),
            Step("long", long, compensation=undo, after=()),
        ],
    )
    async with world.orchestrator(saga, poll_interval=60, lease=600) as orchestrator:
        handle = await orchestrator.start(saga)
        await asyncio.sleep(3.5)
        assert [waiting.step for waiting in (await handle.instance()).waiting] == ["lost"]
        await orchestrator.abort(handle.saga_id, "not wanted")
        assert await steps_of_the_loop(world, 900) < 2_000
        assert state_of(await orchestrator.wait(handle.saga_id, timeout=1_000)) == "failed aborted"


async def test_a_time_that_has_passed_is_looked_at_less_and_less_often(world):
    rings = []

    def ring():
        rings.append(world.time)
        if world.time < 10:
            alarm.set(10.0, 10.0)

    alarm = Alarm(ring)
    alarm.set(10.0, 10.0)
    await asyncio.sleep(15)
    pauses = [round(later - earlier, 6) for earlier, later in itertools.pairwise([0.0, *rings])]
    assert pauses[0] < 0.01
    assert pauses == sorted(pauses)
    assert pauses[-1] == pytest.approx(1.0)
    assert len(pauses) < 25
    alarm.set(world.time + 5, world.time)  # and one that lies ahead at its time
    began = world.time
    await asyncio.sleep(6)
    assert rings[-1] == pytest.approx(began + 5, abs=0.01)
    alarm.set(10.0, 10.0)
    await asyncio.sleep(0.01)
    assert rings[-1] == pytest.approx(began + 6, abs=0.01)  # soon again
    alarm.set(world.time + 1, world.time)
    alarm.set(None, world.time)
    count = len(rings)
    await asyncio.sleep(10)
    assert len(rings) == count


async def test_calls_that_no_event_announces_are_refused_loudly(world, did, monkeypatch, caplog):
    """They would be dropped, decided again, dropped again: a loop that never waits."""

    async def work(data):
        did("work")
        await asyncio.sleep(5)

    decide, faulty = driver_module.decide, True

    def decides(definition, progress, given, *rest, **options):
        decision = decide(definition, progress, given, *rest, **options)
        if not faulty or not isinstance(given, c.Tick) or decision.events:
            return decision
        call = c.Call(step="work", role=c.Role.FORWARD, via="action", attempt=9, interruption=0, idempotency_key="k")
        return replace(decision, commands=[call])

    monkeypatch.setattr(driver_module, "decide", decides)
    saga = one_step(work)
    async with world.orchestrator(saga) as orchestrator:
        await orchestrator.start(saga, saga_id="s-1")
        await world.idle()
        with caplog.at_level(logging.ERROR, "sagafsm"):
            orchestrator._engine.drivers["s-1"].go_on(())
            assert await steps_of_the_loop(world, 0.5) < 100
        assert "were decided without an event" in caplog.text
        faulty = False
        assert state_of(await orchestrator.wait("s-1", timeout=100)) == "completed"
    assert did.names == ["work", "work"]  # the call that was under way was cut off, as by the end of its process


async def test_a_step_that_cancels_itself_as_it_ends_leaves_its_saga_to_somebody(world, did):
    """The write of its end was cut off, and nobody drove the saga any more."""

    async def work(data):
        did("work")
        if did.count("work") == 1:
            asyncio.current_task().cancel()

    saga = SagaDefinition(name="two", retry=EXACT, steps=[Step("a", work, compensation=undo)])
    async with world.orchestrator(saga) as orchestrator:
        assert state_of(await orchestrator.run(saga, timeout=100)) == "completed"
        assert orchestrator._engine.drivers == {}
    assert did.names == ["work"]


async def test_a_saga_put_aside_once_more_while_it_is_looked_for_is_not_forgotten(world, did):
    class Answers(Around):
        async def load(self, saga_ids):
            found = await self.inner.load(saga_ids)
            if saga_ids == ["s-1"]:
                engine.orphan("s-1", 7)  # a later grant, while the answer was on its way
            return found

    async def work(data):
        did("work")

    saga = one_step(work)
    async with world.orchestrator(saga, store=Answers(world.store), worker=False) as orchestrator:
        engine, worker = orchestrator._engine, orchestrator._worker
        await orchestrator.create(saga, saga_id="s-1")
        engine.orphan("s-1", 0)
        await worker._take_back_orphans()
        assert engine.orphans["s-1"].fence == 7
        assert did.names == []
