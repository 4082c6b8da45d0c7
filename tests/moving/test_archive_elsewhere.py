"""Archives that lie where only fsspec reaches, tried on its file system in memory and on a broken one."""

import builtins
import threading

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from sagafsm import SettingsError, StoreUnavailable, read_archive
from sagafsm.moving import archive_sagas, folder
from sagafsm.moving.folder import LocalFolder, open_folder
from sagafsm.runtime.memory import MemoryStore
from sagafsm.testing.appends import create

REAL_TIME = True


@pytest.fixture
def url():
    MemoryFileSystem.store.clear()
    yield "memory://bucket/sagas"
    MemoryFileSystem.store.clear()


async def filled():
    store = MemoryStore()
    await store.commit([create(f"s{n}", state="failed", finished_at=1.0, created_at=float(n)) for n in range(5)])
    return store


@pytest.mark.parametrize("compress", [False, True])
async def test_an_archive_at_a_url(url, compress):
    store = await filled()
    done = await archive_sagas(store, url, 2.0, compress=compress)
    assert (done.sagas, done.files) == (5, 1)
    sagas = list(read_archive(url))
    assert [saga.saga_id for saga in sagas] == [f"s{n}" for n in range(5)]
    (path,) = fsspec.filesystem("memory").ls("/bucket/sagas", detail=False)
    assert list(read_archive(f"memory:/{path}")) == sagas


def test_there_is_no_archive():
    with pytest.raises(StoreUnavailable, match="there is no archive at /nowhere"):
        list(read_archive("memory://nowhere"))


class Broken(MemoryFileSystem):
    """A place that takes half of what it is given, or nothing."""

    protocol = "broken"
    refuses = True

    def pipe_file(self, path, value, **options):
        if self.refuses:
            raise ConnectionError("gone away")
        super().pipe_file(path, value[:-1], **options)


@pytest.mark.parametrize(("refuses", "words"), [(True, "gone away; nothing was purged"), (False, "bytes instead of")])
async def test_what_was_not_written_is_not_deleted(url, monkeypatch, refuses, words):
    monkeypatch.setattr(Broken, "refuses", refuses)
    fsspec.register_implementation("broken", Broken, clobber=True)
    store = await filled()
    with pytest.raises(StoreUnavailable, match=words):
        await archive_sagas(store, "broken://bucket/sagas", 2.0)
    assert len(await store.load([f"s{n}" for n in range(5)])) == 5


class Killed(BaseException):
    """The process ends here."""


class Slow(MemoryFileSystem):
    """A file is seen there while it is written, as over SFTP; the process can be killed in the middle."""

    protocol = "slow"
    killed_at = None

    def pipe_file(self, path, value, **options):
        super().pipe_file(path, value[: len(value) // 2], **options)
        if self.killed_at == "writing":
            raise Killed
        super().pipe_file(path, value, **options)

    def mv(self, path1, path2, **options):
        if self.exists(path2):
            raise FileExistsError(path2)
        super().mv(path1, path2, **options)


class KilledAtPurge(MemoryStore):
    kills = True

    async def purge(self, *arguments, **options):
        if self.kills:
            raise Killed
        return await super().purge(*arguments, **options)


@pytest.mark.parametrize("place", ["writing", "purging"])
async def test_where_halves_are_seen_a_file_has_its_name_when_it_is_whole(url, monkeypatch, place):
    """An archiver that was killed left half a file, and the whole archive could not be read any more."""
    monkeypatch.setattr(folder, "SHOW_HALVES", {"slow"})
    monkeypatch.setattr(Slow, "killed_at", place)
    fsspec.register_implementation("slow", Slow, clobber=True)
    store, url = KilledAtPurge(), "slow://bucket/sagas"
    await store.commit([create(f"s{n}", state="failed", finished_at=1.0) for n in range(5)])
    with pytest.raises(Killed):
        await archive_sagas(store, url, 2.0)
    assert len(list(read_archive(url))) == (5 if place == "purging" else 0)
    monkeypatch.setattr(Slow, "killed_at", None)
    store.kills = False
    assert (await archive_sagas(store, url, 2.0)).sagas == 5
    assert [saga.saga_id for saga in read_archive(url)] == [f"s{n}" for n in range(5)]


async def test_a_folder_of_this_machine_is_one_whatever_its_url_is_called(tmp_path):
    """What was written to ``local://`` was not brought to the disk before its sagas were deleted."""
    assert isinstance(open_folder(f"local://{tmp_path}/old"), LocalFolder)
    await archive_sagas(await filled(), f"local://{tmp_path}/old", 2.0)
    assert len(list(read_archive(tmp_path / "old"))) == 5


@pytest.mark.parametrize("method", ["exists", "ls", "open"])
async def test_a_place_that_fails_while_it_is_read(url, monkeypatch, method):
    await archive_sagas(await filled(), url, 2.0)

    def fail(*arguments, **options):
        raise ConnectionError("gone away")

    monkeypatch.setattr(MemoryFileSystem, method, fail)
    with pytest.raises(StoreUnavailable, match="cannot be read: gone away"):
        list(read_archive(url))


def test_an_unknown_scheme_is_named():
    with pytest.raises(SettingsError, match="nowhere"):
        list(read_archive("nowhere://x"))


def test_without_fsspec_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **options):
        if name == "fsspec":
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SettingsError, match=r"pip install 'sagafsm\[archive\]'"):
        list(read_archive("s3://bucket/sagas"))


async def test_the_event_loop_goes_on_while_a_file_is_written(url, monkeypatch):
    written_by = []
    write = MemoryFileSystem.pipe_file

    def noting(self, path, value, **options):
        written_by.append(threading.current_thread() is threading.main_thread())
        return write(self, path, value, **options)

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", noting)
    await archive_sagas(await filled(), url, 2.0)
    assert written_by == [False]
