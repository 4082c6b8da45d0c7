"""Starts a ``mongod`` as a replica set of one where there is one on the PATH, else the stand-in.

The stand-in is mongo-java-server on an H2 file (``StandIn.java``). Its jars come through Maven; they, and the class,
are kept in the user's cache, so that this is done once.

What must stay true: ``is_real`` says which of the two it is; what a test proves, it proves for that one.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pymongo
from pymongo.errors import OperationFailure, PyMongoError

from tests.servers.base import HOST, Server
from tests.servers.install import NotHere, program

HERE = Path(__file__).parent
NAME = "sagafsm"  # of the database, unless a test takes another
SET = "sagafsm"  # of the replica set
ALREADY_INITIATED = 23
JAVA, COMPILER, MAVEN = ("default-jre-headless",), ("default-jdk-headless",), ("maven",)  # packages of Debian
FETCHING = 300  # seconds


class MongoDB(Server):
    """One server; ``mongod`` runs as a replica set, so majorities and journals are real there."""

    name = "mongodb"
    program = "mongod"

    def __init__(self) -> None:
        super().__init__()
        self._initiated = False

    @classmethod
    def find(cls) -> Path:
        """``mongod``, or the folder of the stand-in."""
        found = shutil.which(cls.program)
        return Path(found) if found else stand_in()

    @property
    def is_real(self) -> bool:
        """Whether this is MongoDB itself."""
        return self.find().name == self.program

    @property
    def url(self) -> str:
        return f"mongodb://{HOST}:{self.port}/{NAME}" + (f"?replicaSet={SET}" if self.is_real else "")

    def command(self) -> Sequence[str]:
        found = self.find()
        data = self.folder / "data"
        if not self.is_real:
            return [str(program("java")), "-Xmx1g", "-cp", f"{found}/*:{found}", "StandIn", str(data), str(self.port)]
        data.mkdir(exist_ok=True)
        where = ["--dbpath", str(data), "--bind_ip", HOST, "--port", str(self.port)]
        return [str(found), "--replSet", SET, "--wiredTigerCacheSizeGB", "0.5", *where]

    def ready(self) -> bool:
        client: pymongo.MongoClient[dict[str, object]]
        with (
            pymongo.MongoClient(
                HOST, self.port, directConnection=True, serverSelectionTimeoutMS=500, socketTimeoutMS=2000
            ) as client,
            suppress(PyMongoError),
        ):
            if self.is_real and not self._initiated:
                members = [{"_id": 0, "host": f"{HOST}:{self.port}"}]
                try:
                    client.admin.command("replSetInitiate", {"_id": SET, "members": members})
                except OperationFailure as exc:
                    if exc.code != ALREADY_INITIATED:
                        raise
                self._initiated = True
            return bool(client.admin.command("isMaster")["ismaster"])
        return False


def stand_in() -> Path:
    """The folder that holds the jars and the class of the stand-in, made where it is missing. Raises NotHere."""
    why = "no mongod on the PATH, and no SAGAFSM_TEST_MONGODB_URL"
    try:
        program("java", packages=JAVA)
    except NotHere as exc:
        raise NotHere(f"{why}; the stand-in needs Java 17: {exc}") from exc
    sources = [HERE / "pom.xml", HERE / "StandIn.java"]
    version = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sagafsm-tests"
    folder = cache / f"mongodb-{version}"
    if folder.exists():
        return folder
    try:
        maven, compiler = program("mvn", packages=MAVEN), program("javac", packages=COMPILER)
    except NotHere as exc:
        raise NotHere(f"{why}; the stand-in is fetched with Maven and compiled: {exc}") from exc
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two sessions fetch it once
        if not folder.exists():
            _make(folder, maven, compiler, why)
    return folder


def _make(folder: Path, maven: Path, compiler: Path, why: str) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        new = Path(scratch) / "new"
        new.mkdir()
        copy = ["dependency:copy-dependencies", f"-DoutputDirectory={new}", "-DincludeScope=runtime"]
        for command in (
            [str(maven), "--batch-mode", "--quiet", "-f", str(HERE / "pom.xml"), *copy],
            [str(compiler), "-cp", f"{new}/*", "-d", str(new), str(HERE / "StandIn.java")],
        ):
            try:
                done = subprocess.run(
                    command, cwd=scratch, capture_output=True, text=True, timeout=FETCHING, check=False
                )
            except subprocess.TimeoutExpired as exc:
                raise NotHere(f"{why}; {command[0]} did not end within {FETCHING} s") from exc
            if done.returncode:
                said = (done.stdout + done.stderr)[-1000:]
                raise NotHere(f"{why}; the stand-in cannot be made, because {command[0]} says: {said}")
        new.rename(folder)
