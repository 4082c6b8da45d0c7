"""The fixture ``servers``: each kind of server is started once a session, when the first test asks for it.

::

    @pytest.fixture
    def url(servers):
        return servers.url(Redis)               # a shared one: SAGAFSM_TEST_REDIS_URL, or one that was started here

    def test_a_crash(servers):
        with servers.another(Redis) as redis:   # one of the test's own: it may be killed
            redis.kill()

What must stay true: a server that cannot be had skips the test with the reason; under ``CI=true`` it fails it. A
reason is found out once a session. Shared servers are never killed, paused or reconfigured.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NoReturn, TypeVar

import pytest

from .base import Server
from .install import NotHere

S = TypeVar("S", bound=Server)


class Servers:
    """The servers of one session. Each is named by its class, or by a function that makes one."""

    def __init__(self) -> None:
        self._running: dict[Callable[[], Server], Server] = {}
        self._missing: dict[Callable[[], Server], str] = {}
        self._stack = ExitStack()

    def url(self, kind: type[Server]) -> str:
        """The URL of a shared server of this kind."""
        return kind.given() or self.shared(kind).url

    def shared(self, make: Callable[[], S]) -> S:
        """The shared server of this kind, started here; for those that need more of it than its URL."""
        if make not in self._running:
            self._running[make] = self._stack.enter_context(self._make(make))
        return self._running[make]  # type: ignore[return-value]

    @contextmanager
    def another(self, make: Callable[[], S]) -> Iterator[S]:
        """A server of the test's own, started; gone when the block is left."""
        with self._make(make) as server:
            yield server

    def _make(self, make: Callable[[], S]) -> S:
        if make in self._missing:
            missing(self._missing[make])
        try:
            return make()
        except NotHere as exc:
            self._missing[make] = str(exc)
            missing(str(exc))

    def close(self) -> None:
        """End them all."""
        self._stack.close()


def missing(reason: str) -> NoReturn:
    """Skip the test, or fail it where everything must run."""
    if os.environ.get("CI", "").lower() not in ("", "0", "false"):
        pytest.fail(f"{reason} (CI is set: no test may be skipped for want of a server)", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """Real servers, started when they are first asked for."""
    found = Servers()
    yield found
    found.close()


__all__: list[Any] = ["Servers", "missing", "servers"]
