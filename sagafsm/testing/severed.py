"""What a loop on virtual time has instead of a selector: nothing, and says so; and its own tasks and handles.

What must stay true: whatever would reach outside the process raises NotImplementedError with advice; tasks are walked
in the same order in every run, wherever asyncio keeps them in sets.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any

LOGGER = logging.getLogger("asyncio")


def _outside(loop: object) -> Any:
    raise NotImplementedError(
        "a loop on virtual time reaches nothing outside its process: no network, no pipes, no signals; replace the "
        "function that does, in a SagaTestHarness with configure_result"
    )


_REFUSED: Any = property(_outside)


class Task(asyncio.Task[Any]):
    """A task that says where it belongs in a set: sets of tasks are then walked in the same order in every run."""

    number: int
    context: Context

    def __hash__(self) -> int:
        return self.number


class Handle(asyncio.Handle):
    """A handle that is made and run with less ado: there are hundreds of thousands of them in a simulation."""

    __slots__ = ()

    def __init__(
        self,
        callback: Callable[..., object],
        args: Any,
        loop: asyncio.AbstractEventLoop,
        context: Context | None = None,
    ) -> None:
        self._context = copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = None
        self._source_traceback = None

    def _run(self) -> None:
        try:
            self._context.run(self._callback, *self._args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._loop.call_exception_handler(
                {"message": f"Exception in callback {self._callback!r}", "exception": exc, "handle": self}
            )


class SeveredLoop(asyncio.AbstractEventLoop):
    """A loop that reaches nothing outside."""

    _handler: Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object] | None = None

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

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """There is no executor."""

    add_reader = add_signal_handler = add_writer = connect_accepted_socket = connect_read_pipe = _REFUSED
    connect_write_pipe = create_connection = create_datagram_endpoint = create_server = _REFUSED
    create_unix_connection = create_unix_server = getaddrinfo = getnameinfo = remove_reader = _REFUSED
    remove_signal_handler = remove_writer = sendfile = sock_accept = sock_connect = sock_recv = sock_recv_into = (
        _REFUSED
    )
    sock_recvfrom = sock_recvfrom_into = sock_sendall = sock_sendfile = sock_sendto = start_tls = _REFUSED
    subprocess_exec = subprocess_shell = set_default_executor = get_task_factory = set_task_factory = _REFUSED
