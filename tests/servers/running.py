"""Run a command on a server that is started for it and ended after it: ``make demo STORE=postgresql`` does so.

    python -m tests.servers.running postgresql -- sagafsm demo --store {url}

``{url}`` stands for the server's URL. Where ``SAGAFSM_TEST_POSTGRESQL_URL`` names a server, that one is used.
Nothing beyond the standard library and what the server's own module needs is imported: the demo has no pytest.
"""

from __future__ import annotations

import importlib
import inspect
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import nullcontext

from .base import Server
from .install import NotHere

NAMES = ("mongodb", "postgresql", "redis")


def run_on(kind: type[Server], command: Sequence[str]) -> int:
    """Run the command; its exit code. Raises NotHere."""
    given = kind.given()
    with nullcontext() if given else kind() as server:
        url = given or server.url
        child = subprocess.Popen([part.replace("{url}", url) for part in command])
        # Ctrl-C reaches the child by itself; the server must outlive it.
        old = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            return child.wait()
        finally:
            signal.signal(signal.SIGINT, old)


def kind_of(name: str) -> type[Server]:
    """The server of that name."""
    module = importlib.import_module(f"tests.servers.{name}")
    return next(kind for _, kind in inspect.getmembers(module, inspect.isclass) if getattr(kind, "name", "") == name)


def main(arguments: Sequence[str]) -> int:
    """Exit codes: the command's own; 2 where there is no such server."""
    if len(arguments) < 3 or arguments[0] not in NAMES or arguments[1] != "--":
        print(f"usage: python -m tests.servers.running {{{','.join(NAMES)}}} -- COMMAND [{{url}}]", file=sys.stderr)
        return 2
    try:
        return run_on(kind_of(arguments[0]), arguments[2:])
    except NotHere as exc:
        print(f"{arguments[0]}: {exc}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
