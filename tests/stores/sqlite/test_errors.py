"""What goes wrong with a file is told by our errors, and nothing of it is lost or half written."""

import asyncio
import errno
import os
import resource
import sqlite3
import threading

import pytest

from sagafsm.core.errors import OutcomeUnknown, StoreCorrupt, StoreError, StoreUnavailable
from sagafsm.store import Committed, Duplicate
from sagafsm.testing.appends import create, events, follow
from sagafsm_sql import SQLStore, purging
from sagafsm_sql.sqlite.errors import translate
from sagafsm_sql.sqlite.lock import FileLock

BIG = b'"' + b"x" * 50_000 + b'"'


@pytest.fixture
def other(path, store):
    """Another program's connection to the same file."""
    connection = sqlite3.connect(path, isolation_level=None)
    yield connection
    connection.close()


async def opened(url, reading=()):
    store = SQLStore.from_url(url)
    try:
        await store.setup()
        await store.load(reading)
    finally:
        await store.close()


async def test_a_database_that_stays_locked_is_unavailable(store, other):
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="stayed locked by another process") as caught:
        await store.commit([create("s")])
    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
    other.execute("ROLLBACK")
    assert await store.commit([create("s")]) == [Committed(2)]


@pytest.mark.parametrize("named", [False, True])
async def test_a_purge_of_which_a_later_step_fails_does_not_deny_the_earlier_ones(store, other, monkeypatch, named):
    names = [f"s{n}" for n in range(7)]
    await store.commit([create(name, state="failed", finished_at=1.0) for name in names])
    monkeypatch.setattr(purging, "AT_ONCE", 3)
    other.execute(
        "CREATE TRIGGER test_stop BEFORE DELETE ON sagas WHEN (SELECT count(*) FROM sagas) <= 4 "
        "BEGIN SELECT RAISE (ABORT, 'raised by the test'); END"
    )
    with pytest.raises(OutcomeUnknown, match="3 sagas were purged, then"):
        await store.purge(2.0, saga_ids=names if named else None)
    with pytest.raises(StoreUnavailable, match="nothing was written"):
        await store.purge(2.0, saga_ids=names[3:] if named else None)
    other.execute("DROP TRIGGER test_stop")
    assert len(await store.load(names)) == 4
    assert await store.purge(2.0, saga_ids=names if named else None) == 4


async def test_a_lock_file_that_stays_locked_is_unavailable(store, path):
    lock = FileLock(f"{path}.lock", 0.1)
    with lock, pytest.raises(StoreUnavailable, match="stayed locked by another process"):
        await store.commit([create("s")])
    lock.close()
    assert await store.commit([create("s")]) == [Committed(2)]


async def test_a_file_system_without_locks_is_told_as_an_error_of_ours(store, monkeypatch):
    """The system's own error came out of a commit."""

    def refuse(file, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    if store._lock is None:
        pytest.skip("this SQLite needs no lock of ours")
    with monkeypatch.context() as patch:
        patch.setattr("fcntl.flock", refuse)
        with pytest.raises(StoreUnavailable, match=r"cannot be locked .*; nothing was written"):
            await store.commit([create("s")])
    assert await store.commit([create("s")]) == [Committed(2)]


async def test_a_store_can_be_closed_while_another_process_hangs_with_the_lock(path):
    store = SQLStore.from_url(f"sqlite:///{path}?timeout=0.1")
    await store.setup()
    await store.commit([create("s")])
    before = threading.active_count()
    lock = FileLock(f"{path}.lock", 0.1)
    with lock:
        await store.close()
    lock.close()
    assert threading.active_count() == before - 2
    assert store._writer._connection is None
    await opened(f"sqlite:///{path}", reading=["s"])


async def test_reads_do_not_wait_behind_a_write_that_waits(path, other):
    store = SQLStore.from_url(f"sqlite:///{path}?timeout=30")
    await store.setup()
    await store.commit([create("s")])
    other.execute("BEGIN IMMEDIATE")
    writing = asyncio.ensure_future(store.commit([create("t")]))
    assert list(await store.load(["s", "t"])) == ["s"]
    assert not writing.done()
    other.execute("ROLLBACK")
    assert await writing == [Committed(2)]
    await store.close()


async def test_a_file_that_is_no_database_is_corrupt(path):
    path.write_bytes(b"this is a letter to my aunt\n" * 100)
    with pytest.raises(StoreCorrupt, match="no SQLite database"):
        await opened(f"sqlite:///{path}")
    assert path.read_bytes() == b"this is a letter to my aunt\n" * 100


async def test_a_damaged_database_is_corrupt(path):
    store = SQLStore.from_url(f"sqlite:///{path}")
    await store.setup()
    await store.commit([create(f"s{n}", events=events(3)) for n in range(300)])
    await store.close()
    content = bytearray(path.read_bytes())
    for start in range(4096 * 3, len(content), 4096):
        content[start : start + 2048] = b"\xee" * 2048
    path.write_bytes(content)
    with pytest.raises(StoreCorrupt, match="damaged"):
        await opened(f"sqlite:///{path}", reading=[f"s{n}" for n in range(300)])


@pytest.mark.parametrize("options", ["", "?journal_mode=DELETE"])
async def test_a_missing_directory_is_unavailable(tmp_path, options):
    with pytest.raises(StoreUnavailable, match="directory must exist"):
        await opened(f"sqlite:///{tmp_path}/missing/sagas.db{options}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("options", ["", "?journal_mode=DELETE"])
async def test_a_directory_without_the_right_to_write_is_unavailable(tmp_path, options):
    tmp_path.chmod(0o555)
    with pytest.raises(StoreUnavailable, match="needs the right to write"):
        await opened(f"sqlite:///{tmp_path}/sagas.db{options}")
    tmp_path.chmod(0o755)


def test_a_file_that_is_read_only_is_unavailable(path):
    sqlite3.connect(path).execute("CREATE TABLE t (a)").connection.close()
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    with pytest.raises(sqlite3.OperationalError) as caught:
        connection.execute("INSERT INTO t VALUES (1)")
    connection.close()
    error = translate(caught.value, str(path))
    assert isinstance(error, StoreUnavailable)
    assert "needs the right to write" in str(error)


async def test_a_full_disk_loses_nothing_and_goes_on_when_there_is_space(store):
    await store.commit([create("s")])
    record = (await store.load(["s"]))["s"].record
    store._writer.cursor().execute("PRAGMA max_page_count = 40").fetchall()
    batch = [follow(record, events=events(10, data=BIG)), create("t")]
    with pytest.raises(StoreUnavailable, match="no space left") as caught:
        await store.commit(batch)
    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
    assert list(await store.load(["s", "t"])) == ["s"]
    assert (await store.load(["s"]))["s"].record == record
    store._writer.cursor().execute("PRAGMA max_page_count = 1000000").fetchall()
    assert await store.commit(batch) == [Committed(12), Committed(2)]


async def test_an_error_at_commit_leaves_the_outcome_unknown_and_the_batch_can_be_handed_in_again(store, path):
    """The log may not grow: a real write error, and in the middle of COMMIT."""
    await store.commit([create("s")])
    batch = [create("t", events=events(20, data=BIG)), create("u")]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.with_name("sagas.db-wal").stat().st_size + 8192, hard))
    try:
        with pytest.raises(OutcomeUnknown, match="may or may not") as caught:
            await store.commit(batch)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
    results = await store.commit(batch)
    assert [type(result) for result in results] in ([Committed, Committed], [Duplicate, Duplicate])
    found = await store.load(["s", "t", "u"])
    assert [saga.record.version for saga in found.values()] == [2, 20, 2]


async def test_a_store_that_is_not_open_says_so(path):
    store = SQLStore.from_url(f"sqlite:///{path}")
    for call in (store.load([]), store.workers(), store.release("s", worker_id="w", fence=1)):
        with pytest.raises(StoreError, match="call setup"):
            await call
    await store.setup()
    await store.close()
    with pytest.raises(StoreError, match="call setup"):
        await store.load([])


async def test_a_closed_store_can_be_set_up_again(path):
    store = SQLStore.from_url(f"sqlite:///{path}")
    for _ in range(2):
        await store.setup()
        await store.commit([create("s")])
        assert list(await store.load(["s"])) == ["s"]
        await store.close()
    assert sorted(file.name for file in path.parent.iterdir()) == ["sagas.db", "sagas.db.lock"]


async def test_bytes_that_somebody_broke_by_hand_do_not_hide_other_sagas(store, other):
    await store.commit([create("good"), create("bad")])
    other.execute("UPDATE saga_events SET data = CAST(x'7bff7d' AS TEXT) WHERE saga_id = 'bad' AND seq = 2")
    found = await store.load(["bad", "good"])
    assert found["bad"].events[1].data == b"{\xff}"
    assert found["good"].events[1].data == b'{"n":1}'
    assert (await store.events("bad"))[1].data == b"{\xff}"


async def test_a_poisoned_append_harms_no_neighbour_whatever_the_poison(store, other):
    other.execute(
        "CREATE TRIGGER refuse BEFORE INSERT ON saga_events WHEN new.type = 'Poison'"
        " BEGIN SELECT raise(ABORT, 'no'); END"
    )
    await store.commit([create("s")])
    record = (await store.load(["s"]))["s"].record
    poisons = [
        create("p1", events=[event_of("Poison")]),
        create("p2", tags={"x": "\ud800"}),
        create("p3", fence=2**63),
        create("p4", events=[event_of("Good"), event_of("Bad", b"\xff")]),
        create("p5", correlation_id=object()),
    ]
    results = await store.commit([create("a"), *poisons, follow(record)])
    assert [type(result).__name__ for result in results] == ["Committed", *["Refused"] * 5, "Committed"]
    assert "IntegrityError: no" in results[1].reason
    assert sorted(await store.load(["a", "p1", "p2", "p3", "p4", "p5", "s"])) == ["a", "s"]
    assert list(await store.events("p4")) == []


def event_of(kind, data=b"{}"):
    return type(events(1)[0])(kind, 1.0, data)
