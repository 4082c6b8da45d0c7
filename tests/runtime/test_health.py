"""Whether a process lives, and whether it should be given work: judged without asking anybody."""

import asyncio

import pytest

from sagafsm import Settings
from sagafsm.core.errors import StoreUnavailable
from tests.runtime.steps import one_step
from tests.runtime.world import Around


class Switched(Around):
    """Can be away."""

    away = False

    def __getattribute__(self, name):
        if name in ("claim", "heartbeat", "workers", "counts") and super().__getattribute__("away"):
            raise StoreUnavailable("away")
        return super().__getattribute__(name)


async def slow(data):
    await asyncio.sleep(5)


def verdict(orchestrator):
    health = orchestrator.health()
    return health.live, health.ready


async def test_a_worker_is_ready_while_it_is_open(world):
    definition = one_step(slow)
    orchestrator = world.orchestrator(definition, settings=Settings(concurrency=7))
    assert orchestrator.health().to_dict() == {
        "live": True,
        "ready": False,
        "reasons": ["it is not open"],
        "in_flight": 0,
        "concurrency": 7,
        "draining": False,
        "lease_left": 0.0,
    }
    async with orchestrator:
        await orchestrator.start(definition)
        health = orchestrator.health()
        assert (health.live, health.ready, health.reasons) == (True, True, ())
        assert (health.in_flight, health.concurrency) == (1, 7)
        assert 0 < health.lease_left <= 27
    assert verdict(orchestrator) == (True, False)


async def test_who_drains_takes_no_work(world):
    orchestrator = world.orchestrator(definition := one_step(slow))
    await orchestrator.__aenter__()
    await orchestrator.start(definition)
    closing = asyncio.ensure_future(orchestrator.close())
    await asyncio.sleep(1)
    health = orchestrator.health()
    assert (health.live, health.ready, health.draining, health.in_flight) == (True, False, True, 1)
    assert health.reasons == ("it is shutting down",)
    await closing
    health = orchestrator.health()
    assert (health.live, health.draining, health.reasons) == (True, False, ("it is not open",))


async def test_a_store_that_is_away_makes_a_worker_not_ready_and_never_dead(world):
    store = Switched(world.store)
    async with world.orchestrator(one_step(slow), store=store, lease=30, poll_interval=1.0) as orchestrator:
        store.away = True
        await asyncio.sleep(4)
        assert verdict(orchestrator) == (True, True)  # a moment is nothing
        await asyncio.sleep(3)
        health = orchestrator.health()
        assert (health.live, health.ready) == (True, False)
        assert health.reasons == ("the store has not been asked for work with success for 7 s",)
        await asyncio.sleep(60)
        health = orchestrator.health()
        assert (health.live, health.ready, health.lease_left) == (True, False, 0.0)
        assert health.reasons[0].startswith("the lease has run out")
        store.away = False
        await asyncio.sleep(40)
        assert verdict(orchestrator) == (True, True)


async def test_whoever_only_submits_is_ready_without_a_lease(world):
    async with world.orchestrator(one_step(slow), worker=False) as orchestrator:
        await asyncio.sleep(3600)
        assert verdict(orchestrator) == (True, True)


@pytest.mark.parametrize("name", ["sagafsm worker", "sagafsm burials", "sagafsm orphans"])
async def test_a_worker_whose_loops_have_ended_is_dead(world, name):
    async with world.orchestrator(one_step(slow)) as orchestrator:
        next(task for task in asyncio.all_tasks() if task.get_name() == name).cancel()
        await asyncio.sleep(0)
        health = orchestrator.health()
        assert (health.live, health.ready) == (False, False)
        assert health.reasons == (f"{name} has ended: see the log",)
