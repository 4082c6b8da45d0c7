"""An archive holds what was deleted, whole, whenever whoever writes it is stopped."""

import asyncio
import gzip

import pytest

from sagafsm import InvalidInput, SagaDefinition, SettingsError, Sleep, Step, StoreCorrupt, StoreUnavailable
from sagafsm.moving import archive, archive_sagas, read_archive
from sagafsm.moving.ended import ended
from sagafsm.moving.folder import LocalFolder
from sagafsm.runtime.memory import MemoryStore
from sagafsm.store import Filter
from sagafsm.testing.appends import create, events, finish, follow

REAL_TIME = True


async def filled(*, ended_sagas=7, live=2):
    store = MemoryStore()
    await store.commit(
        [create(f"s{n}", state="completed", finished_at=float(n), created_at=1e9 + n) for n in range(ended_sagas)]
    )
    await store.commit([create(f"live-{n}", created_at=5.0) for n in range(live)])
    return store


def names(folder):
    return sorted(path.name for path in folder.iterdir())


async def left(store):
    return [record.saga_id for record in (await store.find(Filter())).records]


async def test_what_ended_before_is_in_the_archive_and_no_longer_in_the_store(tmp_path):
    store = await filled()
    before = {name: saga.record for name, saga in (await store.load([f"s{n}" for n in range(7)])).items()}
    done = await archive_sagas(store, tmp_path / "old", 5.0)
    assert (done.sagas, done.files) == (5, 1)
    assert await left(store) == ["live-0", "live-1", "s5", "s6"]
    (name,) = names(tmp_path / "old")
    assert name.startswith("20010909T014640Z-")
    assert name.endswith(".jsonl")
    assert (tmp_path / "old" / name).stat().st_size == done.bytes
    sagas = list(read_archive(tmp_path / "old"))
    assert [saga.record for saga in sagas] == [before[f"s{n}"] for n in range(5)]
    assert all([event.seq for event in saga.events] == [1, 2] for saga in sagas)
    assert list(read_archive(str(tmp_path / "old" / name))) == sagas
    assert list(read_archive(f"file://{tmp_path}/old")) == sagas


async def test_nothing_to_archive_makes_no_file(tmp_path):
    store = await filled()
    assert (await archive_sagas(store, tmp_path / "old", 0.0)).files == 0
    assert not (tmp_path / "old").exists()


async def test_a_limit_and_files_of_bounded_size(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MOST_SAGAS", 2)
    store = await filled(ended_sagas=8)
    told = []
    done = await archive_sagas(store, tmp_path, 100.0, limit=5, progress=told.append)
    assert (done.sagas, done.files) == (5, 3)
    assert [one.sagas for one in told] == [2, 4, 5]
    monkeypatch.setattr(archive, "MOST_BYTES", 10)
    assert (await archive_sagas(store, tmp_path, 100.0)).files == 3
    assert [saga.saga_id for saga in read_archive(tmp_path)] == [f"s{n}" for n in range(8)]
    assert await left(store) == ["live-0", "live-1"]


async def test_ids_that_went_into_the_archive_stay_taken(tmp_path):
    store = await filled()
    await archive_sagas(store, tmp_path, 100.0, keep_ids=3600.0)
    (result,) = await store.commit([create("s3")])
    assert result.purged


async def test_gzipped_files_are_read_like_others(tmp_path):
    store = await filled()
    await archive_sagas(store, tmp_path, 3.0, compress=True)
    await archive_sagas(store, tmp_path, 100.0)
    assert [name.partition(".")[2] for name in names(tmp_path)] == ["jsonl.gz", "jsonl"]
    assert [saga.saga_id for saga in read_archive(tmp_path)] == [f"s{n}" for n in range(7)]


async def test_gzipped_files_that_were_put_together_are_read_whole(tmp_path, monkeypatch):
    """``cat *.jsonl.gz > all.jsonl.gz``: what came after the first of them was passed over without a word."""
    monkeypatch.setattr(archive, "MOST_SAGAS", 2)
    await archive_sagas(await filled(), tmp_path / "old", 100.0, compress=True)
    parts = [(tmp_path / "old" / name).read_bytes() for name in names(tmp_path / "old")]
    assert len(parts) == 4
    (tmp_path / "all.jsonl.gz").write_bytes(b"".join(parts))
    assert [saga.saga_id for saga in read_archive(tmp_path / "all.jsonl.gz")] == [f"s{n}" for n in range(7)]
    (tmp_path / "all.jsonl.gz").write_bytes(b"".join(parts)[:-5])
    with pytest.raises(StoreCorrupt, match="its end is missing"):
        list(read_archive(tmp_path / "all.jsonl.gz"))


class Stopped(Exception):
    """The process ends here."""


class StopsAtPurge(MemoryStore):
    """A store before which the process ends, at its n-th purge: before it is applied, or after."""

    def __init__(self, at, applied):
        super().__init__()
        self.left, self.applied = at, applied

    async def purge(self, *arguments, **options):
        self.left -= 1
        if self.left == 0 and self.applied:
            await super().purge(*arguments, **options)
        if self.left == 0:
            raise Stopped
        return await super().purge(*arguments, **options)


@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize("at", [1, 2, 3])
async def test_whoever_is_stopped_loses_no_saga_and_runs_it_again(tmp_path, monkeypatch, at, applied):
    monkeypatch.setattr(archive, "MOST_SAGAS", 3)
    store = StopsAtPurge(at, applied)
    await store.commit([create(f"s{n}", state="failed", finished_at=1.0, created_at=float(n)) for n in range(8)])
    with pytest.raises(Stopped):
        await archive_sagas(store, tmp_path, 2.0)
    archived = {saga.saga_id for saga in read_archive(tmp_path)}
    assert archived | set(await left(store)) == {f"s{n}" for n in range(8)}
    await archive_sagas(store, tmp_path, 2.0)
    assert [saga.saga_id for saga in read_archive(tmp_path)] == [f"s{n}" for n in range(8)]


async def test_a_saga_that_is_archived_twice_can_be_told_by_its_hash(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MOST_SAGAS", 3)
    store = StopsAtPurge(1, False)
    await store.commit([create(f"s{n}", state="failed", finished_at=1.0) for n in range(3)])
    with pytest.raises(Stopped):
        await archive_sagas(store, tmp_path, 2.0)
    await store.commit([create("earlier", state="failed", finished_at=1.0, created_at=1.0)])
    await archive_sagas(store, tmp_path, 2.0)
    sagas = list(read_archive(tmp_path))
    assert len(sagas) == 7
    assert len({saga.hash for saga in sagas}) == 4


class FailsToWrite(LocalFolder):
    def write(self, name, data):
        (self._path / f"{name}.unfinished").write_bytes(data[:10])
        raise StoreUnavailable("disk full")


async def test_what_cannot_be_written_is_not_deleted(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "open_folder", lambda to: FailsToWrite(tmp_path))
    store = await filled()
    with pytest.raises(StoreUnavailable, match="disk full"):
        await archive_sagas(store, tmp_path, 100.0)
    assert len(await left(store)) == 9
    monkeypatch.undo()
    assert list(read_archive(tmp_path)) == []


async def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    store = await filled()
    with pytest.raises(StoreUnavailable, match=r"cannot be written.*nothing was purged"):
        await archive_sagas(store, tmp_path / "file" / "old", 100.0)
    with pytest.raises(StoreUnavailable, match="there is no archive at"):
        list(read_archive(tmp_path / "nowhere"))


async def test_an_archive_that_cannot_be_read_is_unavailable(tmp_path):
    (tmp_path / "a.jsonl").mkdir()
    with pytest.raises(StoreUnavailable, match=r"a\.jsonl cannot be read: .*Is a directory"):
        list(read_archive(tmp_path))
    with pytest.raises(SettingsError, match="needs a folder"):
        read_archive("").__next__()


async def test_an_archive_by_a_file_url(tmp_path):
    store = await filled()
    done = await archive_sagas(store, f"file://{tmp_path}/a/b c", 100.0)
    assert (done.sagas, done.files) == (7, 1)
    assert [saga.saga_id for saga in read_archive(f"file://{tmp_path}/a/b c")] == [f"s{n}" for n in range(7)]
    assert list(read_archive(tmp_path / "a" / "b c")) == list(read_archive(f"{tmp_path}/a/b c"))


class Reopens(MemoryStore):
    """A saga is reopened (its parent undoes it) while it is being archived."""

    done = False

    async def purge(self, *arguments, **options):
        record = self._sagas["s1"].record
        if not self.done:
            self.done = True
            await self.commit([follow(record, state="compensating", finished_at=None)])
        return await super().purge(*arguments, **options)


async def test_a_saga_that_is_reopened_meanwhile_is_kept(tmp_path):
    store = Reopens()
    await store.commit([create(f"s{n}", state="completed", finished_at=1.0) for n in range(3)])
    assert (await archive_sagas(store, tmp_path, 2.0)).sagas == 2
    assert await left(store) == ["s1"]
    saga = (await store.load(["s1"]))["s1"]
    await store.commit([finish(saga.record, at=1.5)])
    assert (await archive_sagas(store, tmp_path, 2.0)).sagas == 1
    versions = sorted((saga.saga_id, len(saga.events)) for saga in read_archive(tmp_path))
    assert versions == [("s0", 2), ("s1", 2), ("s1", 4), ("s2", 2)]


@pytest.mark.parametrize("damage", [lambda data: data[:-30], lambda data: data[:20] + b"x" + data[21:]])
@pytest.mark.parametrize("compress", [True, False])
async def test_a_damaged_archive_is_refused(tmp_path, damage, compress):
    await archive_sagas(await filled(), tmp_path, 100.0, compress=compress)
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(StoreCorrupt, match=path.name):
        list(read_archive(tmp_path))
    assert gzip.compress(b"") != path.read_bytes()


# --- families ---


async def ids(store, before, **options):
    return [record.saga_id async for records in ended(store, before, **options) for record in records]


async def test_a_sub_saga_stays_as_long_as_anybody_above_it_is_at_work():
    store = MemoryStore()
    old = {"state": "completed", "finished_at": 1.0}
    await store.commit([create("root", state="pending"), create("a", parent_id="root", **old)])
    await store.commit([create("b", parent_id="a", **old), create("orphan", parent_id="purged", **old)])
    await store.commit([create("done", **old), create("c", parent_id="done", **old)])
    assert sorted(await ids(store, 2.0)) == ["c", "done", "orphan"]
    await store.commit([finish((await store.load(["root"]))["root"].record, at=50.0)])
    assert sorted(await ids(store, 2.0)) == ["a", "b", "c", "done", "orphan"]
    assert "root" in await ids(store, 51.0)
    assert len(await ids(store, 51.0, limit=2)) == 2


async def test_parents_in_a_circle_hold_nobody_up():
    store = MemoryStore()
    await store.commit([create("a", parent_id="b", state="failed", finished_at=1.0)])
    await store.commit([create("b", parent_id="a", state="failed", finished_at=1.0)])
    assert await ids(store, 2.0) == ["a", "b"]


# --- the orchestrator's verb ---


async def test_the_verb_of_the_orchestrator(tmp_path):
    from sagafsm import Orchestrator

    definition = SagaDefinition(name="one", steps=[Step("work", lambda data: data, compensatable=False)])
    naps = SagaDefinition(name="naps", steps=[Sleep("nap", 1000)])
    async with Orchestrator("memory://", sagas=[definition, naps]) as orchestrator:
        for n in range(3):
            await orchestrator.run(definition, n, saga_id=f"s{n}")
        await orchestrator.start(naps, saga_id="nap")
        await asyncio.sleep(0)
        assert (await orchestrator.archive(finished_before=3600, to=tmp_path)).sagas == 0
        done = await orchestrator.archive(finished_before=-1, to=tmp_path, limit=2)
        assert (done.sagas, done.files) == (2, 1)
        assert await orchestrator.purge(finished_before=-1, dry_run=True) == 1
        assert [saga.instance.results for saga in read_archive(tmp_path)] == [{"work": 0}, {"work": 1}]
        for options in ({"limit": -1}, {"keep_ids": -1.0}, {"keep_ids": float("nan")}):
            with pytest.raises(InvalidInput):
                await orchestrator.archive(finished_before=-1, to=tmp_path, **options)


async def test_events_of_a_long_saga_are_all_there(tmp_path):
    store = MemoryStore()
    await store.commit([create("s", events=events(3000), state="completed", finished_at=1.0)])
    await archive_sagas(store, tmp_path, 2.0)
    (saga,) = read_archive(tmp_path)
    assert [event.seq for event in saga.events] == list(range(1, 3001))
