"""Archives that lie where only fsspec reaches, tried on its file system in memory and on a broken one."""

import builtins
import threading

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from sagafsm import SettingsError, StoreUnavailable, read_archive
from sagafsm.moving import archive_sagas
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
