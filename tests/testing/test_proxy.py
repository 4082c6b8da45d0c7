"""The proxy breaks what it was told to break, at the request it was told, and nothing else."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from sagafsm.testing.proxy import Proxy, Trouble


class Echo:
    """A server that answers each line with itself, and remembers it."""

    def __init__(self):
        self.heard = []
        self.silent = False

    async def serve(self, reader, writer):
        while line := await reader.readline():
            self.heard.append(line.decode().strip())
            if not self.silent:
                writer.write(line)
        writer.close()

    @asynccontextmanager
    async def open(self):
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        async with server, Proxy("127.0.0.1", server.sockets[0].getsockname()[1]) as proxy:
            yield proxy


class Client:
    """Asks and is answered; None where the connection is cut."""

    def __init__(self, proxy):
        self.proxy = proxy
        self.writer = None

    async def ask(self, text):
        try:
            if self.writer is None:
                self.reader, self.writer = await asyncio.open_connection(self.proxy.host, self.proxy.port)
            self.writer.write(f"{text}\n".encode())
            async with asyncio.timeout(10):
                reply = await self.reader.read(1000)
        except ConnectionError:
            reply = b""
        if not reply.endswith(b"\n"):
            self.close()
        return reply.decode() or None

    async def ask_impatiently(self, text):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await self.ask(text)

    def close(self):
        if self.writer is not None:
            self.writer.close()
            self.writer = None


@pytest.fixture
def echo():
    return Echo()


@pytest.fixture
async def proxy(echo):
    async with echo.open() as proxy:
        yield proxy


@pytest.fixture
def client(proxy):
    client = Client(proxy)
    yield client
    client.close()


async def test_what_is_not_planned_passes(proxy, client, echo):
    assert [await client.ask(text) for text in "abc"] == ["a\n", "b\n", "c\n"]
    assert (proxy.requests, proxy.connections, echo.heard) == (3, 1, ["a", "b", "c"])


async def test_a_request_that_is_cut_off_never_reaches_the_server(proxy, client, echo):
    strike = proxy.plan(Trouble.CUT_BEFORE, request=2)
    assert [await client.ask(text) for text in "abc"] == ["a\n", None, "c\n"]
    assert (strike.struck, echo.heard) == (1, ["a", "c"])


async def test_a_reply_that_is_lost_was_asked_for(proxy, client, echo):
    strike = proxy.plan(Trouble.LOSE_REPLY, request=2)
    assert [await client.ask(text) for text in "abc"] == ["a\n", None, "c\n"]
    await strike.over()
    assert (strike.struck, echo.heard) == (1, ["a", "b", "c"])


async def test_a_reply_can_be_cut_in_the_middle(proxy, client, echo):
    proxy.plan(Trouble.CUT_REPLY)
    assert await client.ask("abcde") == "abc"
    assert (await client.ask("f"), echo.heard) == ("f\n", ["abcde", "f"])


async def test_a_late_request_reaches_the_server_when_the_client_is_gone(proxy, client, echo):
    strike = proxy.plan(Trouble.LATE, seconds=0.1)
    assert (await client.ask("a"), echo.heard) == (None, [])
    assert await client.ask("b") == "b\n"
    await strike.over()
    assert echo.heard == ["b", "a"]


async def test_a_delayed_request_is_answered_in_the_end(proxy, client, echo):
    loop = asyncio.get_running_loop()
    proxy.plan(Trouble.DELAY, seconds=0.1)
    begun = loop.time()
    assert await client.ask("a") == "a\n"
    assert loop.time() - begun >= 0.1
    assert echo.heard == ["a"]


async def test_a_stalled_request_is_done_and_never_answered(proxy, client, echo):
    strike = proxy.plan(Trouble.STALL)
    await client.ask_impatiently("a")
    client.close()
    await strike.over()
    assert echo.heard == ["a"]
    assert await client.ask("b") == "b\n"


async def test_a_stalled_request_is_seen_to_its_end_when_the_client_left_first(proxy, client, echo):
    echo.silent = True
    strike = proxy.plan(Trouble.LOSE_REPLY)
    await client.ask_impatiently("a")
    client.close()
    while not echo.heard:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0)
    proxy.cut()
    await strike.over()
    assert (strike.struck, proxy.connections) == (1, 0)


async def test_several_in_a_row_and_those_of_one_connection_are_counted(proxy, client):
    other = Client(proxy)
    strike = proxy.plan(Trouble.CUT_BEFORE, request=2, times=2)
    assert [await one.ask("x") for one in (client, other, client, other)] == ["x\n", None, None, "x\n"]
    assert strike.struck == 2
    client.close()
    other.close()
    proxy.heal()
    proxy.plan(Trouble.CUT_BEFORE, request=2, per_connection=True)
    assert [await one.ask("x") for one in (client, other, client, other)] == ["x\n", "x\n", None, None]
    other.close()


async def test_only_what_holds_the_text_is_counted(proxy, client):
    strike = proxy.plan(Trouble.CUT_BEFORE, request=2, containing=b"b")
    assert [await client.ask(text) for text in ("a", "b", "a", "ab", "b")] == ["a\n", "b\n", "a\n", None, "b\n"]
    assert strike.struck == 1


async def test_plans_that_meet_strike_one_after_the_other(proxy, client):
    first, second = proxy.plan(Trouble.CUT_BEFORE), proxy.plan(Trouble.CUT_BEFORE)
    assert await client.ask("a") is None
    assert (first.struck, second.struck) == (1, 0)


async def test_what_is_sent_without_waiting_is_one_request(proxy, client, echo):
    echo.silent = True
    await client.ask_impatiently("a")
    await client.ask_impatiently("b")
    assert (proxy.requests, echo.heard) == (1, ["a", "b"])


async def test_connections_can_be_cut_and_refused_until_all_is_healed(proxy, client):
    assert await client.ask("a") == "a\n"
    proxy.cut()
    assert [await client.ask("b"), await client.ask("c")] == [None, "c\n"]
    proxy.refuse()
    assert [await client.ask("d"), await client.ask("e")] == [None, None]
    proxy.heal()
    assert await client.ask("f") == "f\n"


async def test_a_server_that_is_away_cuts_the_client_off():
    async with Proxy("127.0.0.1", 1) as proxy:
        assert await Client(proxy).ask("a") is None


async def test_nothing_is_left_of_a_closed_proxy(echo):
    before = asyncio.all_tasks()
    async with echo.open() as proxy:
        client = Client(proxy)
        proxy.plan(Trouble.LATE, seconds=1000)
        assert await client.ask("a") is None
        assert await client.ask("b") == "b\n"
    client.close()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
