"""Archivers that are killed, and archivers that meet: no saga is ever missing, and the archive is as if nothing was."""

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sagafsm import read_archive
from sagafsm.moving import folder
from sagafsm.moving.folder import LocalFolder
from sagafsm.store import Filter, open_store
from sagafsm.testing.appends import create, events

REAL_TIME = True
SCRIPT = str(Path(__file__).with_name("killed_archiver.py"))
NAMES = {f"s{n:03}" for n in range(10)}


async def fill(url, names, **options):
    store = open_store(url)
    await store.setup()
    await store.commit(
        [
            create(name, state="completed", finished_at=1.0, created_at=1e9 + n, **options)
            for n, name in enumerate(sorted(names))
        ]
    )
    await store.close()


async def left(url):
    """The ids that are in the store."""
    store, found, cursor = open_store(url), set(), None
    await store.setup(migrate=False)
    while True:
        page = await store.find(Filter(), cursor=cursor)
        found |= {record.saga_id for record in page.records}
        cursor = page.cursor
        if cursor is None:
            break
    await store.close()
    return found


def files(where):
    return (
        {path.name: path.read_bytes() for path in where.iterdir() if path.suffix == ".jsonl"} if where.exists() else {}
    )


def run(url, to, place="", times=0):
    command = [sys.executable, SCRIPT, url, str(to), place, str(times)]
    return subprocess.run(command, capture_output=True, timeout=50, check=False)


@pytest.mark.timeout(150)
@pytest.mark.parametrize("place", ["writing", "written", "purged"])
async def test_an_archiver_that_is_killed_at_any_place_loses_nothing_and_the_next_one_goes_on(tmp_path, place):
    whole, url = tmp_path / "whole.db", f"sqlite:///{tmp_path}/sagas.db"
    await fill(f"sqlite:///{whole}", NAMES)
    shutil.copy(whole, tmp_path / "sagas.db")
    assert run(f"sqlite:///{whole}", tmp_path / "expected").returncode == 0
    killed = 0
    for times in (1, 2, 3):
        done = run(url, tmp_path / "archive", place, times)
        killed += done.returncode == -signal.SIGKILL
        assert done.returncode in (-signal.SIGKILL, 0), done.stderr
        archived = {saga.saga_id for saga in read_archive(tmp_path / "archive")}
        assert archived | await left(url) == NAMES
    assert killed >= 2
    assert run(url, tmp_path / "archive").returncode == 0
    assert await left(url) == set()
    assert files(tmp_path / "archive") == files(tmp_path / "expected")
    store = open_store(url)
    await store.setup()
    results = await store.commit([create(name) for name in sorted(NAMES)])
    assert all(result.purged for result in results)
    await store.close()


async def archive_and_kill(url, to, pause):
    """``sagafsm archive`` in a process that is killed after so many seconds; whether it was still at work."""
    command = [sys.executable, "-m", "sagafsm.cli", "archive", "--older-than", "0", "--to", str(to), "--store", url]
    archiver = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    told = asyncio.ensure_future(archiver.communicate())
    await asyncio.wait([told], timeout=pause)
    at_work = archiver.returncode is None
    if at_work:
        archiver.kill()
    output = (await told)[1]
    assert at_work or archiver.returncode == 0, output
    return at_work


@pytest.mark.timeout(180)
async def test_several_archivers_at_once_some_of_them_killed_lose_nothing(tmp_path):
    """Such as a cron job that is not done when the next one begins."""
    url, to, names = f"sqlite:///{tmp_path}/sagas.db", tmp_path / "archive", {f"s{n:04}" for n in range(3000)}
    await fill(url, names, events=events(20))
    chance = random.Random(3)
    killed = 0
    for longest in (0.8, 1.0, 1.2):
        pauses = [chance.uniform(0.5, longest) for _ in range(2)]
        killed += sum(await asyncio.gather(*(archive_and_kill(url, to, pause) for pause in pauses)))
        archived = {saga.saga_id for saga in read_archive(to)} if to.exists() else set()
        assert archived | await left(url) == names
    assert killed
    assert not any(await asyncio.gather(*(archive_and_kill(url, to, 100) for _ in range(2))))
    assert await left(url) == set()
    sagas = list(read_archive(to))
    assert {saga.saga_id for saga in sagas} == names
    assert len({saga.hash for saga in sagas}) == len(names)  # what is there twice is the same


def test_two_who_write_the_same_file_at_once_never_touch_what_the_other_wrote(tmp_path, monkeypatch):
    """The second opened the first one's unfinished file, emptied it, and was killed: the sagas in it were purged."""
    data, sync = b"a line\n" * 1000, os.fsync

    class Killed(BaseException):
        pass

    def second_begins_and_is_killed(handle):
        monkeypatch.setattr(folder.os, "fsync", killed)
        with pytest.raises(Killed):
            LocalFolder(tmp_path).write("same.jsonl", data[:10])
        monkeypatch.setattr(folder.os, "fsync", sync)
        sync(handle)

    def killed(handle):
        raise Killed

    monkeypatch.setattr(folder.os, "fsync", second_begins_and_is_killed)
    LocalFolder(tmp_path).write("same.jsonl", data)
    assert (tmp_path / "same.jsonl").read_bytes() == data
    assert LocalFolder(tmp_path).files() == ["same.jsonl"]


def test_what_cannot_be_finished_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder.os, "fsync", full)
    with pytest.raises(folder.StoreUnavailable, match="No space left on device; nothing was purged"):
        LocalFolder(tmp_path).write("a.jsonl", b"1")
    assert list(tmp_path.iterdir()) == []


def test_every_folder_that_is_made_is_made_for_good(tmp_path, monkeypatch):
    """After a power failure the file was there, and the folder that held it was not."""
    synced, sync = set(), folder._sync
    monkeypatch.setattr(folder, "_sync", lambda path: (synced.add(path), sync(path)))
    LocalFolder(tmp_path / "a" / "b").write("a.jsonl", b"1")
    assert synced == {tmp_path, tmp_path / "a", tmp_path / "a" / "b"}
