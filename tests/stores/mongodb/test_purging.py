"""What is purged is gone wholly, wherever it lay, and whenever the purge was interrupted."""

import pytest

from sagafsm.store import Committed, Exists, Snapshot
from sagafsm.testing.appends import create, finish, follow
from sagafsm.testing.conformance.base import commit, read, whole
from sagafsm_mongo import MongoStore
from tests.stores.mongodb.stumbling import Died, dying, meanwhile

WRITES = 7


async def ended(store, saga_id, *, seal):
    """A saga that has ended; ``seal``: its log lies in other collections."""
    record = await commit(store, create(saga_id, snapshot=Snapshot(version=2, data=b"{}")))
    record = await commit(store, finish(await commit(store, follow(record)), at=1.0))
    await store._parts.sealer.caught_up()
    if seal:
        await store._parts.sealer.seal([saga_id])
    return record


def rest(raw):
    """How many documents there are."""
    return {name: raw[name].count_documents({}) for name in ("sagas", "saga_events", "saga_snapshots")}


@pytest.mark.parametrize("keep", [0.0, 3600.0])
@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("at", range(1, WRITES))
async def test_an_interrupted_purge_is_finished_by_the_next(store, raw, at, done, keep):
    await ended(store, "s", seal=True)
    await ended(store, "t", seal=False)
    with dying(store, at, done=done) as died:
        try:
            await store._parts.purger.purge(2.0, 500, keep, None)
        except Died:
            assert died()
    for saga_id in "st":
        if await store.load([saga_id]):
            await whole(store, saga_id)
    await store.purge(2.0, keep_ids=keep)
    await store.purge(2.0, keep_ids=keep)
    assert rest(raw) == {"sagas": 2 if keep else 0, "saga_events": 0, "saga_snapshots": 0}
    assert await store.load(["s", "t"]) == {}
    expected = Exists(same=True, purged=True) if keep else Committed(2)
    assert await store.commit([create("s"), create("t")]) == [expected] * 2


@pytest.mark.parametrize("at", range(1, 4))
async def test_a_new_life_of_an_id_takes_nothing_from_the_one_before(store, raw, at):
    """A purge dies on its way; the id is used again before another purge clears up."""
    await ended(store, "s", seal=True)
    with dying(store, at, done=True), pytest.raises(Died):
        await store._parts.purger.purge(2.0, 500, 0.0, None)
    record = await commit(store, create("s", digest="new"))
    await store._parts.sealer.seal(["s"])
    record = await commit(store, follow(record))
    await store.purge(2.0)
    assert (await whole(store, "s")).digest == "new"
    assert len(await store.events("s")) == record.version == 3
    assert (await read(store, "s")).snapshot is None
    assert rest(raw) == {"sagas": 1, "saga_events": 1, "saga_snapshots": 0}


@pytest.mark.parametrize("keep", [0.0, 3600.0])
@pytest.mark.parametrize("at", range(1, 5))
async def test_sealing_what_is_purged_meanwhile_leaves_nothing_behind(store, raw, at, keep):
    await ended(store, "s", seal=False)
    raw["sagas"].update_one({"_id": "s"}, {"$set": {"snapshot": {"version": 2, "data": "{}"}}})

    async def purge():
        assert await store.purge(2.0, keep_ids=keep) == 1

    with meanwhile(store, at, purge):
        await store._parts.sealer.seal(["s"])
    await store.purge(2.0)
    assert rest(raw) == {"sagas": 1 if keep else 0, "saga_events": 0, "saga_snapshots": 0}


@pytest.mark.parametrize("keep", [0.0, 3600.0])
async def test_what_is_put_elsewhere_between_the_look_and_the_purge_goes_all_the_same(store, raw, keep):
    """The purge said that there was nothing to purge."""
    await ended(store, "s", seal=False)
    with meanwhile(store, 1, lambda: store._parts.sealer.seal(["s"])):
        assert await store.purge(2.0, keep_ids=keep) == 1
    assert rest(raw) == {"sagas": 1 if keep else 0, "saga_events": 0, "saga_snapshots": 0}
    assert await store.load(["s"]) == {}


async def test_what_another_purge_has_put_there_meanwhile_stays(store, url, raw):
    """Its ids are to stay taken; it was interrupted, and the first one cleared up after it."""
    await ended(store, "s", seal=True)
    other = MongoStore.from_url(url)
    await other.setup()

    async def purge():
        with dying(other, 2, done=False), pytest.raises(Died):
            await other._parts.purger.purge(2.0, 500, 3600.0, None)

    with meanwhile(store, 1, purge):
        assert await store.purge(2.0, keep_ids=0.0) == 0
    await other.close()
    assert await store.commit([create("s")]) == [Exists(same=True, purged=True)]
    assert rest(raw) == {"sagas": 1, "saga_events": 0, "saga_snapshots": 0}


async def test_many_purged_ids_are_forgotten_after_their_time(store, raw):
    await store.commit([create(f"s{n}", state="completed", finished_at=1.0) for n in range(700)])
    assert await store.purge(2.0, limit=1000, keep_ids=0.001) == 700
    assert await store.purge(2.0) == 0
    assert rest(raw)["sagas"] == 0
