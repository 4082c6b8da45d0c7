"""Make sure, before the tests run, that the servers they use are there: ``python -m tests.servers``.

Installs what is missing where that is allowed, and says what will be skipped and why; never fails for that.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import tests.servers
from tests.servers.base import Server
from tests.servers.install import NotHere


def kinds() -> list[type[Server]]:
    """Every kind of server that a module of this package defines."""
    names = [module.name for module in pkgutil.iter_modules(tests.servers.__path__, "tests.servers.")]
    modules = [importlib.import_module(name) for name in names if not name.endswith("__main__")]
    found = {value for module in modules for _, value in inspect.getmembers(module, inspect.isclass)}
    servers = [kind for kind in found if issubclass(kind, Server) and not inspect.isabstract(kind)]
    return sorted(servers, key=lambda kind: kind.name)


def main() -> None:
    """Look for each."""
    for kind in kinds():
        try:
            if not kind.given():
                kind.find()
        except NotHere as exc:
            print(f"tests that need {kind.name} will be skipped: {exc}")


if __name__ == "__main__":
    main()
