"""The heart beats though a step holds up the event loop; after a while it gives up, and then the step harms nothing."""

import asyncio
import logging
import threading
import time

import pytest

from sagafsm import Orchestrator, Settings
from sagafsm.core.errors import StoreUnavailable
from sagafsm.runtime.memory import MemoryStore
from tests.runtime.steps import one_step
from tests.runtime.world import state_of, types

REAL_TIME = True  # what is tested is a thread beside a loop that stands still

LEASE = 1.5  # a busy machine may keep a thread waiting for a good part of a second
PATIENCE = 20.0


class Twinned(MemoryStore):
    """Reached by each thread through an object of its own, as a database is."""

    def twin(self):
        twin = type(self)()
        twin.__dict__.update(self.__dict__)
        twin.of_the_heart = True
        return twin


class Blocking:
    """A step that blocks the event loop it runs on, the first time that it is called."""

    def __init__(self):
        self.calls, self.blocked, self.go_on = 0, threading.Event(), threading.Event()

    def definition(self):
        async def block(data):
            self.calls += 1
            mine = self.calls
            if mine == 1:
                self.blocked.set()
                assert self.go_on.wait(PATIENCE)
            return mine

        return one_step(block)


class InThread:
    """An orchestrator on an event loop of its own, in another thread."""

    def __init__(self, store, definition, **settings):
        self._arguments = store, definition, Settings(drain_timeout=0, **settings)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))
        self.engine = None

    async def _main(self):
        store, definition, settings = self._arguments
        orchestrator = Orchestrator(store, sagas=[definition], settings=settings, lease=LEASE, poll_interval=0.05)
        async with orchestrator:
            self.engine = orchestrator._engine
            await orchestrator.start(definition, saga_id="s-1")
            while not self._stop.is_set():  # noqa: ASYNC110 - it is set by another thread
                await asyncio.sleep(0.01)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


async def until(condition):
    async with asyncio.timeout(PATIENCE):
        while not await condition():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


async def ends():
    """Wait for the thread of the heart to be gone."""

    async def gone():
        return not any(thread.name == "sagafsm-heartbeat" for thread in threading.enumerate())

    await until(gone)


def beats_past(store, worker_id, time_):
    async def beaten():
        return {worker.worker_id: worker.until for worker in await store.workers()}[worker_id] > time_

    return beaten


async def test_a_blocked_event_loop_costs_no_lease(caplog):
    store, step = Twinned(), Blocking()
    definition = step.definition()
    with InThread(store, definition) as first:
        assert await asyncio.to_thread(step.blocked.wait, PATIENCE)
        begun = time.time()
        async with Orchestrator(store, sagas=[definition], lease=30, poll_interval=0.05) as second:
            await until(beats_past(store, first.engine.worker_id, begun + 2.5 * LEASE))
            assert await second.resume_all() == []
            assert first.engine.lease_holds()
            step.go_on.set()
            assert state_of(await second.wait("s-1", timeout=PATIENCE)) == "completed"
    assert step.calls == 1
    assert types(await store.events("s-1")).count("AttemptStarted") == 1
    assert first.engine.lapses == 0
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_loop_that_is_blocked_for_too_long_loses_its_lease_and_then_harms_nothing(caplog):
    store, step = Twinned(), Blocking()
    definition = step.definition()
    with InThread(store, definition, hang_timeout=0.3) as first:
        assert await asyncio.to_thread(step.blocked.wait, PATIENCE)
        async with Orchestrator(store, sagas=[definition], lease=30, poll_interval=0.05) as second:
            saga = await second.wait("s-1", timeout=PATIENCE)
            assert (state_of(saga), saga.results["work"], step.calls) == ("completed", 2, 2)
            assert not first.engine.lease_holds()
            step.go_on.set()

            async def works_again():
                return first.engine.lease_holds()

            await until(works_again)
            assert first.engine.lapses == 1
            assert (await second.get("s-1")).results["work"] == 2
            assert types(await store.events("s-1")) == [
                "SagaStarted",
                "AttemptStarted",
                "AttemptStarted",
                "StepSucceeded",
                "SagaCompleted",
            ]
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert "the event loop has not answered for" in told[0]
    assert "let such a step be a plain function" in told[0]
    assert any("answers again" in line for line in told)


async def test_a_heartbeat_that_fails_is_tried_again_soon(caplog):
    class Stumbling(Twinned):
        failing = 3

        async def heartbeat(self, worker_id, ttl):
            if getattr(self, "of_the_heart", False) and type(self).failing:
                type(self).failing -= 1
                raise StoreUnavailable("away")
            return await super().heartbeat(worker_id, ttl)

    store = Stumbling()
    async with Orchestrator(store, sagas=[], lease=LEASE) as orchestrator:
        begun = time.time()
        await until(beats_past(store, orchestrator._engine.worker_id, begun + LEASE * 1.3))
        assert orchestrator._engine.lapses == 0
    assert caplog.text.count("heartbeat failed") == 3


async def test_a_twin_that_cannot_be_opened_is_tried_again(caplog):
    class Closed(Twinned):
        failing = 2

        async def setup(self, *, migrate=True):
            if getattr(self, "of_the_heart", False):
                assert not migrate
                if type(self).failing:
                    type(self).failing -= 1
                    raise StoreUnavailable("no connection is left")
            await super().setup(migrate=migrate)

    store = Closed()
    async with Orchestrator(store, sagas=[], lease=LEASE) as orchestrator:
        await until(beats_past(store, orchestrator._engine.worker_id, time.time() + LEASE * 1.3))
    assert caplog.text.count("no connection is left") == 2


async def test_leaving_ends_the_thread_and_closes_its_connection():
    closed = threading.Event()

    class Closing(Twinned):
        async def close(self):
            if getattr(self, "of_the_heart", False):
                closed.set()

    async with Orchestrator(Closing(), sagas=[], lease=LEASE):
        assert any(thread.name == "sagafsm-heartbeat" for thread in threading.enumerate())
    assert closed.is_set()
    await ends()


async def test_a_store_that_does_not_answer_the_heart_does_not_hold_up_leaving(caplog):
    class Silent(Twinned):
        async def heartbeat(self, worker_id, ttl):
            if getattr(self, "of_the_heart", False):
                stuck.set()
                await asyncio.sleep(3600)
            return await super().heartbeat(worker_id, ttl)

    stuck = threading.Event()
    async with Orchestrator(Silent(), sagas=[], lease=LEASE, settings=Settings(grace_period=0.1)):
        assert await asyncio.to_thread(stuck.wait, PATIENCE)
    await ends()


class NoOther(MemoryStore):
    """Could have a twin, and has none."""

    def twin(self):
        return None


@pytest.mark.parametrize("kind", [MemoryStore, NoOther])
async def test_without_a_twin_it_beats_in_the_loop_of_the_sagas(kind):
    store = kind()
    async with Orchestrator(store, sagas=[], lease=LEASE) as orchestrator:
        assert not any(thread.name == "sagafsm-heartbeat" for thread in threading.enumerate())
        await until(beats_past(store, orchestrator._engine.worker_id, time.time() + LEASE * 1.1))
