"""A store behind a network, as small as can be, and such stores with one bug each in how they take its failures.

What goes over the wire are the numbers of objects that stay in this process: only how a network breaks matters here.
"""

import asyncio
import contextlib
import itertools
from contextlib import suppress

from msgspec.structs import replace

from sagafsm import InvalidInput, OutcomeUnknown, StoreUnavailable
from sagafsm.runtime.memory import MemoryStore
from sagafsm.testing.faults import READS

OBJECTS = {}
NUMBERS = itertools.count(1)


class MemoryServer:
    """Serves a memory store: takes the number of a question, gives the number of its answer."""

    def __init__(self):
        self.store = MemoryStore()
        self.changes = 0

    @contextlib.asynccontextmanager
    async def running(self):
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        tasks = self.tasks = set()
        try:
            yield server.sockets[0].getsockname()
        finally:
            server.close()
            for task in list(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def serve(self, reader, writer):
        self.tasks.add(asyncio.current_task())
        with suppress(ConnectionError, asyncio.CancelledError):
            while line := await reader.readline():
                method, arguments, options = OBJECTS[int(line)]
                try:
                    answer = await getattr(self if method == "changed" else self.store, method)(*arguments, **options)
                except InvalidInput as exc:
                    answer = exc
                self.changes += method not in {*READS, "changed"}
                number = next(NUMBERS)
                OBJECTS[number] = answer
                writer.write(b"%d\n" % number)
        writer.transport.abort()
        self.tasks.discard(asyncio.current_task())

    async def changed(self, seen, timeout):
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self.changes == seen:  # noqa: ASYNC110 - nothing in a toy is told of anything
                    await asyncio.sleep(0.001)
        return self.changes


class RemoteStore:
    """Asks a :class:`MemoryServer`; keeps its idle connections. ``limit``: seconds that an answer may take."""

    batches = 2
    limit = 0.5

    def __init__(self, host, port, *, limit=None):
        self._address = host, port
        if limit is not None:
            self.limit = limit
        self._idle = []
        self._seen = 0

    async def setup(self, *, migrate=True):
        await self.now()

    async def close(self):
        while self._idle:
            self.discard(self._idle.pop())

    def discard(self, connection):
        connection[1].transport.abort()

    async def connect(self):
        return await asyncio.open_connection(*self._address)

    async def ask(self, method, *arguments, **options):
        number = next(NUMBERS)
        OBJECTS[number] = method, arguments, options
        try:
            connection = self._idle.pop() if self._idle else await self.connect()
        except OSError as exc:
            raise StoreUnavailable("no connection") from exc
        reader, writer = connection
        try:
            async with asyncio.timeout(self.limit):
                writer.write(b"%d\n" % number)
                reply = await reader.readuntil(b"\n")
        except (OSError, EOFError, TimeoutError) as exc:
            self.discard(connection)
            raise self.error(method, exc) from exc
        except BaseException:
            self.cut_short(connection)
            raise
        self._idle.append(connection)
        answer = OBJECTS[int(reply)]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def cut_short(self, connection):
        self.discard(connection)

    def error(self, method, exc):
        kind = StoreUnavailable if method in {*READS, "changed"} else OutcomeUnknown
        return kind(f"{method}: the connection was lost")

    async def wait_for_change(self, timeout):
        seen, self._seen = self._seen, await self.ask("changed", self._seen, min(timeout, self.limit / 2))
        return self._seen != seen


for _name in (
    "check", "commit", "load", "events", "find", "claim", "release", "heartbeat", "workers", "retire", "now", "counts",
    "purge", "save_definition", "definitions", "acquire", "give_back",
):  # fmt: skip
    setattr(RemoteStore, _name, lambda self, *arguments, _name=_name, **options: self.ask(_name, *arguments, **options))


PLANTED = []


def planted(*caught_by):
    """Register a store with a bug, and the tests that must fail on it."""

    def register(store):
        PLANTED.extend((store, name) for name in caught_by)
        return store

    return register


@planted("test_a_request_that_never_reaches_the_server_is_not_done")
class DriverErrorsLeak(RemoteStore):
    def error(self, method, exc):
        return exc


@planted(
    "test_a_reply_that_is_lost_leaves_the_outcome_unknown",
    "test_a_request_that_arrives_late_leaves_the_outcome_unknown",
    "test_a_reply_that_is_cut_in_the_middle_leaves_the_outcome_unknown",
)
class AlwaysUnavailable(RemoteStore):
    def error(self, method, exc):
        return StoreUnavailable("no connection")


@planted("test_a_request_that_never_reaches_the_server_is_not_done")
class ReadsLeaveDoubts(RemoteStore):
    def error(self, method, exc):
        return OutcomeUnknown("no connection")


@planted("test_a_reply_that_is_cut_in_the_middle_leaves_the_outcome_unknown")
class TakesWhatCame(RemoteStore):
    async def connect(self):
        reader, writer = await super().connect()
        until = reader.readuntil

        async def readuntil(separator):
            try:
                return await until(separator)
            except asyncio.IncompleteReadError as exc:
                if exc.partial:
                    return exc.partial
                raise

        reader.readuntil = readuntil
        return reader, writer


@planted("test_a_slow_network_changes_nothing")
class Impatient(RemoteStore):
    limit = 0.002


@planted("test_a_server_that_stays_silent_is_given_up")
class WaitsForEver(RemoteStore):
    limit = None

    async def wait_for_change(self, timeout):
        return False


@planted(
    "test_a_server_that_is_away_is_said_to_be_and_found_again",
    "test_connections_that_were_cut_while_idle_cost_nothing_that_was_written",
)
class NeverConnectsAnew(RemoteStore):
    def discard(self, connection):
        self._idle.append(connection)

    async def close(self):
        for _, writer in self._idle:
            writer.transport.abort()


@planted("test_a_store_cannot_be_set_up_without_its_server_and_can_afterwards")
class SetsUpNothing(RemoteStore):
    async def setup(self, *, migrate=True):
        pass


@planted("test_whoever_waits_for_changes_hears_of_them_after_a_cut")
class DeafAfterACut(RemoteStore):
    deaf = False

    async def wait_for_change(self, timeout):
        if self.deaf:
            return False
        try:
            return await super().wait_for_change(timeout)
        except StoreUnavailable:
            self.deaf = True
            return False


@planted(
    "test_writers_on_a_network_that_breaks_all_the_time_lose_nothing",
    "test_a_reply_that_is_lost_leaves_the_outcome_unknown",
)
class TriesAgainWithAnotherId(RemoteStore):
    async def ask(self, method, *arguments, **options):
        try:
            return await super().ask(method, *arguments, **options)
        except OutcomeUnknown:
            if method != "commit":
                raise
            batch = [replace(append, append_id=f"{append.append_id}+") for append in arguments[0]]
            return await super().ask(method, batch)


@planted("test_a_reply_that_is_lost_leaves_the_outcome_unknown")
class ClaimsTwice(RemoteStore):
    """What a client library does that sends every command again when the connection was lost."""

    async def ask(self, method, *arguments, **options):
        try:
            return await super().ask(method, *arguments, **options)
        except OutcomeUnknown:
            return await super().ask(method, *arguments, **options)


@planted("test_a_call_that_is_cut_short_while_the_network_is_slow_is_done_or_not_done")
class KeepsConnectionsOfTheCutShort(RemoteStore):
    def cut_short(self, connection):
        self._idle.append(connection)
