"""A Redis server of its own: every write is on the disk before it is acknowledged."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

from .base import HOST, Server


class Redis(Server):
    """One server. ``settings`` come after its own: of a subclass, or given."""

    name = "redis"
    program = "redis-server"
    packages = ("redis-server",)
    account = "redis"
    settings: Sequence[str] = ()

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    def command(self) -> Sequence[str]:
        return [
            str(self.find()),
            *("--port", str(self.port), "--bind", HOST, "--dir", str(self.folder), "--daemonize", "no"),
            *("--appendonly", "yes", "--appendfsync", "always", "--save", ""),
            *("--enable-debug-command", "yes"),
            *self.settings,
        ]

    def ready(self) -> bool:
        return self.ask("PING") == "+PONG"

    def ask(self, *words: str) -> str:
        """The first line that the server answers to a command."""
        return ask(self.port, *words)


def ask(port: int, *words: str) -> str:
    """Send one command over a connection of its own; the answer without its frame, or the line that it is."""
    with socket.create_connection((HOST, port), timeout=10) as connection, connection.makefile("rb") as answer:
        parts = [f"${len(word.encode())}\r\n{word}\r\n" for word in words]
        connection.sendall(f"*{len(words)}\r\n{''.join(parts)}".encode())
        line = answer.readline().decode().strip()
        return answer.read(int(line[1:])).decode() if line.startswith("$") and line != "$-1" else line


def cli() -> Path:
    """The program that forms clusters."""
    return Redis.find().with_name("redis-cli")
