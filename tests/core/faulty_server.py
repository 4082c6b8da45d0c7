"""A tiny server on loopback that breaks in one way that a test names, over and over.

What must stay true: bounded in count (at most 20 connections) and in time (every socket times out); it counts the
requests that it read to the end, because those may have had an effect.
"""

import contextlib
import socket
import struct
import threading
from collections.abc import Generator

import attrs

FAULTS = ("hang", "reset", "close", "half", "garbage")  # after the whole request was read
GARBAGE = b"\x16\x03\x01 this is no HTTP\r\n\r\n"
HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nContent-Type: application/json\r\n\r\n{"
PATIENCE = 5.0


@attrs.define
class FaultyServer:
    port: int
    fault: str  # one of FAULTS, or the status line of the answer, such as "503 Service Unavailable"
    once: bool  # after the first request nobody listens any more
    requests: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/charge"

    def serve(self, listener: socket.socket, over: threading.Event) -> None:
        held = []  # hanging connections stay open until the test is over
        for _ in range(20):
            try:
                connection, _ = listener.accept()
            except OSError:
                break
            connection.settimeout(PATIENCE)
            try:
                read_request(connection)
            except OSError:  # a client that gave up before it sent anything, or the wake-up at the end
                connection.close()
                continue
            self.requests += 1
            if self.once:
                listener.close()
            if self.fault == "hang":
                held.append(connection)
                continue
            if self.fault == "reset":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif self.fault == "half":
                connection.sendall(HALF)
            elif self.fault == "garbage":
                connection.sendall(GARBAGE)
            elif self.fault != "close":
                connection.sendall(f"HTTP/1.1 {self.fault}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            connection.close()
        over.wait(PATIENCE)
        for connection in held:
            connection.close()


def read_request(connection: socket.socket) -> None:
    """Read an HTTP request with its body, or the first message of another protocol."""
    received = b""
    while b"\r\n\r\n" not in received:
        if not (chunk := connection.recv(65536)):
            raise ConnectionError("closed before the request was complete")
        received += chunk
        if b"HTTP/" not in received:  # another protocol: its first message comes in one piece
            return
    head, _, body = received.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    while len(body) < length:
        body += connection.recv(65536)


@contextlib.contextmanager
def faulty_server(fault: str, *, once: bool = False) -> Generator[FaultyServer]:
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()
    server = FaultyServer(listener.getsockname()[1], fault, once)
    thread = threading.Thread(target=server.serve, args=(listener, over))
    thread.start()
    try:
        yield server
    finally:
        over.set()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(PATIENCE)


def refusing_url() -> str:
    """An address where nobody listens: the port was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}/charge"
