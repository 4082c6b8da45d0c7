"""A command runs on a server that is there before it and gone after it."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from tests.servers.redis import Redis

ROOT = Path(__file__).parents[2]
CONNECT = (
    "import socket, sys, urllib.parse as u; at = u.urlsplit(sys.argv[1]); "
    "socket.create_connection((at.hostname, at.port), 5).close(); print(sys.argv[1]); sys.exit(3)"
)


def run(*arguments):
    command = [sys.executable, "-m", "tests.servers.running", *arguments]
    own = {name: value for name, value in os.environ.items() if name != "SAGAFSM_TEST_REDIS_URL"}
    return subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, timeout=120, check=False)


def test_the_server_lives_as_long_as_the_command(servers):
    servers.url(Redis)  # skips where there is none
    done = run("redis", "--", sys.executable, "-c", CONNECT, "{url}")
    assert done.returncode == 3, done.stderr
    address = urlsplit(done.stdout.strip())
    with socket.socket() as probe:
        assert probe.connect_ex((address.hostname, address.port)) != 0


def test_an_unknown_server_is_refused_and_the_known_ones_are_named():
    done = run("oracle", "--", "true")
    assert done.returncode == 2
    assert "postgresql" in done.stderr
