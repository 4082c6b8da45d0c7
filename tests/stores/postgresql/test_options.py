"""What can be said in a URL; that it never shows a password."""

import subprocess
import sys

import pytest

from sagafsm.core.errors import SettingsError, StoreError, StoreUnavailable
from sagafsm.store import Filter, open_store
from sagafsm.testing.appends import create
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
        ("postgresql://h/d?history=yearly", "history='yearly'.*none, monthly"),
        ("postgresql://h/d?sslrootcert=/no/such.pem", "sslrootcert='/no/such.pem'.*no such file"),
    ],
)
def test_a_bad_url_says_what_is_bad(url, message):
    with pytest.raises(SettingsError, match=message):
        SQLStore.from_url(url)
    with pytest.raises(SettingsError) as caught:
        SQLStore.from_url(url.replace("://", "://me:secret@"))
    assert "secret" not in str(caught.value)


def test_an_at_sign_in_a_password_is_to_be_escaped():
    """The driver would take what follows it for the name of the host."""
    with pytest.raises(SettingsError, match="%40") as caught:
        SQLStore.from_url("postgresql://me:sec@ret@h/d")
    assert "ret" not in str(caught.value).replace("written", "")
    assert SQLStore.from_url("postgresql://me:sec%40ret@h/d").options.where == "PostgreSQL at h/d"


async def test_what_the_driver_cannot_make_sense_of_is_a_setting():
    with pytest.raises(SettingsError, match="`sslmode` parameter must be one of"):
        await SQLStore.from_url("postgresql://me:secret@127.0.0.1:9/d?sslmode=often").setup()


def test_without_the_driver_it_is_said_what_to_install():
    hidden = (
        "import sys; sys.modules['asyncpg'] = None\n"
        "from sagafsm.store import open_store\n"
        "open_store('postgresql://me:secret@h/d')"
    )
    done = subprocess.run([sys.executable, "-c", hidden], capture_output=True, text=True, timeout=50, check=False)
    assert done.stderr.strip().endswith(
        "SettingsError: 'postgresql://' needs asyncpg: pip install 'sagafsm[postgresql]'"
    )
    assert "secret" not in done.stderr.replace("me:secret@h/d')", "")


async def test_a_schema_may_be_named_like_a_word_of_sql(schemas):
    schemas.names.append("user")
    url = schemas.url("user")
    store = SQLStore.from_url(url, history="monthly")
    await store.setup()
    await store.heartbeat("w", 60.0)
    assert len(await store.commit([create("s", due_at=1.0), create("e", state="failed", finished_at=1.0)])) == 2
    assert len((await store.claim("w", ["Order@1"], limit=1)).sagas) == 1
    assert len((await store.find(Filter(tags={"a": "b"}))).records) == 0
    assert await store.purge(2.0) == 1
    await store.close()


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
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:9/d is away.*is the server running") as caught:
        await store.setup()
    assert "secret" not in str(caught.value)


async def test_a_socket_that_is_not_there_is_said_to_be(tmp_path):
    store = SQLStore.from_url(f"postgresql://me@/d?host={tmp_path}")
    with pytest.raises(StoreUnavailable, match=r"away: .*is the server running, and are host and port right\?"):
        await store.setup()


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


def test_only_a_search_loads_sqlalchemy(url):
    """It is as much to load as all the rest, and most processes never search."""
    code = (
        "import asyncio, sys\n"
        "from sagafsm.store import Filter, open_store\n"
        "async def main():\n"
        "    store = open_store(sys.argv[1])\n"
        "    await store.setup()\n"
        "    print(await store.counts(), 'sqlalchemy' in sys.modules)\n"
        "    print((await store.find(Filter())).records, 'sqlalchemy' in sys.modules)\n"
        "    await store.close()\n"
        "asyncio.run(main())"
    )
    done = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True, timeout=50, check=True)
    assert done.stdout.splitlines() == ["[] False", "[] True"]
