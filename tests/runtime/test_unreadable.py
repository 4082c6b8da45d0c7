"""Sagas that cannot be read are set aside and shown, the others go on, and mending them is enough."""

import asyncio
import logging

import attrs
import pytest

from sagafsm import SagaDefinition, Settings, Sleep, Step, StoreCorrupt, StoreTooNew, WaitFor
from sagafsm.store import Snapshot, StoredEvent
from tests.runtime.steps import undo
from tests.runtime.world import Around, state_of


@pytest.fixture
def saga(did):
    return SagaDefinition(name="naps", steps=[Sleep("nap", 100), Step("a", lambda data: did(data), compensation=undo)])


def damage(world, saga_id, *, number=2, **changes):
    """Change an event as it lies in the store; returns what it was."""
    events = world.store._sagas[saga_id].events
    old = events[number - 1]
    fields = {"seq": old.seq, "type": old.type, "at": old.at, "data": old.data, **changes}
    events[number - 1] = StoredEvent(**fields)
    return old


DAMAGES = [
    pytest.param({"data": b'{"step": "na'}, StoreCorrupt, id="half an event"),
    pytest.param({"data": b"\xff\xfe\x00"}, StoreCorrupt, id="no text at all"),
    pytest.param({"data": b"[" * 10_000}, StoreCorrupt, id="too deep"),
    pytest.param({"data": b'{"step": 7}'}, StoreCorrupt, id="wrong form"),
    pytest.param({"data": b'{"step":"nap","kind":"sleep","colour":"red"}'}, StoreTooNew, id="a newer field"),
    pytest.param({"type": "StepPainted"}, StoreTooNew, id="a newer event"),
    pytest.param({"type": "StepCompensated", "data": b'{"step":"nap"}'}, StoreCorrupt, id="impossible"),
    pytest.param({"seq": 7}, StoreCorrupt, id="a gap"),
]


@pytest.mark.parametrize(("change", "error"), DAMAGES)
async def test_an_unreadable_saga_is_set_aside_and_the_others_of_the_same_sweep_go_on(
    world, did, saga, change, error, caplog
):
    async with world.orchestrator(saga, worker=False) as submitter:
        for name in ("s-1", "bad", "s-2"):
            await submitter.start(saga, name, saga_id=name)
            await submitter.resume_all()
    await world.idle()
    old = damage(world, "bad", **change)
    async with world.orchestrator(saga) as orchestrator:
        with caplog.at_level(logging.ERROR, "sagafsm"):
            for name in ("s-1", "s-2"):
                assert state_of(await orchestrator.wait(name, timeout=200)) == "completed"
        assert "saga bad cannot be read and is set aside" in caplog.text
        assert sorted(did.names) == ["s-1", "s-2"]
        # It is listed, with the reason; reading it says what is wrong; its history can be looked at.
        (found,) = [saga async for saga in orchestrator.find(stuck=True)]
        assert (found.saga_id, found.state.value, found.stuck) == ("bad", "pending", True)
        assert "bad" in found.problem
        for verb in (
            orchestrator.get("bad"),
            orchestrator.signal("bad", "go"),
            orchestrator.abort("bad", "stop"),
            orchestrator.retry("bad", actor="eve", reason="try"),
            orchestrator.wait("bad"),
        ):
            with pytest.raises(error, match="bad"):
                await verb
        assert len(await orchestrator.history("bad")) == 2
        # It costs nothing while it lies there.
        fence = world.store._sagas["bad"].record.fence
        await asyncio.sleep(1000)
        assert world.store._sagas["bad"].record.fence == fence
        # Mended, it goes on where it was.
        world.store._sagas["bad"].events[1] = old
        await orchestrator.retry("bad", actor="eve", reason="mended")
        assert state_of(await orchestrator.wait("bad", timeout=200)) == "completed"
        assert [saga async for saga in orchestrator.find(stuck=True)] == []


async def test_a_saga_that_was_set_aside_says_so_until_somebody_retries_it_also_where_it_can_be_read(world, did, saga):
    """Its log said nothing of it: to readers it was pending, and whoever waited for it waited for ever."""
    async with world.orchestrator(saga, worker=False) as submitter:
        await submitter.start(saga, "x", saga_id="bad")
        await submitter.resume_all()
    await world.idle()
    old = damage(world, "bad", data=b"?")
    async with world.orchestrator(saga) as orchestrator:
        await asyncio.sleep(200)
        world.store._sagas["bad"].events[1] = old
        for found in (
            await orchestrator.get("bad"),
            await orchestrator.wait("bad"),
            *[one async for one in orchestrator.find()],
        ):
            assert (found.stuck, found.state.value, found.version) == (True, "pending", 2)
            assert "event 2" in found.stuck_reason
        await orchestrator.retry("bad", actor="eve", reason="mended")
        assert state_of(await orchestrator.wait("bad", timeout=200)) == "completed"
        assert (await orchestrator.get("bad")).problem is None


@pytest.mark.parametrize("aborted", [False, True])
async def test_a_saga_that_was_set_aside_is_told_things_and_stays_there_until_a_person_says_otherwise(
    world, did, saga, aborted
):
    """A signal took it up again, before anybody had looked at what was wrong."""
    async with world.orchestrator(saga, worker=False) as submitter:
        await submitter.start(saga, "x", saga_id="bad")
        await submitter.resume_all()
    await world.idle()
    old = damage(world, "bad", data=b"?")
    async with world.orchestrator(saga) as orchestrator:
        await asyncio.sleep(200)
        world.store._sagas["bad"].events[1] = old
        await orchestrator.signal("bad", "go")
        await orchestrator.signal("bad", "go", message_id="again")
        await asyncio.sleep(200)
        found = await orchestrator.get("bad")
        assert (found.stuck, found.state.value, did.names) == (True, "pending", [])
        if aborted:
            await orchestrator.abort("bad", "stop")
            assert state_of(await orchestrator.wait("bad", timeout=200)) == "failed aborted"
        else:
            await orchestrator.retry("bad", actor="eve", reason="mended")
            assert state_of(await orchestrator.wait("bad", timeout=200)) == "completed"
        assert (await orchestrator.get("bad")).problem is None


async def test_a_retry_of_what_was_set_aside_counts_also_where_somebody_writes_at_that_moment(world, did, saga, caplog):
    """It did nothing then, and said nothing. Who it was stands in no event, so it is logged."""

    class Meddled(Around):
        meddles = False

        async def now(self):
            if self.meddles:
                self.meddles = False
                await operator.signal("bad", "go")
            return await self.inner.now()

    waits = SagaDefinition(name="waits", steps=[Sleep("nap", 100), WaitFor("go", signal="go")])
    store = Meddled(world.store)
    async with world.orchestrator(waits, worker=False) as operator:
        await operator.start(waits, saga_id="bad")
        await operator.resume_all()
        old = damage(world, "bad", data=b"?")
        async with world.orchestrator(waits, store=store) as orchestrator:
            await asyncio.sleep(200)
            world.store._sagas["bad"].events[1] = old
            store.meddles = True
            assert not (await orchestrator.retry("bad", actor="eve", reason="mended")).stuck
            assert not store.meddles
            assert state_of(await orchestrator.wait("bad", timeout=200)) == "completed"
    assert "saga bad was set aside and goes on; eve says: mended" in caplog.text


async def test_a_thousand_bad_sagas_do_not_starve_the_good_one(world, did, saga):
    async with world.orchestrator(saga, worker=False) as submitter:
        for n in range(1000):
            await submitter.start(saga, "bad", saga_id=f"bad-{n:04}")
        await submitter.start(saga, "good", saga_id="good")
    for n in range(1000):
        damage(world, f"bad-{n:04}", number=1, data=b"?")
    async with world.orchestrator(saga) as orchestrator:
        assert state_of(await orchestrator.wait("good", timeout=200)) == "completed"
        assert len([saga async for saga in orchestrator.find(stuck=True)]) == 1000


async def test_one_that_cannot_be_read_harms_nobody_who_looks_counts_or_clears_away(world, saga, tmp_path):
    async with world.orchestrator(saga) as orchestrator:
        for name in ("one", "bad", "two"):
            await orchestrator.start(saga, name, saga_id=name)
        await asyncio.sleep(200)
        damage(world, "bad", data=b"\xff?")
        assert [(found.saga_id, found.state.value) async for found in orchestrator.find(state="completed")] == [
            ("bad", "completed"),
            ("one", "completed"),
            ("two", "completed"),
        ]
        stats = await orchestrator.stats()
        assert (stats.total, stats.finished) == (3, 3)
        assert (await orchestrator.doctor()).facts["sagas"] == {"completed": 3}
        assert await orchestrator.purge(finished_before=0, dry_run=True) == 3
        await asyncio.sleep(1)
        archived = await orchestrator.archive(finished_before=0, to=tmp_path, limit=2)
        assert archived.sagas == 2
        assert await orchestrator.purge(finished_before=0) == 1
        assert (await orchestrator.stats()).total == 0


async def test_workers_that_clear_away_by_themselves_pass_over_nothing_that_cannot_be_read(world, saga):
    settings = Settings(retention=1000)
    async with world.orchestrator(saga, settings=settings) as orchestrator:
        for name in ("one", "bad", "two"):
            await orchestrator.start(saga, name, saga_id=name)
        await asyncio.sleep(200)
        damage(world, "bad", data=b"?")
        await asyncio.sleep(10_000)
        assert (await orchestrator.stats()).total == 0


async def test_a_saga_whose_snapshot_cannot_be_read_is_set_aside_too(world):
    count = 70  # steps: with two events each, enough for a snapshot
    steps = [Step(f"s{n}", lambda data: None, compensatable=False) for n in range(count)]
    long = SagaDefinition(name="long", steps=[*steps, Sleep("nap", 100)])
    async with world.orchestrator(long) as one:
        await one.start(long, saga_id="s-1")
        await asyncio.sleep(1)
    stored = world.store._sagas["s-1"]
    assert stored.snapshot is not None
    good, stored.snapshot = stored.snapshot, Snapshot(version=stored.snapshot.version, data=b"{")
    async with world.orchestrator(long) as two:
        await asyncio.sleep(200)
        (found,) = [saga async for saga in two.find(stuck=True)]
        assert "snapshot" in found.problem
        stored.snapshot = good
        await two.retry("s-1", actor="eve", reason="mended")
        assert state_of(await two.wait("s-1")) == "completed"


@attrs.frozen
class Narrow:
    """A class that refuses some data, with an error of its own."""

    kind: str

    def __attrs_post_init__(self):
        raise KeyError(self.kind)


@pytest.mark.parametrize("narrow", [int, Narrow])
async def test_a_result_that_no_longer_fits_its_type_stops_the_saga_for_a_person(world, did, narrow):
    """The type of a result changed under a saga that runs: its compensation cannot be called, and nothing is lost.

    What a class raised by itself was once an internal error, and the call was counted as interrupted again and again.
    """

    def version(kind):
        async def reserve(data) -> dict:
            return {"kind": "a"}

        async def use(data, reserve: kind):
            did(repr(reserve))

        return SagaDefinition(
            name="typed",
            steps=[
                Step("reserve", reserve, compensatable=False),
                Sleep("nap", 100),
                Step("use", use, compensatable=False),
            ],
        )

    old, new = version(dict), version(narrow)
    async with world.orchestrator(old) as one:
        await one.start(old, saga_id="s-1")
        await asyncio.sleep(1)
    async with world.orchestrator(new) as two:
        saga = await two.wait("s-1", timeout=200)
        assert state_of(saga) == "pending stuck"
        assert "cannot be decoded" in saga.stuck_reason
    async with world.orchestrator(old) as three:
        await three.retry("s-1", actor="eve", reason="the old code is back")
        assert state_of(await three.wait("s-1", timeout=200)) == "completed"
    assert did.names == ["{'kind': 'a'}"]
