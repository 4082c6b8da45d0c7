"""Answers to those who watch over a worker in a container: a small HTTP endpoint, and a file that is written anew.

What must stay true: whoever asks learns nothing but how the process is doing, cannot change anything, and cannot hold
it up: a request has a few seconds and a few bytes, and only so many are answered at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from pathlib import Path

import msgspec

from ..core.errors import InvalidInput
from ..runtime.health import Health

EVERY = 1.0  # seconds between two writings of the file
PATIENCE = 5.0
LONGEST = 8192  # bytes of a request
MOST = 32  # requests at once
Asked = Callable[[], Health]


@contextlib.asynccontextmanager
async def answering(asked: Asked, host: str, port: int) -> AsyncIterator[int]:
    """Answer ``GET /live`` and ``GET /ready``, 200 or 503, with the whole of it as JSON; yields the port."""
    server = _Server(asked)
    try:
        listening = await asyncio.start_server(server.answer, host, port, limit=LONGEST)
    except OSError as exc:
        raise InvalidInput(f"nothing can listen on {host}:{port}: {exc.strerror or exc}") from exc
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        await listening.wait_closed()


class _Server:
    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._busy = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._busy += 1
        try:
            async with asyncio.timeout(PATIENCE):
                if self._busy <= MOST:
                    head = await reader.readuntil(b"\r\n\r\n")
                    writer.write(self._answer_to(head.split(b"\r\n", 1)[0].decode("latin-1")))
                    await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever asked has gone, or asks for something else
        finally:
            self._busy -= 1
            writer.close()

    def _answer_to(self, request: str) -> bytes:
        method, _, rest = request.partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        health = self._asked()
        if method not in ("GET", "HEAD"):
            return _response(HTTPStatus.METHOD_NOT_ALLOWED, b"", head=False)
        if path not in ("/live", "/ready"):
            return _response(HTTPStatus.NOT_FOUND, b'{"paths": ["/live", "/ready"]}', head=method == "HEAD")
        good = health.live if path == "/live" else health.ready
        status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
        return _response(status, msgspec.json.encode(health.to_dict()), head=method == "HEAD")


def _response(status: HTTPStatus, body: bytes, *, head: bool) -> bytes:
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "Connection: close",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + (b"" if head else body)


@contextlib.asynccontextmanager
async def writing(asked: Asked, path: Path) -> AsyncIterator[None]:
    """Write the file every second, whole each time; it is gone in the end."""
    _write(path, asked())
    task = asyncio.create_task(_write_for_ever(asked, path), name="sagafsm health file")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
        _remove(path)


async def _write_for_ever(asked: Asked, path: Path) -> None:
    while True:
        await asyncio.sleep(EVERY)
        with contextlib.suppress(InvalidInput):  # its age says as much
            _write(path, asked())


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _write(path: Path, health: Health) -> None:
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        new.write_bytes(msgspec.json.encode(health.to_dict()) + b"\n")
        new.replace(path)
    except OSError as exc:
        raise InvalidInput(f"{path} cannot be written: {exc.strerror or exc}") from exc
