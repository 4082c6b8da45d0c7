"""Creates the schema and brings it up to date.

What must stay true: the version stands in the database and changes in the same transaction as the tables, so an
interrupted migration leaves the old version whole; the version is read again under the lock, so of several processes
that begin at once one migrates and the others find it done. The lock belongs to a transaction, because one that belongs
to a session would stay behind a pooler. Nobody waits inside a statement for the lock: an index that is being built
concurrently waits for all statements that began before, and both would wait for ever.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from sagafsm.core.errors import SettingsError, StoreCorrupt, StoreTooNew, StoreUnavailable

from ..queries import Queries
from .driver import Connection
from .errors import MIGRATE
from .options import Options
from .pool import connect, part

META = 'CREATE TABLE {schema}.saga_meta (key text COLLATE "C" NOT NULL PRIMARY KEY, value text NOT NULL)'
INVALID = "SELECT NOT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)"
BUILT_BY = "SELECT pid FROM pg_stat_progress_create_index WHERE index_relid = to_regclass($1)"
PATIENCE = 600.0  # seconds to wait for another process that migrates: an index on a large table takes its time
FIRST_LOOK, LONGEST_LOOK = 0.02, 0.5
LOCK_TIMEOUT = "10s"
"""For a table that is to be changed: whoever waits for it makes everybody else wait too."""

_CONCURRENTLY = re.compile(r"^CREATE (?:UNIQUE )?INDEX CONCURRENTLY IF NOT EXISTS (\w+)", re.MULTILINE)


class Schema:
    """The schema of one database; ``target`` is the version to reach (the newest; tests ask for older ones)."""

    def __init__(self, queries: Queries, options: Options, *, target: int | None = None) -> None:
        self._queries = queries
        self._options = options
        self.migrations: list[tuple[int, str, str]] = queries.migrations()
        self.target = self.migrations[-1][0] if target is None else target

    async def bring_up_to_date(self, connection: Connection) -> None:
        """Run the migrations that are missing. Raises StoreTooNew where a newer sagafsm has been here."""
        if await self.check(connection) == self.target:
            return
        for number, _, text in self.migrations[: self.target]:
            await self._reach(number, text, connection)

    async def _reach(self, number: int, text: str, connection: Connection) -> None:
        """Run one migration, or wait until another process has done so."""
        clock = asyncio.get_running_loop().time
        give_up_at, pause = clock() + PATIENCE, FIRST_LOOK
        while await self.check(connection) < number:
            async with self._alone(connection) as alone:
                if alone:
                    found = await self.check(connection)
                    if found < number:
                        await self._migrate(found, number, text, connection)
                    return
            if clock() > give_up_at:
                raise StoreUnavailable(
                    f"another process has been migrating schema '{self._options.schema}' of {self._options.where} for "
                    f"{PATIENCE:g} s; look for it in pg_stat_activity"
                )
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_LOOK)

    async def require(self, connection: Connection) -> None:
        """Raise StoreUnavailable unless the schema is up to date."""
        found = await self.check(connection)
        if found != self.target:
            raise StoreUnavailable(
                f"schema '{self._options.schema}' of {self._options.where} is at version {found}, and {self.target} is "
                f"needed; {MIGRATE}"
            )

    async def check(self, connection: Connection) -> int:
        """The version found, 0 for none."""
        table = self._queries.fill("{schema}.saga_meta")
        # Not by to_regclass: it may answer from before what another process has committed in the meantime.
        if not await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = $1 AND c.relname = 'saga_meta')",
            self._options.schema,
        ):
            return 0
        value = await connection.fetchval(f"SELECT value FROM {table} WHERE key = 'schema_version'")  # noqa: S608
        if value is None or not value.isdigit():
            raise StoreCorrupt(
                f"schema '{self._options.schema}' of {self._options.where} has a table saga_meta without a "
                "schema_version; restore a backup"
            )
        if int(value) > self.migrations[-1][0]:
            raise StoreTooNew(
                f"schema '{self._options.schema}' of {self._options.where} has version {value}; this sagafsm knows up "
                f"to {self.migrations[-1][0]}: upgrade sagafsm here"
            )
        return int(value)

    @asynccontextmanager
    async def _alone(self, connection: Connection) -> AsyncIterator[bool]:
        """A transaction; true: in which no other process migrates this schema."""
        async with connection.transaction(isolation="read_committed"):
            # An administrator's limits are meant for the work of every day.
            await connection.execute(
                "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0"
            )
            lock = "SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))"
            yield bool(await connection.fetchval(lock, f"sagafsm {self._options.schema}"))

    async def _migrate(self, found: int, number: int, text: str, connection: Connection) -> None:
        if found == 0:
            await self._begin(connection)
        await self._run(connection, text)
        await connection.execute(
            self._queries.fill("INSERT INTO {schema}.saga_meta VALUES ('schema_version', $1) "
                               "ON CONFLICT (key) DO UPDATE SET value = excluded.value"), str(number)
        )  # fmt: skip

    async def _begin(self, connection: Connection) -> None:
        name = self._options.schema
        if await connection.fetchval("SELECT to_regnamespace($1) IS NULL", name):
            await connection.execute(self._queries.fill("CREATE SCHEMA {schema}"))
        taken = await connection.fetchval(
            "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace($1) "
            r"AND (relname = 'sagas' OR relname LIKE 'saga\_%') LIMIT 1",
            name,
        )
        if taken:
            raise SettingsError(
                f"schema '{name}' of {self._options.where} has a '{taken}' that sagafsm did not make; give sagafsm a "
                "schema of its own: '?schema=NAME'"
            )
        await connection.execute(self._queries.fill(META))

    async def _run(self, connection: Connection, text: str) -> None:
        if _CONCURRENTLY.search(text):
            # A statement with parameters keeps its snapshot until the next one; the build would wait for it.
            await connection.execute("SELECT")
            await self._build_indexes(text)
            return
        await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        await connection.execute(self._queries.fill(text))

    async def _build_indexes(self, text: str) -> None:
        """Each statement outside of a transaction, beside the one that holds the lock."""
        connection = await connect(self._options, prepared=False, patient=True)
        try:
            for statement in statements(self._queries.fill(text)):
                found = _CONCURRENTLY.search(statement)
                name = self._queries.fill("{schema}.") + found[1] if found else ""
                await self._wait_for_builder(connection, name)
                # What an interrupted build leaves is an index that is kept up to date and never used.
                if await connection.fetchval(INVALID, name):
                    await connection.execute(f"DROP INDEX CONCURRENTLY {name}")
                await connection.execute(statement)
        finally:
            await part(connection)

    async def _wait_for_builder(self, connection: Connection, name: str) -> None:
        """The server goes on with a build whose process was killed: to drop that index now would be a deadlock."""
        clock = asyncio.get_running_loop().time
        give_up_at, pause = clock() + PATIENCE, FIRST_LOOK
        while pid := await connection.fetchval(BUILT_BY, name):
            if clock() > give_up_at:
                raise StoreUnavailable(
                    f"process {pid} of {self._options.where} has been building {name} for {PATIENCE:g} s, for somebody "
                    "who is gone; look for what it waits for in pg_stat_activity, or SELECT pg_terminate_backend(pid)"
                )
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_LOOK)


def statements(text: str) -> Sequence[str]:
    """The statements of a file that builds indexes: no semicolon is anything but an end in there."""
    return [part.strip() for part in text.split(";") if re.search(r"^\s*\w", part, re.MULTILINE)]
