"""A Redis server that also speaks TLS, with a certificate of an authority of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .base import HOST, free_port
from .install import program
from .redis import Redis

NAME = f"subjectAltName=IP:{HOST}"


class RedisTLS(Redis):
    """Without TLS it is found at :attr:`port`, with TLS at :attr:`tls_port`; its certificate names only its address."""

    name = "redis_tls"

    def __init__(self) -> None:
        self._openssl = program("openssl", packages=("openssl",))
        super().__init__()

    def take_ports(self) -> None:
        super().take_ports()
        self.tls_port = free_port()

    @property
    def authority(self) -> Path:
        """The certificate that a client has to trust."""
        return self.folder / "authority.pem"

    @property
    def url(self) -> str:
        return f"rediss://{HOST}:{self.tls_port}/0?ssl_ca_certs={self.authority}"

    def prepare(self) -> None:
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
        self.run(
            self._openssl, "req", "-x509", *key, "-keyout", "authority.key", "-out", self.authority.name,
            "-subj", "/CN=Authority of a test",
        )  # fmt: skip
        self.run(
            self._openssl, "req", "-x509", *key, "-keyout", "server.key", "-out", "server.pem", "-subj", "/CN=server",
            "-CA", self.authority.name, "-CAkey", "authority.key", "-addext", NAME,
            "-addext", "basicConstraints=critical,CA:FALSE",
        )  # fmt: skip

    def command(self) -> Sequence[str]:
        return [
            *super().command(), "--tls-port", str(self.tls_port), "--tls-cert-file", "server.pem",
            "--tls-key-file", "server.key", "--tls-ca-cert-file", self.authority.name, "--tls-auth-clients", "no",
        ]  # fmt: skip
