"""Which MongoDB the tests take: one that is named, else a ``mongod`` on the PATH, else the stand-in."""

import os
from pathlib import Path

import pytest

from tests.servers import install, plugin
from tests.servers.install import NotHere
from tests.servers.mongodb import MongoDB, server

VARIABLE = "SAGAFSM_TEST_MONGODB_URL"


@pytest.fixture
def path(monkeypatch, tmp_path):
    """An empty PATH, and no URL."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def put(folder, name):
    program = folder / name
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    return program


def test_one_that_is_named_is_taken_and_none_is_started(path, monkeypatch):
    put(path, "mongod")
    monkeypatch.setenv(VARIABLE, "mongodb://elsewhere:27017/x?replicaSet=rs0")
    assert plugin.Servers().url(MongoDB) == "mongodb://elsewhere:27017/x?replicaSet=rs0"


def test_a_mongod_on_the_path_comes_next_as_a_replica_set_of_one(path):
    mongod = put(path, "mongod")
    with_mongod = MongoDB()
    try:
        assert MongoDB.find() == mongod
        assert with_mongod.is_real
        command = list(with_mongod.command())
        assert command[0] == str(mongod)
        assert command[command.index("--replSet") + 1] == server.SET
        assert command[command.index("--bind_ip") + 1] == "127.0.0.1"
        assert str(with_mongod.folder) in command[command.index("--dbpath") + 1]
        assert with_mongod.url.endswith(f"?replicaSet={server.SET}")
    finally:
        with_mongod.close()
    assert not with_mongod.folder.exists()


def test_else_the_stand_in_is(servers, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    folders = [folder for folder in os.environ["PATH"].split(os.pathsep) if not Path(folder, "mongod").exists()]
    monkeypatch.setenv("PATH", os.pathsep.join(folders))
    try:
        folder = MongoDB.find()
    except NotHere as exc:
        plugin.missing(str(exc))
    assert (folder / "StandIn.class").exists()
    stand_in = MongoDB()
    try:
        assert not stand_in.is_real
        assert "StandIn" in stand_in.command()
        assert "replicaSet" not in stand_in.url
    finally:
        stand_in.close()


def test_without_java_the_reason_says_every_way_out(path, monkeypatch):
    monkeypatch.setattr(install, "_may_install", lambda: False)
    with pytest.raises(NotHere, match=f"no mongod on the PATH, and no {VARIABLE}; the stand-in needs Java 17"):
        MongoDB.find()


def test_without_maven_the_reason_says_so_unless_the_stand_in_is_there_already(path, monkeypatch):
    monkeypatch.setattr(install, "_may_install", lambda: False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(path))
    put(path, "java")
    with pytest.raises(NotHere, match=r"fetched with Maven and compiled: no mvn on the PATH"):
        MongoDB.find()
    for name in ("mvn", "javac"):
        put(path, name)
    with pytest.raises(NotHere, match=r"the stand-in cannot be made, because .*mvn says"):
        MongoDB.find()
    assert [found.name for found in (path / "sagafsm-tests").iterdir()] == ["lock"]
