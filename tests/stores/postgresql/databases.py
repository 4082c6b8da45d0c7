"""Schemas for tests: one that is emptied again and again, and ones of a test's own."""

import uuid
from contextlib import asynccontextmanager
from urllib.parse import urlencode

import asyncpg

TABLES = (
    "sagas", "saga_log", "saga_snapshots", "saga_tags", "saga_definitions", "saga_permits", "saga_limits",
    "saga_workers", "saga_purged", "saga_counts", "saga_count_changes", "saga_history",
)  # fmt: skip


class Schemas:
    """Schemas on one server, all gone when it is closed. ``made``: whether the common one has its tables already."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.common = f"test_{uuid.uuid4().hex[:12]}"
        self.names = [self.common]
        self.made = False

    def url(self, schema: str, **options: object) -> str:
        """The store URL for a schema."""
        joint = "&" if "?" in self.server else "?"
        return f"{self.server}{joint}{urlencode({'schema': schema, **options})}"

    def new(self) -> str:
        """A name that nobody uses."""
        self.names.append(f"test_{uuid.uuid4().hex[:12]}")
        return self.names[-1]

    async def empty(self) -> str:
        """The common schema, with nothing in it (or not yet made)."""
        if self.made:
            async with self.connection() as connection:
                await connection.execute(";".join(f"DELETE FROM {self.common}.{table}" for table in TABLES))
        self.made = True
        return self.common

    @asynccontextmanager
    async def connection(self):
        """A connection of the driver, as it comes."""
        connection = await asyncpg.connect(self.server)
        try:
            yield connection
        finally:
            await connection.close()

    async def drop(self) -> None:
        """Remove them all."""
        async with self.connection() as connection:
            for name in self.names:
                await connection.execute(f'DROP SCHEMA IF EXISTS "{name}" CASCADE')
