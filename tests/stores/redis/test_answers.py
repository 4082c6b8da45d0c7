"""What the server says instead of doing something: each answer has its meaning, and says what to do."""

import asyncio

import pytest
import redis

from sagafsm.core.errors import OutcomeUnknown, StoreUnavailable
from sagafsm.store import Committed
from sagafsm.testing.appends import create, events, follow
from sagafsm_redis import RedisStore
from sagafsm_redis.channel import Channel
from sagafsm_redis.errors import NotSent, translate
from sagafsm_redis.options import Options
from tests.stores.redis.stores import beside

# As slow as a start with many millions of keys is; the server answers in between.
SLOW_START = ("--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024")


async def refusal(call):
    """Make a call again and again until it is refused; the error."""
    for _ in range(1000):
        try:
            await call()
        except (StoreUnavailable, OutcomeUnknown) as exc:
            return exc
        await asyncio.sleep(0.01)
    raise AssertionError("nothing is refused")


@pytest.mark.timeout(120)
async def test_a_server_that_is_still_loading_is_waited_for(own, own_server, raw):
    await own.commit([create(f"s{n}", tags={"some": "tag"}) for n in range(400)])
    raw.bgrewriteaof()  # a start reads the snapshot that this makes, and lets clients ask meanwhile
    while any(value for name, value in raw.info("persistence").items() if name.startswith("aof_rewrite_")):
        pass
    record = (await own.load(["s0"]))["s0"].record
    own_server.kill()
    own_server.settings = SLOW_START
    starting = asyncio.ensure_future(asyncio.to_thread(own_server.start))
    append, errors, channels = follow(record, events=events(2)), [], set()
    calls = [lambda: own.commit([append]), lambda: own.load(["s0"]), own.check]
    for turn in range(10_000):
        if starting.done():
            break
        try:
            await calls[turn % 3]()
        except (StoreUnavailable, OutcomeUnknown) as exc:
            if "still reading its data" in str(exc):
                errors.append(exc)
                channels.add(own._store.topology.node_at(own.options.addresses[0])._channels[""])
        await asyncio.sleep(0.01)
    await starting
    assert len(errors) > 10
    assert {type(error) for error in errors} == {StoreUnavailable}
    assert len(channels) == 1  # nobody's connection has to end for that
    (result,) = await own.commit([append])
    assert result.version == record.version + 2
    assert len(await own.events("s0")) == result.version


async def test_somebodys_script_that_never_ends_is_said_to_be_in_the_way(own, own_server, raw):
    await own.commit([create("s")])
    append = follow((await own.load(["s"]))["s"].record)
    raw.config_set("busy-reply-threshold", "20")

    def run_for_ever():
        with redis.Redis.from_url(own_server.url) as other, pytest.raises(redis.ResponseError, match="killed"):
            other.eval("while true do end", 0)

    running = asyncio.ensure_future(asyncio.to_thread(run_for_ever))
    try:
        assert "SCRIPT KILL" in str(await refusal(lambda: own.heartbeat("w", 60)))
        with pytest.raises(StoreUnavailable, match="SCRIPT KILL"):
            await own.commit([append])
    finally:
        raw.script_kill()
        await running
    assert await own.commit([append]) == [Committed(3)]


async def test_a_server_with_too_many_clients_says_so(own, raw):
    raw.config_set("maxclients", str(len(raw.client_list())))
    with pytest.raises(StoreUnavailable, match=r"refused.*raise its 'maxclients'"):
        await beside(own).setup()
    assert await own.commit([create("s")]) == [Committed(2)]


async def test_a_database_that_the_server_does_not_have_is_named(own_server):
    with pytest.raises(StoreUnavailable, match=r"database 99 refused.*'databases' says how many"):
        await RedisStore.from_url(own_server.url.replace("/0", "/99")).setup()


async def test_wrong_and_missing_passwords_are_said_to_be(own_server, raw):
    raw.config_set("requirepass", "sesame")
    for user in ("", ":wrong-1@", "nobody:wrong-1@"):
        with pytest.raises(StoreUnavailable, match=r"refused.*user or password are wrong or missing") as found:
            await RedisStore.from_url(own_server.url.replace("//", f"//{user}")).setup()
        assert "wrong-1" not in str(found.value)


async def test_a_user_without_rights_is_told_where_they_are_named(own_server, raw):
    raw.execute_command("ACL", "SETUSER", "reader", "on", ">pw", "~*", "&*", "+@read", "+@connection", "+info")
    with pytest.raises(StoreUnavailable, match=r"may not do that; docs/how-to/redis.md"):
        await RedisStore.from_url(own_server.url.replace("//", "//reader:pw@")).setup()


async def test_a_disk_that_takes_no_more_is_no_doubt(own, raw, own_server):
    """As after a failed write of the log or a snapshot: the server refuses writes by itself."""
    await own.commit([create("s")])
    append = follow((await own.load(["s"]))["s"].record)
    raw.config_set("save", "1 1")
    in_the_way = own_server.folder / "dump.rdb"
    in_the_way.mkdir()
    with pytest.raises(redis.ResponseError):
        raw.save()
    assert "cannot write to its disk" in str(await refusal(lambda: own.heartbeat("w", 60)))
    with pytest.raises(StoreUnavailable, match="cannot write to its disk"):
        await own.commit([append])
    in_the_way.rmdir()
    raw.save()
    assert await own.commit([append]) == [Committed(3)]


async def test_an_error_that_the_driver_takes_for_the_end_of_the_connection_is_an_answer_to_one_call():
    """What was sent behind it was carried out: it must not be taken for refused, too."""

    async def serve(reader, writer):
        begun = False
        while line := await reader.readline():
            if line == b"PING\r\n":
                writer.write(b"+PONG\r\n" if begun else b"-LOADING Redis is loading the dataset in memory\r\n")
                begun = True
            elif not line.startswith((b"*", b"$")) and line.strip() in (b"SETINFO", b"SETNAME", b"SELECT"):
                writer.write(b"+OK\r\n")
        writer.close()
        over.set()

    over = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    channel = await Channel.open(Options.from_url(f"redis://{host}:{port}").connection_to((host, port)), 5)
    ping = b"*1\r\n$4\r\nPING\r\n"
    first, second = await asyncio.gather(channel.call([ping], 1, 5), channel.call([ping], 1, 5))
    assert isinstance(first[0], redis.BusyLoadingError)
    assert second == [b"PONG"]
    assert not channel.closed
    await channel.close()
    await over.wait()
    server.close()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (redis.exceptions.MovedError("1 127.0.0.1:7001"), "on their way"),
        (redis.exceptions.AskError("1 127.0.0.1:7001"), "on their way"),
        (redis.exceptions.MasterDownError("Link with MASTER is down"), "has lost its master"),
        (redis.exceptions.ClusterDownError("The cluster is down"), "some seconds to replace"),
        (redis.exceptions.ClusterCrossSlotError("Keys don't hash to the same slot"), "different slots"),
        (redis.exceptions.ResponseError("ERR unknown command 'EVALSHA'"), "6.2 or newer"),
        (redis.exceptions.ResponseError("unknown command 'EVALSHA'"), "6.2 or newer"),
    ],
)
def test_what_was_refused_was_certainly_not_done(answer, says):
    error = translate(answer, "Redis at h:1", write=True)
    assert isinstance(error, StoreUnavailable)
    assert says in str(error)
    assert "nothing was written" in str(error)


def test_what_was_said_while_connecting_is_no_want_of_a_server():
    refused = NotSent()
    refused.__cause__ = redis.exceptions.ConnectionError("max number of clients reached")
    assert "refused" in str(translate(refused, "Redis at h:1", write=True))
    refused.__cause__ = ConnectionRefusedError(111, "Connect call failed")
    assert "cannot be reached" in str(translate(refused, "Redis at h:1", write=True))
