"""What each SQLSTATE means for a write: done again, refused, certainly not written, or perhaps written.

A real server raises each of them, in a trigger, while an append is being written.
"""

import asyncio
from contextlib import asynccontextmanager, suppress

import asyncpg
import pytest

from sagafsm import Orchestrator, Saga, Settings, step
from sagafsm.core.errors import OutcomeUnknown, StoreUnavailable
from sagafsm.store import Committed, Refused
from sagafsm.testing.appends import KIND, create, follow
from sagafsm_sql import SQLStore

RAISE = """
CREATE SEQUENCE {0}.test_calls;
CREATE FUNCTION {0}.test_raise() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF nextval('{0}.test_calls') <= {2} THEN
        RAISE EXCEPTION 'raised by the test' USING ERRCODE = '{1}';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER test_raise BEFORE INSERT OR UPDATE ON {0}.sagas FOR EACH ROW EXECUTE FUNCTION {0}.test_raise();
"""
CLEAR = """
DROP TRIGGER IF EXISTS test_raise ON {0}.sagas;
DROP FUNCTION IF EXISTS {0}.test_raise;
DROP SEQUENCE IF EXISTS {0}.test_calls;
"""


class Trip(Saga[dict]):
    """One step."""

    @step(compensatable=False)
    async def go(self, data: dict) -> int:
        return data["n"]


@pytest.fixture
def raising(schemas):
    """Let writing a saga's row raise a code so many times."""

    @asynccontextmanager
    async def raising(code, times=1_000_000):
        async with schemas.connection() as connection:
            await connection.execute(RAISE.format(schemas.common, code, times))
            try:
                yield connection
            finally:
                await connection.execute(CLEAR.format(schemas.common))

    return raising


@pytest.mark.parametrize("code", ["40001", "40P01", "55P03"])
async def test_what_lost_against_another_is_done_again(store, raising, code):
    await store.heartbeat("w", 3600.0)
    async with raising(code, times=2):
        assert await store.commit([create("a"), create("b", due_at=1.0)]) == [Committed(2), Committed(2)]
    async with raising(code, times=2):
        assert len((await store.claim("w", [KIND], limit=5)).sagas) == 1


@pytest.mark.parametrize("code", ["40001", "40P01", "55P03"])
async def test_what_loses_again_and_again_is_given_up(store, raising, code):
    async with raising(code) as connection:
        with pytest.raises(StoreUnavailable, match=f"{code}.*nothing was written") as caught:
            await store.commit([create("a"), create("b")])
        assert isinstance(caught.value.__cause__, asyncpg.PostgresError)
        assert 2 <= await connection.fetchval(f"SELECT last_value FROM {store.options.schema}.test_calls") <= 10
    assert await store.load(["a", "b"]) == {}


@pytest.mark.parametrize("code", ["22001", "22P02", "23514", "23505", "54000"])
async def test_what_the_values_are_to_blame_for_is_refused_and_harms_no_other(store, raising, code, schemas):
    async with raising(code) as connection:
        await connection.execute(
            f"CREATE OR REPLACE TRIGGER test_raise BEFORE INSERT ON {schemas.common}.sagas FOR EACH ROW "
            f"WHEN (NEW.id = 'bad') EXECUTE FUNCTION {schemas.common}.test_raise()"
        )
        found = await store.commit([create("a"), create("bad"), create("c")])
    assert [type(result) for result in found] == [Committed, Refused, Committed]
    assert "raised by the test" in found[1].reason
    assert sorted(await store.load(["a", "bad", "c"])) == ["a", "c"]


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("0A000", ""),
        ("25006", "perhaps a standby"),
        ("25P02", ""),
        ("42501", "more rights"),
        ("42883", "migrate=True"),
        ("42P01", "migrate=True"),
        ("53100", "the disk is full"),
        ("53200", ""),
        ("53300", "raise max_connections"),
        ("55000", ""),
        ("58030", ""),
        ("P0001", ""),
        ("XX000", ""),
    ],
)
async def test_what_the_server_refuses_was_certainly_not_written(store, raising, code, hint):
    async with raising(code):
        with pytest.raises(StoreUnavailable, match=f"raised by the test \\({code}\\).*{hint}.*nothing was written"):
            await store.commit([create("a"), create("b")])
    assert await store.load(["a", "b"]) == {}
    assert await store.commit([create("a")]) == [Committed(2)]


@pytest.mark.parametrize("code", ["08006", "08P01", "40003", "57014", "57P01", "57P02", "57P05"])
async def test_what_was_cut_short_may_have_been_written(store, raising, code):
    """The server says of none of these whether a commit was on its way. The same batch may be handed in again."""
    batch = [create("a"), create("b")]
    async with raising(code):
        with pytest.raises(OutcomeUnknown, match=f"{code}.*may or may not"):
            await store.commit(batch)
    assert await store.commit(batch) == [Committed(2), Committed(2)]


async def test_a_read_leaves_nothing_in_doubt(store, schemas):
    await store.commit([create("a")])
    async with schemas.connection() as connection:
        for code in ("57014", "08006", "40003"):
            await connection.execute(
                f"ALTER FUNCTION {schemas.common}.saga_now RENAME TO test_now;"
                f"CREATE FUNCTION {schemas.common}.saga_now() RETURNS double precision LANGUAGE plpgsql AS "
                f"$$ BEGIN RAISE EXCEPTION 'raised by the test' USING ERRCODE = '{code}'; END $$"
            )
            try:
                with pytest.raises(StoreUnavailable, match=code):
                    await store.now()
            finally:
                await connection.execute(
                    f"DROP FUNCTION {schemas.common}.saga_now;"
                    f"ALTER FUNCTION {schemas.common}.test_now RENAME TO saga_now"
                )


async def test_a_plan_that_a_change_of_the_tables_made_void_is_made_again(store, schemas):
    """Somebody changes a table by hand, or another process migrates, while statements are prepared."""
    await store.heartbeat("w", 3600.0)
    for turn, kind in enumerate(("varchar", "text") * 2):
        await store.commit([create(f"s{turn}", due_at=1.0)])
        await store.load([f"s{turn}"])
        async with schemas.connection() as connection:
            await connection.execute(f"ALTER TABLE {schemas.common}.sagas ALTER COLUMN outcome TYPE {kind}")
        record = (await store.load([f"s{turn}"]))[f"s{turn}"].record
        assert await store.commit([follow(record, due_at=1.0)]) == [Committed(3)]
        with suppress(StoreUnavailable):  # inside a transaction the driver cannot ask again by itself
            await store.claim("w", [KIND], limit=0)
            await store.load([f"s{turn}"])
        claim = await store.claim("w", [KIND], limit=5)
        assert [saga.record.saga_id for saga in claim.sagas] == [f"s{turn}"]


@pytest.fixture
async def limited(schemas, store, url):
    """The URL for a role that may work on the common schema, over so many connections."""
    role = schemas.new()
    async with schemas.connection() as connection:
        await connection.execute(
            f"CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA {schemas.common} TO {role};"
            f"GRANT ALL ON ALL TABLES IN SCHEMA {schemas.common} TO {role};"
            f"GRANT ALL ON ALL SEQUENCES IN SCHEMA {schemas.common} TO {role}"
        )

        async def limit(connections):
            await connection.execute(f"ALTER ROLE {role} CONNECTION LIMIT {connections}")
            return url.replace("://sagafsm@", f"://{role}@")

        yield limit
        await connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


async def test_a_role_that_may_open_no_more_connections_is_told(limited):
    store = SQLStore.from_url(await limited(1))
    await store.setup()
    await store.now()  # this connection is kept, and a commit needs another
    with pytest.raises(StoreUnavailable, match=r"53300.*raise max_connections"):
        await store.commit([create("a")])
    await limited(2)
    assert await store.commit([create("a")]) == [Committed(2)]
    await store.close()


async def test_sagas_run_where_no_connection_is_left_to_listen(limited, schemas, caplog):
    """Listening is a hint: without it nothing fails but a line in the log."""
    url = f"{await limited(-1)}&pool_size=2"
    async with Orchestrator(url, sagas=[Trip], settings=Settings(poll_interval=0.05)) as works:
        await works.run(Trip, {"n": 0}, saga_id="first", timeout=20)
        await works.store.wait_for_change(0.0)
        await limited(0)  # those that are open stay
        async with schemas.connection() as connection:
            listening = works.store._opened.wakeups._connection.get_server_pid()
            await connection.execute("SELECT pg_terminate_backend($1)", listening)
        ended = await asyncio.gather(*(works.run(Trip, {"n": n}, saga_id=f"t{n}", timeout=20) for n in range(50)))
        with pytest.raises(StoreUnavailable, match="53300"):
            await works.store.wait_for_change(5.0)
    assert [saga.results["go"] for saga in ended] == list(range(50))
    assert caplog.text.count("cannot tell of changes, polling goes on") == 1, "told once, not every time"
