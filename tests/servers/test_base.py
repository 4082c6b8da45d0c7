"""The ground that tests of servers stand on: what is started comes up, can be killed, and leaves nothing behind."""

import errno
import functools
import inspect
import json
import os
import socket
import subprocess
import sys
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest

from tests.acceptance.processes import until
from tests.servers import install, plugin
from tests.servers.__main__ import kinds
from tests.servers.base import HOST, Server, descendants, lives
from tests.servers.install import NotHere, program
from tests.servers.mongodb import MongoDB
from tests.servers.postgresql import PostgreSQL
from tests.servers.redis import Redis

LOOPBACK = {
    "0100007F",  # 127.0.0.1
    "0000000000000000FFFF00000100007F",  # the same, of a socket that speaks IPv6 as well
    "00000000000000000000000001000000",  # ::1
}

APT = """#!/bin/sh
echo "$@" >> {folder}/log
ls {folder} >> {folder}/log
if [ ! -e {folder}/tried ]; then touch {folder}/tried; exit 1; fi
case "$*" in *install*) cp {folder}/served-then {folder}/served-now ;; esac
"""


class Web(Server):
    """A server that every Python has; it starts a process of its own, as database servers do."""

    name = "web"
    program = "python3"
    child = "import time; time.sleep(600)"

    @property
    def url(self):
        return f"http://{HOST}:{self.port}/"

    def command(self):
        script = (
            f"import http.server, subprocess, sys; subprocess.Popen([sys.executable, '-c', {self.child!r}]);"
            f"http.server.test(http.server.SimpleHTTPRequestHandler, bind='{HOST}', port={self.port})"
        )
        return [sys.executable, "-c", script]

    def prepare(self):
        (self.folder / "hello").write_text("hello")

    def hello(self):
        with urllib.request.urlopen(f"{self.url}hello", timeout=20) as answer:
            return answer.read()


def test_a_server_answers_once_it_is_started_and_again_after_a_kill():
    with Web() as web:
        assert web.hello() == b"hello"
        until(lambda: descendants(web._process.pid), "its child runs")
        children, port = descendants(web._process.pid), web.port
        web.kill()
        assert not web.running
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((HOST, port)).close()
        assert not any(lives(pid, born) for pid, born in children.items())
        web.start()
        assert (web.hello(), web.port) == (b"hello", port)
        web.pause()
        with socket.create_connection((HOST, port), timeout=0.05) as connection:
            connection.sendall(b"GET /hello HTTP/1.0\r\n\r\n")
            with pytest.raises(TimeoutError):
                connection.recv(1)
            web.resume()
            connection.settimeout(20)
            assert connection.recv(4)
        folder = web.folder
    assert not folder.exists()
    assert not web.running


def test_a_server_that_does_not_start_says_why():
    class Broken(Web):
        def command(self):
            return [sys.executable, "-c", "import sys; sys.exit('the disk is made of cheese')"]

    broken = Broken()
    with pytest.raises(AssertionError, match="made of cheese"), broken:
        pass
    assert not broken.folder.exists()


def test_a_port_that_somebody_took_meanwhile_is_given_up():
    with socket.create_server((HOST, 0)) as taken:
        web = Web()
        web.port = taken.getsockname()[1]
        web.ready = lambda: web.port != taken.getsockname()[1]
        with web:
            assert web.port != taken.getsockname()[1]


KILLED = """
import importlib, json, os, sys
sys.path.insert(0, sys.argv[1])
from tests.servers.base import descendants
server = getattr(importlib.import_module(sys.argv[2]), sys.argv[3])().start()
pid = server._process.pid
alone = {pid: next(born for one, born in descendants(os.getpid()).items() if one == pid)}
print(json.dumps([str(server.folder), server.port, alone | descendants(pid)]), flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("kind", [Web, PostgreSQL, Redis, MongoDB], ids=lambda kind: kind.name)
def test_a_server_and_all_it_started_die_with_the_tests_however_they_end(servers, kind):
    if kind is not Web:
        servers.url(kind)  # skips where there is none
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", KILLED, root, kind.__module__, kind.__name__]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    folder, port, processes = json.loads(done.stdout)

    def refuses():
        with socket.socket() as probe:
            return probe.connect_ex((HOST, port)) == errno.ECONNREFUSED

    until(lambda: not any(lives(int(pid), born) for pid, born in processes.items()), "all of them are gone")
    until(refuses, "nobody answers")
    until(lambda: not Path(folder).exists(), "its folder is gone")


def test_a_program_is_found_on_the_path_or_in_its_place_the_newest_first(tmp_path):
    for version in ("9", "15", "x"):
        place = tmp_path / version / "bin"
        place.mkdir(parents=True)
        (place / "served").touch(mode=0o755)
    assert program("served", places=[f"{tmp_path}/*/bin"]) == tmp_path / "15" / "bin" / "served"
    assert program("sh", places=[f"{tmp_path}/*/bin"]).name == "sh"


def test_what_is_missing_is_said_with_the_way_out(monkeypatch):
    monkeypatch.setenv("SAGAFSM_TEST_INSTALL", "0")
    with pytest.raises(NotHere, match="apt-get install some-package, or let the tests do it: SAGAFSM_TEST_INSTALL=1"):
        program("no-such-server", packages=["some-package"])
    with pytest.raises(NotHere, match="no no-such-server on the PATH"):
        program("no-such-server")


def test_what_is_missing_is_installed_where_that_is_allowed(monkeypatch, tmp_path):
    monkeypatch.setenv("SAGAFSM_TEST_INSTALL", "1")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(install, "POLICY", tmp_path / "policy-rc.d")
    (tmp_path / "served-then").write_text("#!/bin/sh\n")
    (tmp_path / "served-then").chmod(0o755)
    for name in ("apt-get", "sudo"):
        (tmp_path / name).write_text(APT.format(folder=tmp_path))
        (tmp_path / name).chmod(0o755)
    assert program("served-now", packages=["one", "two"]) == tmp_path / "served-now"
    said = (tmp_path / "log").read_text()
    assert [line.split()[-1] for line in said.splitlines() if "DPkg" in line] == ["two", "update", "two"]
    assert ("policy-rc.d" in said) is (os.geteuid() == 0)
    assert not (tmp_path / "policy-rc.d").exists()


@pytest.mark.parametrize(("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)])
def test_a_server_that_cannot_be_had_skips_the_test_and_fails_it_under_ci(monkeypatch, ci, outcome):
    class Nowhere(Web):
        program = "no-such-server"

    monkeypatch.setenv("CI", ci)
    servers = plugin.Servers()
    for _ in range(2):
        with pytest.raises(outcome, match="no no-such-server on the PATH"):
            servers.url(Nowhere)


def test_what_will_be_skipped_is_said_before_the_tests_run(tmp_path):
    own = {name: value for name, value in os.environ.items() if not name.startswith("SAGAFSM_TEST_")}
    nothing = {"PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "SAGAFSM_TEST_INSTALL": "0"}
    given = {"SAGAFSM_TEST_REDIS_URL": "redis://elsewhere"}

    def say(**more):
        command = [sys.executable, "-m", "tests.servers"]
        root = Path(__file__).parents[2]
        done = subprocess.run(
            command, cwd=root, env={**own, **nothing, **more}, capture_output=True, text=True, timeout=50, check=True
        )
        return done.stdout

    why = "will be skipped: no redis-server on the PATH; install it: apt-get install redis-server"
    assert f"tests that need redis {why}" in say()
    assert "tests that need mongodb will be skipped: no mongod on the PATH, and no SAGAFSM_TEST_MONGODB_URL" in say()
    assert "that need redis will" not in say(**given)


def test_a_server_that_runs_already_is_taken(monkeypatch):
    class Nowhere(Web):
        program = "no-such-server"

    monkeypatch.setenv("SAGAFSM_TEST_WEB_URL", "http://elsewhere:80/")
    assert plugin.Servers().url(Nowhere) == "http://elsewhere:80/"


def test_a_shared_server_is_started_once(servers):
    assert servers.shared(Web) is servers.shared(Web)
    with servers.another(Web) as other:
        assert other.port != servers.shared(Web).port


def listening(pid):
    """The addresses that a process and those that it started listen on, as Linux writes them (see proc(5))."""
    found = set()
    for one in (pid, *descendants(pid)):
        sockets = set()
        for handle in Path(f"/proc/{one}/fd").glob("*"):
            with suppress(OSError):
                sockets.add(str(handle.readlink()))
        for table in ("tcp", "tcp6"):
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile, and listens no more
                rows = [line.split() for line in Path(f"/proc/{one}/net/{table}").read_text().splitlines()[1:]]
                listens = [row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets]
                found |= {address.partition(":")[0] for address in listens}
    return found


@pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="only Linux says what a process listens on")
@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.name)
def test_a_server_listens_on_the_loopback_interface_alone(servers, kind):
    server = servers.shared(functools.partial(kind, servers.shared(PostgreSQL)) if needs_another(kind) else kind)
    addresses = listening(server._process.pid)
    assert addresses
    assert addresses <= LOOPBACK


def needs_another(kind):
    """Whether it stands before or behind a PostgreSQL server."""
    return any(value.default is value.empty for value in inspect.signature(kind).parameters.values())


def test_every_kind_of_server_says_what_it_is():
    names = [kind.name for kind in kinds()]
    assert len(names) == len(set(names))
