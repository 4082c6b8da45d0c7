"""What can be said in a URL, and where a file may lie."""

import sqlite3

import pytest

from sagafsm.core.errors import SettingsError
from sagafsm.store import open_store
from sagafsm_sql import SQLStore
from sagafsm_sql.sqlite import health
from sagafsm_sql.sqlite.connection import CHECKPOINT_AFTER
from sagafsm_sql.sqlite.options import Options, file_system


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite:///x.db?jornal_mode=WAL", "unknown option 'jornal_mode'"),
        ("sqlite:///x.db?journal_mode=OFF", "journal_mode='OFF'"),
        ("sqlite:///x.db?timeout=soon", "timeout='soon'"),
        ("sqlite:///x.db?timeout=-1", "timeout='-1'"),
        ("sqlite:///x.db?timeout=nan", "timeout='nan'"),
        ("sqlite://x.db", "three slashes"),
        ("sqlite://host/x.db", "three slashes"),
    ],
)
def test_a_bad_url_says_what_is_bad(url, message):
    with pytest.raises(SettingsError, match=message):
        SQLStore.from_url(url)


def test_an_unknown_database_is_refused():
    with pytest.raises(SettingsError, match="no SQL database for 'oracle://'"):
        SQLStore.from_url("oracle://x")


def test_a_relative_path_is_fixed_when_the_store_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Options.from_url("sqlite:///sagas.db").path == str(tmp_path / "sagas.db")


def test_two_names_of_one_file_share_one_lock_file(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    paths = [Options.from_url(f"sqlite:///{tmp_path}/{name}/sagas.db").path for name in ("real", "link")]
    assert paths[0] == paths[1]


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_no_file_means_in_memory(url):
    options = Options.from_url(url)
    assert (options.path, options.needs_lock) == (None, False)


async def test_the_scheme_is_registered(tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/sagas.db")
    await store.setup()
    await store.close()


@pytest.mark.parametrize(
    ("options", "journal", "synchronous"), [("", "wal", "FULL"), ("?journal_mode=delete", "delete", "EXTRA")]
)
async def test_every_commit_reaches_the_disk(path, options, journal, synchronous):
    store = SQLStore.from_url(f"sqlite:///{path}{options}")
    await store.setup()
    durability = await store.check()
    assert durability.synced
    assert f"journal_mode={journal}, synchronous={synchronous}" in durability.description
    assert any("two connections write" in warning for warning in durability.warnings) == store.options.needs_lock
    await store.close()


async def test_a_database_in_memory_says_that_it_is_lost():
    store = SQLStore.from_url("sqlite://")
    await store.setup()
    durability = await store.check()
    assert not durability.synced
    assert "forgets everything" in durability.warnings[0]
    await store.close()


@pytest.mark.parametrize(("version", "needed"), [((3, 40, 1), True), ((3, 51, 2), True), ((3, 51, 3), False)])
def test_writers_take_turns_where_sqlite_has_the_bug(monkeypatch, tmp_path, version, needed):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", version)
    assert Options.from_url(f"sqlite:///{tmp_path}/x.db").needs_lock is needed
    assert Options.from_url(f"sqlite:///{tmp_path}/x.db?journal_mode=DELETE").needs_lock is False


async def test_only_the_writing_connection_checkpoints(store):
    await store.load([])
    pragma = "PRAGMA wal_autocheckpoint"
    assert store._reader.cursor().execute(pragma).fetchone() == (0,)
    assert store._writer.cursor().execute(pragma).fetchone() == (CHECKPOINT_AFTER,)


MOUNTS = r"""/dev/vda / ext4 rw 0 0
server:/export /mnt/share nfs4 rw 0 0
//nas/x /mnt/with\040space cifs rw 0 0
/dev/vdb /mnt/share/local xfs rw 0 0
tmpfs /mnt/shared tmpfs rw 0 0
broken
"""


def test_the_file_system_is_that_of_the_nearest_mount(tmp_path):
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    found = {
        name: file_system(tmp_path.__class__(name), mounts)
        for name in ("/x", "/mnt/share", "/mnt/share/a/b", "/mnt/with space/y", "/mnt/share/local/z", "/mnt/shared/z")
    }
    assert list(found.values()) == ["ext4", "nfs4", "nfs4", "cifs", "xfs", "tmpfs"]
    assert file_system(tmp_path, tmp_path / "missing") is None


async def test_a_network_file_system_is_refused(path, monkeypatch):
    monkeypatch.setattr(health, "file_system", lambda _: "nfs4")
    store = SQLStore.from_url(f"sqlite:///{path}")
    with pytest.raises(SettingsError, match="network file system"):
        await store.setup()
    assert not path.exists()
    await store.close()
