"""What can be said in a URL; that it never shows a password."""

import pytest

from sagafsm.core.errors import SettingsError, StoreError, StoreUnavailable
from sagafsm.store import open_store
from sagafsm_sql import SQLStore
from sagafsm_sql.postgresql.options import Options


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://h/d?poolsize=3", "unknown option 'poolsize'"),
        ("postgresql://h/d?pool_size=1", "pool_size='1'"),
        ("postgresql://h/d?pool_size=2.5", "pool_size='2.5'"),
        ("postgresql://h/d?timeout=soon", "timeout='soon'"),
        ("postgresql://h/d?timeout=nan", "timeout='nan'"),
        ("postgresql://h/d?schema=Sagas", "schema='Sagas'"),
        ("postgresql://h/d?schema=a;drop", "schema='a;drop'"),
        ("postgresql://h/d?durability=often", "durability='often'.*synced, relaxed"),
        ("postgresql://h/d?prepared=perhaps", "prepared='perhaps'"),
        ("postgresql://h:port/d", "is no PostgreSQL URL"),
        ("postgresql://h/d?schema", "is no PostgreSQL URL"),
    ],
)
def test_a_bad_url_says_what_is_bad(url, message):
    with pytest.raises(SettingsError, match=message):
        SQLStore.from_url(url)
    with pytest.raises(SettingsError) as caught:
        SQLStore.from_url(url.replace("://", "://me:secret@"))
    assert "secret" not in str(caught.value)


def test_options_may_stand_beside_the_url():
    options = Options.from_url("postgresql://h/d?pool_size=7", schema="sagas", timeout=2)
    assert (options.pool_size, options.schema, options.timeout) == (7, "sagas", 2.0)
    with pytest.raises(SettingsError, match="unknown option 'colour'"):
        Options.from_url("postgresql://h/d", colour="green")


def test_the_password_is_shown_nowhere():
    options = Options.from_url("postgresql://me:secret@h:5/d?sslmode=require&pool_size=3")
    assert options.dsn == "postgresql://me:secret@h:5/d?sslmode=require"
    assert "secret" not in repr(options)
    assert options.where == "PostgreSQL at h:5/d"


def test_of_several_hosts_the_one_that_takes_writes_is_taken():
    assert "target_session_attrs=read-write" in Options.from_url("postgresql://a:1,b:2/d").dsn
    assert "target_session_attrs=any" in Options.from_url("postgresql://a:1,b:2/d?target_session_attrs=any").dsn


def test_a_small_pool_has_one_lane_for_commits():
    assert SQLStore.from_url("postgresql://h/d?pool_size=3").batches == 1
    assert SQLStore.from_url("postgresql://h/d").batches == 2
    assert SQLStore.from_url("postgresql://h/d").twin().options.pool_size == 2


async def test_the_scheme_is_registered(url):
    store = open_store(url)
    await store.setup()
    await store.close()


async def test_a_server_that_is_not_there_is_said_to_be(tmp_path):
    store = SQLStore.from_url("postgresql://me:secret@127.0.0.1:9/d")
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:9/d is away") as caught:
        await store.setup()
    assert "secret" not in str(caught.value)


async def test_a_database_that_is_not_there_says_how_to_make_it(url):
    missing = url.replace("/postgres?", "/nowhere?")
    with pytest.raises(StoreUnavailable, match="make the database first"):
        await SQLStore.from_url(missing).setup()


async def test_a_store_that_is_not_open_says_so(url):
    store = SQLStore.from_url(url)
    with pytest.raises(StoreError, match="call setup"):
        await store.load(["a"])
    await store.close()


async def test_a_database_that_cannot_hold_every_text_is_refused(schemas):
    async with schemas.connection() as connection:
        await connection.execute("CREATE DATABASE test_latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    try:
        with pytest.raises(SettingsError, match="encoding LATIN1"):
            await SQLStore.from_url(schemas.server.replace("/postgres", "/test_latin")).setup()
    finally:
        async with schemas.connection() as connection:
            await connection.execute("DROP DATABASE test_latin WITH (FORCE)")
