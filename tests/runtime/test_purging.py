"""Ended sagas go when they are told to, their ids stay taken, and nothing that is needed goes with them."""

import asyncio
import sys

import pytest

from sagafsm import (
    InvalidInput,
    SagaConflict,
    SagaDefinition,
    SagaNotFound,
    SagaPurged,
    SagaState,
    Settings,
    Sleep,
    Step,
    SubSaga,
)
from sagafsm.moving import ended
from sagafsm.runtime import retention
from tests.runtime.world import state_of

DAY = 86_400.0
RARELY = {"poll_interval": 3600.0, "lease": 36_000.0}  # or virtual days take real minutes


@pytest.fixture
def order(did):
    return SagaDefinition(name="order", steps=[Step("work", lambda data: did(data), compensatable=False)])


async def test_a_late_duplicate_of_a_start_does_not_run_a_purged_saga_again(world, did, order):
    async with world.orchestrator(order, **RARELY) as orchestrator:
        await orchestrator.run(order, "once", saga_id="s-1")
        await asyncio.sleep(1)
        assert await orchestrator.purge(finished_before=0) == 1
        for verb in (orchestrator.start, orchestrator.run, orchestrator.create):
            with pytest.raises(
                SagaPurged, match=r"'s-1' was used before by the same definition with the same"
            ) as raised:
                await verb(order, "once", saga_id="s-1")
            assert (raised.value.saga_id, raised.value.same) == ("s-1", True)
        with pytest.raises(SagaPurged, match="used before by another definition or with another input") as raised:
            await orchestrator.start(order, "twice", saga_id="s-1")
        assert not raised.value.same
        assert isinstance(raised.value, SagaConflict)
        with pytest.raises(SagaNotFound):
            await orchestrator.get("s-1")
        assert did.names == ["once"]
        await asyncio.sleep(30 * DAY)
        assert (await orchestrator.run(order, "again", saga_id="s-1")).state is SagaState.COMPLETED


async def test_how_long_ids_stay_taken_is_a_setting_and_an_argument(world, order):
    async with world.orchestrator(order, settings=Settings(keep_ids=100.0)) as orchestrator:
        for n in range(3):
            await orchestrator.run(order, n, saga_id=f"s-{n}")
        await asyncio.sleep(1)
        assert await orchestrator.purge(finished_before=0, limit=1) == 1
        assert await orchestrator.purge(finished_before=0, limit=1, keep_ids=0) == 1
        assert await orchestrator.purge(finished_before=0, keep_ids=1000) == 1
        await orchestrator.run(order, "x", saga_id="s-1")
        await asyncio.sleep(150)
        await orchestrator.run(order, "x", saga_id="s-0")
        with pytest.raises(SagaPurged):
            await orchestrator.start(order, "x", saga_id="s-2")
        for wrong in ({"keep_ids": -1}, {"limit": -1}):
            with pytest.raises(InvalidInput):
                await orchestrator.purge(finished_before=0, **wrong)


async def test_a_sub_saga_stays_as_long_as_its_parent_may_have_to_undo_it(world, did):
    child = SagaDefinition(
        name="child", steps=[Step("book", lambda data: "b", compensation=lambda data, result: did("unbook"))]
    )

    async def fail(data):
        raise OSError("no")

    from sagafsm import RetryPolicy

    parent = SagaDefinition(
        name="parent",
        steps=[
            SubSaga("below", child),
            Sleep("nap", 1000),
            Step("last", fail, compensatable=False, retry=RetryPolicy.none()),
        ],
    )
    async with world.orchestrator(parent, child) as orchestrator:
        await orchestrator.start(parent, saga_id="p")
        await asyncio.sleep(500)
        assert state_of(await orchestrator.get("p:below")) == "completed"
        assert await orchestrator.purge(finished_before=100, dry_run=True) == 0
        assert await orchestrator.purge(finished_before=100) == 0
        saga = await orchestrator.wait("p", timeout=2000)
        assert state_of(saga) == "failed compensated"
        assert did.names == ["unbook"]
        await asyncio.sleep(100)
        assert await orchestrator.purge(finished_before=0) == 2


async def test_a_worker_purges_by_itself_what_ended_long_ago(world, order):
    naps = SagaDefinition(name="naps", steps=[Sleep("nap", 100 * DAY)])
    async with world.orchestrator(order, naps, settings=Settings(retention=DAY), **RARELY) as orchestrator:
        await orchestrator.start(naps, saga_id="live")
        await orchestrator.run(order, "old", saga_id="old")
        await asyncio.sleep(DAY - 1000)
        await orchestrator.run(order, "new", saga_id="new")
        assert (await orchestrator.stats()).total == 3
        await asyncio.sleep(1000 + 3 * retention.EVERY)
        assert [saga.saga_id async for saga in orchestrator.find()] == ["live", "new"]
        with pytest.raises(SagaPurged):
            await orchestrator.start(order, "old", saga_id="old")


async def test_a_worker_purges_slowly_and_goes_on_after_trouble(world, order, monkeypatch, caplog):
    from sagafsm import StoreUnavailable
    from sagafsm.testing.appends import create

    times, purge = [], world.store.purge

    async def troubled(*arguments, **options):
        times.append(world.time)
        if len(times) == 2:
            raise StoreUnavailable("gone")
        return await purge(*arguments, **options)

    monkeypatch.setattr(world.store, "purge", troubled)
    await world.store.commit([create(f"s-{n}", state="failed", finished_at=1.0) for n in range(1100)])
    async with world.orchestrator(order, settings=Settings(retention=1.0)) as orchestrator:
        await asyncio.sleep(10 * retention.EVERY)
        assert (await orchestrator.stats()).total == 0
    assert len(times) == 4
    assert times[1] - times[0] >= retention.PAUSE
    assert times[2] - times[1] >= retention.EVERY / 2
    assert "could not be purged" in caplog.text


async def test_without_the_setting_nothing_is_purged(world, order):
    async with world.orchestrator(order, **RARELY) as orchestrator:
        await orchestrator.run(order, "old", saga_id="old")
        await asyncio.sleep(100 * DAY)
        assert (await orchestrator.stats()).total == 1


async def test_find_loads_few_sagas_at_a_time(world, order, monkeypatch):
    loaded, load = [], world.store.load

    async def counting(saga_ids):
        loaded.append(len(saga_ids))
        return await load(saga_ids)

    async with world.orchestrator(order) as orchestrator:
        for n in range(230):
            await orchestrator.create(order, n, saga_id=f"s-{n:03}")
        monkeypatch.setattr(world.store, "load", counting)
        found = [saga.saga_id async for saga in orchestrator.find()]
        assert found == [f"s-{n:03}" for n in range(230)]
        assert max(loaded) <= 25
        loaded.clear()
        async for _ in orchestrator.find():
            break
        assert loaded == [25]


async def test_a_purge_goes_in_bounded_batches_and_a_stopped_one_is_gone_on_with(world, order, monkeypatch):
    monkeypatch.setattr(sys.modules[ended.__module__], "PAGE", 10)
    async with world.orchestrator(order, **RARELY) as orchestrator:
        for n in range(35):
            await orchestrator.run(order, n, saga_id=f"s-{n:02}")
        await asyncio.sleep(1)
        batches, purge = [], world.store.purge

        async def counting(before, **options):
            batches.append(len(options["saga_ids"]))
            if len(batches) == 3:
                raise asyncio.CancelledError
            return await purge(before, **options)

        world.store.purge = counting
        with pytest.raises(asyncio.CancelledError):
            await orchestrator.purge(finished_before=0)
        assert len([saga async for saga in orchestrator.find()]) == 15
        assert await orchestrator.purge(finished_before=0) == 15
        assert batches == [10, 10, 10, 10, 5]
        assert await orchestrator.purge(finished_before=0) == 0
