"""A standby takes over: workers find it by themselves, and what it lacks is noticed, never done again unasked."""

import asyncio
from contextlib import asynccontextmanager, contextmanager

import asyncpg
import pytest

from sagafsm import Orchestrator, Saga, SagaState, Settings, step
from sagafsm.core.errors import StoreUnavailable
from sagafsm.testing.appends import create
from sagafsm_sql import SQLStore
from tests.servers.base import HOST
from tests.servers.postgresql import PostgreSQL
from tests.servers.postgresql_standby import Standby

CALLED: list[tuple[str, str]] = []
GATES: dict[str, asyncio.Event] = {}


class Trip(Saga[dict]):
    """Two steps, each of which waits until the test lets it go on."""

    @step(compensatable=False)
    async def pay(self, data: dict) -> None:
        await called("pay", data["name"])

    @step(compensatable=False)
    async def go(self, data: dict) -> None:
        await called("go", data["name"])


async def called(step_name, name):
    CALLED.append((step_name, name))
    await GATES.setdefault(f"{step_name} {name}", asyncio.Event()).wait()


def let_go(call):
    GATES.setdefault(call, asyncio.Event()).set()


async def until(condition):
    async with asyncio.timeout(30):
        while not (found := await condition()):  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.02)
        return found


async def begun(*call):
    async def it_has():
        return call in CALLED

    await until(it_has)


@pytest.fixture(autouse=True)
def nothing_called():
    CALLED.clear()
    GATES.clear()


@contextmanager
def pair(servers):
    """A primary and its standby."""
    with servers.another(PostgreSQL) as primary, servers.another(lambda: Standby(primary)) as standby:
        yield primary, standby


@asynccontextmanager
async def sql(server):
    connection = await asyncpg.connect(server.url)
    try:
        yield connection
    finally:
        await connection.close()


def both(primary, standby):
    return f"postgresql://sagafsm@{HOST}:{primary.port},{HOST}:{standby.port}/postgres?timeout=2"


async def take_over(primary, standby):
    """The primary dies without a word, and the standby becomes one."""
    await asyncio.to_thread(primary.kill)
    async with sql(standby) as connection:
        assert await connection.fetchval("SELECT pg_promote()")


@pytest.mark.timeout(180)
async def test_sagas_go_on_where_a_standby_took_over_that_had_everything(servers):
    with pair(servers) as (primary, standby):
        async with sql(primary) as connection:
            await connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
            await connection.execute("SELECT pg_reload_conf()")
        settings = Settings(store_patience=40)
        async with Orchestrator(both(primary, standby), sagas=[Trip], settings=settings) as works:
            running = [
                asyncio.ensure_future(works.run(Trip, {"name": name}, saga_id=name, timeout=50)) for name in "abcde"
            ]
            for name in "abcde":
                await begun("pay", name)
            for name in "ab":
                let_go(f"pay {name}")
                await begun("go", name)
            await take_over(primary, standby)
            for name in "abcde":
                let_go(f"pay {name}")
                let_go(f"go {name}")
            ended = await asyncio.gather(*running)
    assert {saga.state for saga in ended} == {SagaState.COMPLETED}
    assert sorted(CALLED) == sorted((call, name) for name in "abcde" for call in ("pay", "go"))


@pytest.mark.timeout(180)
async def test_what_a_standby_lacks_is_set_aside_for_a_person_to_look_at(servers, caplog):
    """Replication was behind: the newest events of one saga are gone, and another saga altogether."""
    with pair(servers) as (primary, standby):
        settings = Settings(store_patience=40, poll_interval=0.1)
        async with Orchestrator(both(primary, standby), sagas=[Trip], settings=settings) as works:
            await works.start(Trip, {"name": "old"}, saga_id="old")
            await begun("pay", "old")
            await stop_following(primary, standby)
            let_go("pay old")
            await begun("go", "old")  # the log says so, on the primary only
            await works.start(Trip, {"name": "new"}, saga_id="new")
            await begun("pay", "new")
            await take_over(primary, standby)
            let_go("go old")
            let_go("pay new")

            async def set_aside():
                found = await works.store.load(["old"])
                return found["old"].record if found["old"].record.stuck else None

            record = await until(set_aside)
            assert "the store has lost events" in record.problem
            assert list(await works.store.load(["old", "new"])) == ["old"]
            let_go("pay other")
            let_go("go other")
            assert (await works.run(Trip, {"name": "other"}, timeout=30)).state is SagaState.COMPLETED
    assert "saga new is gone from the store" in caplog.text
    assert [call for call in CALLED if call[1] != "other"] == [("pay", "old"), ("go", "old"), ("pay", "new")]


async def stop_following(primary, standby):
    """From here on the standby gets nothing."""
    async with sql(primary) as one, sql(standby) as other:
        here = await one.fetchval("SELECT pg_current_wal_lsn()::text")

        async def caught_up():
            return await other.fetchval("SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", here)

        await until(caught_up)
        await other.execute("ALTER SYSTEM SET primary_conninfo = ''")
        await other.execute("SELECT pg_reload_conf()")

        async def alone():
            return await one.fetchval("SELECT count(*) = 0 FROM pg_stat_replication")

        await until(alone)


@pytest.mark.timeout(180)
async def test_a_standby_is_told_and_its_primary_is_found(servers):
    with pair(servers) as (primary, standby):
        store = SQLStore.from_url(primary.url)
        await store.setup()
        await store.close()
        store = SQLStore.from_url(standby.url)
        async with asyncio.timeout(20):
            while True:  # until the tables have come over
                try:
                    await store.setup()
                    break
                except StoreUnavailable:
                    await asyncio.sleep(0.05)
        durability = await store.check()
        assert not durability.synced
        assert "this is a standby" in durability.warnings[0]
        with pytest.raises(StoreUnavailable, match=r"25006.*perhaps a standby"):
            await store.commit([create("s")])
        await store.close()
        wrong_way_round = SQLStore.from_url(both(standby, primary))
        await wrong_way_round.setup()
        assert (await wrong_way_round.check()).synced
        await wrong_way_round.commit([create("s")])
        await wrong_way_round.close()
