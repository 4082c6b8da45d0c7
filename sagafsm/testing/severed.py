"""What a loop on virtual time has instead of a selector: nothing, and says so.

What must stay true: whatever would reach outside the process raises NotImplementedError with advice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

LOGGER = logging.getLogger("asyncio")


class _Refused:
    """A method that a loop on virtual time does not have."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, loop: SeveredLoop | None, owner: type) -> Callable[..., Any]:
        def refuse(*arguments: Any, **keywords: Any) -> Any:
            to = f" to {arguments[1]}:{arguments[2]}" if self._name == "create_connection" and arguments[2:] else ""
            if loop is not None:
                loop.refused.append(f"{self._what} ({self._name}{to})")
            raise NotImplementedError(
                f"{self._name}: a loop on virtual time reaches nothing outside its process: no network, no pipes, no "
                "signals; replace the function that does, in a SagaTestHarness with configure_result"
            )

        return refuse


def _refused(what: str) -> Any:
    return _Refused(what)


class SeveredLoop(asyncio.AbstractEventLoop):
    """A loop that reaches nothing outside. ``refused``: what was asked of it all the same, in words."""

    _handler: Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object] | None = None

    def __init__(self) -> None:
        self.refused: list[str] = []

    def get_debug(self) -> bool:
        """Debugging of asyncio is off."""
        return False

    def set_debug(self, enabled: bool) -> None:
        """There is nothing to switch on."""

    def set_exception_handler(
        self, handler: Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object] | None
    ) -> None:
        """Who is told of errors that nobody caught (None: the log)."""
        self._handler = handler

    def get_exception_handler(self) -> Any:
        """Who is told of errors that nobody caught."""
        return self._handler

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """An error that nobody caught."""
        if self._handler is not None:
            self._handler(self, context)
        else:
            LOGGER.error("%s: %r", context.get("message"), context, exc_info=context.get("exception"))

    default_exception_handler = call_exception_handler

    def get_task_factory(self) -> None:
        """There is none: tasks are the loop's own."""

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """There is no executor."""

    create_connection = _refused("opens a network connection")
    create_datagram_endpoint = _refused("opens a network connection")
    create_unix_connection = _refused("opens a network connection")
    sock_connect = _refused("opens a network connection")
    start_tls = _refused("opens a network connection")
    getaddrinfo = _refused("opens a network connection")
    getnameinfo = _refused("opens a network connection")

    create_server = _refused("serves a network port")
    create_unix_server = _refused("serves a network port")
    connect_accepted_socket = _refused("serves a network port")
    sock_accept = _refused("serves a network port")

    add_reader = _refused("uses a socket")
    add_writer = _refused("uses a socket")
    remove_reader = _refused("uses a socket")
    remove_writer = _refused("uses a socket")
    sendfile = _refused("uses a socket")
    sock_recv = _refused("uses a socket")
    sock_recv_into = _refused("uses a socket")
    sock_recvfrom = _refused("uses a socket")
    sock_recvfrom_into = _refused("uses a socket")
    sock_sendall = _refused("uses a socket")
    sock_sendfile = _refused("uses a socket")
    sock_sendto = _refused("uses a socket")

    subprocess_exec = _refused("starts a program")
    subprocess_shell = _refused("starts a program")
    connect_read_pipe = _refused("starts a program")
    connect_write_pipe = _refused("starts a program")

    add_signal_handler = _refused("listens to signals")
    remove_signal_handler = _refused("listens to signals")

    set_default_executor = _refused("changes how the event loop works")
    set_task_factory = _refused("changes how the event loop works")
