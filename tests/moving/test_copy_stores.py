"""Whatever is in a store, a copy of it is in the other: by appends alone, without any orchestrator."""

import asyncio

import pytest
from msgspec.structs import replace

from sagafsm import InvalidInput, copy_sagas, undo_copy
from sagafsm.moving import mark_of, writing
from sagafsm.moving.whole import log_hash, read_whole
from sagafsm.runtime.memory import MemoryStore
from sagafsm.store import Filter, Refused, Snapshot
from sagafsm.testing.appends import KIND, create, events, finish, follow

NAMES = {"source_name": "a", "target_name": "b"}
BACK = {"source_name": "b", "target_name": "a"}


async def copy(source, target, **options):
    report = await copy_sagas(source, target, **(NAMES | {"wait": 0.0} | options))
    assert report.ok, report
    return report


async def records(store):
    found, cursor = {}, None
    while True:
        page = await store.find(Filter(), cursor=cursor)
        found |= {record.saga_id: record for record in page.records}
        cursor = page.cursor
        if cursor is None:
            return found


async def hashes(store):
    sagas = await read_whole(store, list(await records(store)))
    return {name: (saga.record.version, log_hash(saga.record, saga.events)) for name, saga in sagas.items()}


@pytest.fixture
async def source():
    store = MemoryStore()
    await store.save_definition(KIND, b'{"steps": []}')
    await store.save_definition("Other@2", b"{}")
    await store.commit([create(f"done-{n}", state="completed", finished_at=9.0, created_at=1.0) for n in range(120)])
    await store.commit(
        [
            create("failed", state="failed", outcome="aborted", finished_at=8.0, tags={"x": "ä"}, correlation_id="c"),
            create("due", due_at=1e9 + 0.1, state="pending", kind="Other@2", saga_type="Other"),
            create("asleep"),
            create("waits", due_at=1e12, state="pending", parent_id="gone", tags={"y": "1"}),
            create("stuck", state="compensating", stuck=True, problem="cannot be read: x"),
            create("paused", state="pending", suspended=True),
            create("long", events=events(25), snapshot=Snapshot(version=20, data=b'{"at": 20}'), state="pending"),
            create("ended-long", events=events(25), snapshot=Snapshot(version=20, data=b"{}"), state="completed",
                   finished_at=5.5),
        ]
    )  # fmt: skip
    return store


LIVE = {"due", "asleep", "waits", "stuck", "paused", "long"}


def unfenced(record):
    return replace(record, fence=0)


async def test_a_copy_holds_every_saga_with_its_whole_log_and_record(source):
    target = MemoryStore()
    before, logs = await records(source), await hashes(source)
    report = await copy(source, target)
    assert (report.total, report.finished, report.moved, report.verified) == (128, 122, 6, 128)
    after = await records(target)
    assert {name: unfenced(record) for name, record in after.items()} == {
        name: unfenced(record) for name, record in before.items()
    }
    assert await hashes(target) == logs
    assert await target.definitions() == await source.definitions()
    now = await records(source)
    assert all(after[name].fence > now[name].fence for name in after)
    stored = await target.load(["long"])
    assert stored["long"].snapshot == Snapshot(version=20, data=b'{"at": 20}')
    assert [event.seq for event in stored["long"].events] == [21, 22, 23, 24, 25]


async def test_what_lives_is_marked_at_the_source_and_nothing_can_be_claimed_there(source):
    before = await records(source)
    await copy(source, MemoryStore())
    after = await records(source)
    for name in LIVE:
        record = after[name]
        mark = mark_of(record)
        assert (mark.kind, mark.place) == ("moved", "b")
        assert (mark.was.due_at, mark.was.stuck, mark.was.problem) == (
            before[name].due_at, before[name].stuck, before[name].problem,
        )  # fmt: skip
        assert (record.owner, record.due_at, record.stuck, record.state) == (None, None, True, before[name].state)
    assert all(after[name] == before[name] for name in after.keys() - LIVE)
    await source.heartbeat("w", 100)
    assert not (await source.claim("w", [KIND, "Other@2"], limit=100)).sagas


async def test_a_copy_that_is_run_again_finds_everything_there(source):
    target = MemoryStore()
    await copy(source, target)
    before = await records(target)
    report = await copy(source, target)
    assert (report.finished, report.moved, report.already, report.verified) == (0, 0, 128, 128)
    assert await records(target) == before


async def test_what_has_gone_on_at_the_target_is_left_alone(source):
    target = MemoryStore()
    await copy(source, target)
    record = await target.load(["due"])
    await target.commit([follow(record["due"].record, state="compensating")])
    before = await records(target)
    report = await copy(source, target)
    assert (report.already, report.verified) == (128, 128)
    assert await records(target) == before


async def test_what_came_to_the_source_since_is_copied_by_the_next_run(source):
    target = MemoryStore()
    await copy(source, target)
    await source.commit([create("new", due_at=5.0), create("old", created_at=0.5, state="failed", finished_at=1.0)])
    report = await copy(source, target)
    assert (report.finished, report.moved, report.already) == (1, 1, 128)
    assert (await records(target))["new"].due_at == 5.0


async def test_finished_only_leaves_the_living_alone(source):
    target = MemoryStore()
    before = await records(source)
    report = await copy(source, target, finished_only=True)
    assert (report.total, report.finished, report.moved, report.verified) == (122, 122, 0, 122)
    assert set(await records(target)) == before.keys() - LIVE
    assert await records(source) == before


async def test_keep_leaves_the_source_as_it_is_and_sets_the_living_aside_at_the_target(source):
    target = MemoryStore()
    before = await records(source)
    report = await copy(source, target, keep=True)
    assert (report.finished, report.kept, report.moved, report.verified) == (122, 6, 0, 128)
    assert await records(source) == before
    there = await records(target)
    assert {name for name, record in there.items() if mark_of(record)} == LIVE
    assert {mark_of(there[name]).kind for name in LIVE} == {"arriving"}
    await target.heartbeat("w", 100)
    assert not (await target.claim("w", [KIND, "Other@2"], limit=100)).sagas
    # The sagas go on, the copy is refreshed, and at last they move.
    await source.commit([follow((await source.load(["due"]))["due"].record, due_at=7.5)])
    await source.commit([finish((await source.load(["waits"]))["waits"].record, at=77.0)])
    assert (await copy(source, target, keep=True)).verified == 128
    report = await copy(source, target)
    assert (report.moved, report.finished) == (5, 0)
    there = await records(target)
    assert not any(mark_of(record) for record in there.values())
    assert (there["due"].due_at, there["due"].version) == (7.5, 3)
    assert (there["waits"].state, there["waits"].finished_at) == ("completed", 77.0)
    assert await hashes(target) == await hashes(source)


async def test_there_and_back_again(source):
    target = MemoryStore()
    await copy(source, target)
    before = await records(target)
    there = await target.load(["due", "asleep"])
    await target.commit([follow(there["due"].record, due_at=3.0, state="compensating")])
    await target.commit([finish(there["asleep"].record, at=44.0)])
    await target.commit([create("born-there", due_at=2.0)])
    report = await copy(target, source, **BACK)
    assert (report.moved, report.finished, report.already) == (6, 1, 122)
    home, away = await records(source), await records(target)
    assert (home["due"].state, home["due"].due_at, home["due"].problem) == ("compensating", 3.0, None)
    assert (home["asleep"].state, home["asleep"].finished_at, home["asleep"].stuck) == ("completed", 44.0, False)
    assert home["stuck"].problem == "cannot be read: x"
    assert all(home[name].fence > away[name].fence for name in LIVE - {"asleep"})
    assert all(mark_of(home[name]) is None for name in home)
    assert {name: unfenced(home[name]) for name in ("waits", "paused", "long")} == {
        name: unfenced(before[name]) for name in ("waits", "paused", "long")
    }
    assert await hashes(source) == await hashes(target)


async def test_a_third_store(source):
    second, third = MemoryStore(), MemoryStore()
    await copy(source, second)
    await copy(second, third, source_name="b", target_name="c")
    report = await copy(source, third, source_name="a", target_name="c")
    assert (report.already, report.elsewhere) == (122, 6)
    assert set(await records(third)) == set(await records(source))
    assert (await copy(third, source, source_name="c", target_name="a")).moved == 6
    assert not any(mark_of(record) for record in (await records(source)).values())
    assert (await copy(second, third, source_name="b", target_name="c")).already == 128


async def test_a_saga_comes_from_one_store_only(source):
    target = MemoryStore()
    await copy(source, target, keep=True)
    twin = MemoryStore()
    twin._sagas = dict(source._sagas)
    report = await copy_sagas(twin, target, source_name="twin", target_name="b", wait=0)
    assert {one.saga_id for one in report.not_copied} == LIVE
    assert "it is on its way there from a; let that copy end first" in report.not_copied[0].why
    assert (await copy(source, target)).moved == 6


async def test_logs_that_are_long_come_in_several_appends(source, monkeypatch):
    monkeypatch.setattr(writing, "PIECE_EVENTS", 4)
    monkeypatch.setattr(writing, "BATCH_APPENDS", 7)
    target = MemoryStore()
    committed = []
    commit = target.commit

    async def counting(batch):
        committed.append(batch)
        return await commit(batch)

    target.commit = counting
    logs = await hashes(source)
    await copy(source, target)
    assert await hashes(target) == logs
    assert max(len(append.events) for batch in committed for append in batch) == 4
    assert max(len(batch) for batch in committed) == 7


class Stopped(Exception):
    pass


class Stops(MemoryStore):
    """A store before which the copier ends, at its n-th commit: before it is applied, or after."""

    left, applied = 0, False

    async def commit(self, batch):
        self.left -= 1
        if self.left == 0 and not self.applied:
            raise Stopped
        results = await super().commit(batch)
        if self.left == 0:
            raise Stopped
        return results


@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize("end", ["source", "target"])
async def test_wherever_it_is_stopped_nothing_is_alive_in_both_and_the_next_run_ends_it(monkeypatch, end, applied):
    monkeypatch.setattr(writing, "PIECE_EVENTS", 4)
    monkeypatch.setattr(writing, "BATCH_APPENDS", 3)
    for at in range(1, 30):
        ends = {"source": Stops(), "target": Stops()}
        await ends["source"].commit([create("done", events=events(9), state="failed", finished_at=1.0)])
        for n in range(5):
            await ends["source"].commit([create(f"s{n}", events=events(2 + 3 * n), due_at=4.0 + n, state="pending")])
        await ends["source"].commit([create("s4:child", parent_id="s4")])
        logs = await hashes(ends["source"])
        ends[end].left, ends[end].applied = at, applied
        try:
            await copy_sagas(ends["source"], ends["target"], **NAMES)
        except Stopped:
            stopped = True
        else:
            stopped = False
        here, there = await records(ends["source"]), await records(ends["target"])
        for name in here:
            alive = [found for found in (here[name], there.get(name)) if found and not mark_of(found)]
            assert len(alive) <= 1 or name == "done", (at, name)
        report = await copy(ends["source"], ends["target"])
        assert report.verified == 7
        assert await hashes(ends["target"]) == logs
        there = await records(ends["target"])
        assert [there[f"s{n}"].due_at for n in range(5)] == [4.0, 5.0, 6.0, 7.0, 8.0]
        assert not any(mark_of(record) for record in there.values())
        if not stopped:
            return
    raise AssertionError("it was stopped every time: begin with a higher number")


async def test_a_saga_that_somebody_holds_is_left_and_moved_later(source):
    target = MemoryStore()
    await source.heartbeat("w", 100)
    (held,) = (await source.claim("w", ["Other@2"], limit=1)).sagas
    report = await copy_sagas(source, target, **NAMES, wait=5.0)
    assert (report.busy, report.moved, report.ok) == (1, 5, False)
    assert "due" not in await records(target)
    assert (await records(source))["due"].owner == "w"
    await source.commit([follow(held.record, owner=None)])
    assert (await copy(source, target)).moved == 1


async def test_it_waits_for_what_somebody_holds(source, world):
    target = MemoryStore()
    await source.heartbeat("w", 100)
    (held,) = (await source.claim("w", ["Other@2"], limit=1)).sagas
    copying = asyncio.ensure_future(copy(source, target, wait=60.0))
    await asyncio.sleep(20)
    assert not copying.done()
    await source.commit([follow(held.record, owner=None)])
    report = await copying
    assert (report.moved, report.busy) == (6, 0)
    assert await hashes(target) == await hashes(source)


async def test_a_saga_that_ends_while_it_waits_is_copied_as_it_ended(source):
    target = MemoryStore()
    await source.heartbeat("w", 100)
    (held,) = (await source.claim("w", ["Other@2"], limit=1)).sagas
    copying = asyncio.ensure_future(copy(source, target, wait=60.0))
    await asyncio.sleep(20)
    await source.commit([finish(held.record)])
    assert (await copying).verified == 128
    assert (await records(target))["due"].state == "completed"


class SaysSomething(MemoryStore):
    """Somebody outside writes to a saga between the copier's claim and its mark, a few times."""

    times = 3

    async def commit(self, batch):
        for append in batch:
            if (append.problem or "").startswith("moved to") and append.saga_id == "due" and self.times:
                self.times -= 1
                record = self._sagas["due"].record
                await super().commit([follow(record, due_at=1.5, attention=True)])
        return await super().commit(batch)


async def test_what_is_said_to_a_saga_while_it_is_moved_goes_with_it():
    source, target = SaysSomething(), MemoryStore()
    await source.commit([create("due", due_at=9.0), create("other", due_at=9.0)])
    await copy(source, target)
    assert {name: record.version for name, record in (await records(target)).items()} == {"due": 5, "other": 2}
    assert (await records(target))["due"].due_at == 1.5
    assert await hashes(source) == await hashes(target)


class LosesItsLease(MemoryStore):
    """The copier is frozen before it marks: its lease runs out, and a worker takes the saga."""

    frozen = True

    async def commit(self, batch):
        if self.frozen and any((append.problem or "").startswith("moved to") for append in batch):
            self.frozen = False
            for worker in await self.workers():
                await self.retire(worker.worker_id)
            await self.heartbeat("w", 100)
            await self.claim("w", [KIND], limit=10, saga_ids=["s"])
        return await super().commit(batch)


async def test_a_copier_that_lost_its_lease_moves_nothing():
    source, target = LosesItsLease(), MemoryStore()
    await source.commit([create("s", due_at=1.0)])
    report = await copy_sagas(source, target, **NAMES, wait=0)
    assert (report.busy, report.moved) == (1, 0)
    record = (await records(source))["s"]
    assert (record.owner, mark_of(record)) == ("w", None)
    assert mark_of((await records(target))["s"]).kind == "arriving"
    await source.commit([follow(record, owner=None, state="compensating", due_at=2.0)])
    assert (await copy(source, target)).moved == 1
    there = (await records(target))["s"]
    assert (there.state, there.due_at, there.version) == ("compensating", 2.0, 3)


# --- families ---


async def test_a_family_moves_as_one():
    source, target = MemoryStore(), MemoryStore()
    start = b'{"steps": ["a", "b", "c"]}'
    first = events(1, data=start)
    await source.commit(
        [
            create("p", events=first, state="pending", due_at=9.0),
            create("p:a", parent_id="p", state="completed", finished_at=1.0),
            create("p:b", parent_id="p", events=first, state="pending"),
            create("p:b:c", parent_id="p:b", state="started", due_at=5.0),
            create("p:c", state="started"),  # has the name of a sub-saga, and is none
        ]
    )
    await source.heartbeat("w", 100)
    (held,) = (await source.claim("w", [KIND], limit=1, saga_ids=["p:b:c"])).sagas
    report = await copy_sagas(source, target, **NAMES, wait=0)
    assert (report.busy, report.moved) == (3, 1)
    assert not any(mark_of(record) for name, record in (await records(source)).items() if name != "p:c")
    assert not any(record.owner for name, record in (await records(source)).items() if name != "p:b:c")
    await source.commit([follow(held.record, owner=None)])
    freed = []
    commit = target.commit

    async def noting(batch):
        freed.extend(append.saga_id for append in batch if not append.events)
        return await commit(batch)

    target.commit = noting
    assert (await copy(source, target)).moved == 3
    assert freed == ["p:b:c", "p:b", "p"]
    assert (await records(target))["p:a"].state == "completed"


async def test_a_parent_whose_log_cannot_be_read_is_moved_with_its_children():
    source, target = MemoryStore(), MemoryStore()
    await source.commit(
        [create("p", events=events(1, data=b"{"), stuck=True), create("odd", parent_id="p", due_at=1.0)]
    )
    assert (await copy(source, target)).moved == 2
    assert not any(mark_of(record) for record in (await records(target)).values())


# --- what cannot be copied ---


async def test_what_is_there_already_under_the_same_id_is_left_alone(source):
    target = MemoryStore()
    await target.commit([create("done-7", digest="other"), create("due", digest="other", due_at=1.0)])
    before = await records(target)
    report = await copy_sagas(source, target, **NAMES, wait=0)
    assert {one.saga_id: one.why for one in report.not_copied} == {
        "done-7": "another saga has this id there",
        "due": "another saga has this id there",
    }
    assert (report.ok, report.verified, report.wrong) == (False, 126, [])
    after = await records(target)
    assert all(after[name] == before[name] for name in before)
    assert (await records(source))["due"].owner is None
    assert mark_of((await records(source))["due"]) is None


async def test_a_saga_that_lives_in_both_is_reported():
    source, target = MemoryStore(), MemoryStore()
    append = create("s", due_at=1.0)
    for store in (source, target):
        await store.commit([append])
    report = await copy_sagas(source, target, **NAMES, wait=0)
    assert "it is at work there as well" in report.not_copied[0].why
    log = create("t", state="failed", finished_at=1.0)
    await source.commit([log])
    await target.commit([replace(log, events=events(2, data=b"[]"))])
    report = await copy_sagas(source, target, **NAMES, wait=0)
    assert [(one.saga_id, one.why) for one in report.wrong] == [("t", "its log there is another one")]


class Refuses(MemoryStore):
    async def commit(self, batch):
        results = await super().commit([append for append in batch if append.saga_id != "large"])
        return (
            results
            if len(results) == len(batch)
            else [Refused("too large") if append.saga_id == "large" else results.pop(0) for append in batch]
        )


async def test_what_the_target_refuses_stays_at_the_source():
    source, target = MemoryStore(), Refuses()
    await source.commit([create("large", due_at=1.0), create("small", due_at=1.0)])
    report = await copy_sagas(source, target, **NAMES, wait=0)
    assert [(one.saga_id, one.why) for one in report.not_copied] == [("large", "the store refuses it: too large")]
    record = (await records(source))["large"]
    assert (record.owner, record.due_at, mark_of(record)) == (None, 1.0, None)
    assert (await records(target))["small"].due_at == 1.0


async def test_an_id_that_was_purged_at_the_target_stays_free_there():
    source, target = MemoryStore(), MemoryStore()
    await source.commit([create("s", state="failed", finished_at=1.0)])
    await target.commit([create("s", state="failed", finished_at=1.0)])
    await target.purge(2.0, keep_ids=100.0)
    report = await copy_sagas(source, target, **NAMES)
    assert "its id was purged there" in report.not_copied[0].why


async def test_a_copy_that_was_changed_is_found_out(source):
    target = MemoryStore()
    await copy(source, target)
    saga = target._sagas["done-5"]
    saga.events[1] = replace(saga.events[1], data=b"{}")
    del target._sagas["done-6"]
    target._sagas["due"].events[0] = replace(target._sagas["due"].events[0], at=1.0)
    report = await copy_sagas(source, target, **NAMES, wait=0)
    assert {one.saga_id: one.why for one in report.wrong} == {
        "done-5": "its log there is another one",
        "due": "its log there is another one",
    }
    assert (report.verified, report.finished, report.ok) == (126, 1, False)
    assert (await copy_sagas(source, target, **NAMES, wait=0, verify=False)).verified is None


# --- taking a move back ---


async def test_moves_to_a_store_that_is_lost_can_be_undone(source):
    before = await records(source)
    await copy(source, MemoryStore())
    assert await undo_copy(source, "elsewhere") == 0
    assert await undo_copy(source, "b") == 6
    after = await records(source)
    assert {name: unfenced(record) for name, record in after.items()} == {
        name: unfenced(record) for name, record in before.items()
    }
    assert await undo_copy(source, "b") == 0


# --- arguments ---


async def test_a_store_is_not_copied_to_itself(source, tmp_path):
    for first, second in ((source, source), ("sqlite:///a.db", "sqlite:///a.db"), (source, MemoryStore())):
        with pytest.raises(InvalidInput, match="cannot be copied to itself"):
            await copy_sagas(first, second)
    with pytest.raises(InvalidInput, match="wait"):
        await copy_sagas("sqlite:///a.db", "sqlite:///b.db", wait=-1)


async def test_progress_is_told(source):
    told = []
    await copy(source, MemoryStore(), progress=lambda report: told.append(report.done))
    assert told == sorted(told)
    assert told[-1] == 128
