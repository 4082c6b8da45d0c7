"""What can be said in a URL, and what is said when it is wrong."""

import re
import subprocess
import sys

import pytest

from sagafsm.core.errors import SettingsError, StoreError, StoreUnavailable
from sagafsm.store import open_store
from sagafsm_mongo import MongoStore
from sagafsm_mongo.options import DATABASE, PATIENCE, Options


@pytest.mark.parametrize(
    ("url", "database"),
    [
        ("mongodb://localhost", DATABASE),
        ("mongodb://localhost/", DATABASE),
        ("mongodb://localhost:27018/shop", "shop"),
        ("mongodb://a:1,b:2,c:3/shop?replicaSet=rs0", "shop"),
        ("mongodb+srv://cluster.example.com/shop", "shop"),
        ("mongodb://user:p%40ss@localhost/shop?authSource=admin", "shop"),
    ],
)
def test_the_path_names_the_database(url, database):
    assert Options.from_url(url).database == database


def test_options_of_ours_are_not_handed_to_the_driver():
    options = Options.from_url("mongodb://localhost/shop?pool_size=7&patience=2.5&replicaSet=rs0")
    assert (options.client["maxPoolSize"], options.patience) == (7, 2.5)
    assert options.url == "mongodb://localhost/shop?replicaSet=rs0"
    assert Options.from_url("mongodb://localhost").patience == PATIENCE


def test_what_the_url_says_of_time_limits_holds():
    options = Options.from_url("mongodb://localhost/?sockettimeoutms=9&appName=mine", connectTimeoutMS=8)
    assert options.client["connectTimeoutMS"] == 8
    assert options.client["serverSelectionTimeoutMS"] == 5000
    assert not {"socketTimeoutMS", "appName"} & set(options.client)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mongodb://", "is no MongoDB URL"),
        ("mongodb:///shop", "is no MongoDB URL"),
        ("http://localhost", "is no MongoDB URL"),
        ("mongodb://localhost/a.b", "cannot be the name of a database"),
        ("mongodb://localhost/$where", "cannot be the name of a database"),
        ("mongodb://localhost/a/b", "cannot be the name of a database"),
        ("mongodb://localhost/admin", r"belongs to the server.*/sagas\?authSource=admin"),
        ("mongodb://localhost/local", "belongs to the server"),
        ("mongodb://localhost/shop?pool_size=many", "pool_size='many'"),
        ("mongodb://localhost/shop?pool_size=2.5", "pool_size='2.5'"),
        ("mongodb://localhost/shop?pool_size=0", "pool_size='0'"),
        ("mongodb://localhost/shop?patience=0", "patience='0'"),
    ],
)
def test_a_url_that_is_wrong_is_an_error(url, said):
    with pytest.raises(SettingsError, match="[$]" if said == "$" else said):
        MongoStore.from_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://user:secret@localhost/shop?colour=blue",
        "mongodb://user:secret@localhost/shop?maxPoolSize=-3",
        "mongodb://user:se%zzcret@localhost:notaport/shop",
        "mongodb://user:secret@localhost/shop?authMechanism=secret",
    ],
)
async def test_what_the_driver_does_not_understand_is_an_error_without_the_password(url):
    store = MongoStore.from_url(url)
    with pytest.raises(SettingsError) as caught:
        await store.setup()
    text = f"{caught.value!r}{caught.value}"
    assert "secret@" not in text
    assert caught.value.__cause__ is None
    assert "secret" not in repr(store.__dict__)


@pytest.mark.parametrize("password", ["qx@jz/zq", "qx/jz", "77?jz", "qx?jz", "qx#jz", "qx?jz=zq", "qx@j?zq", "qxjz@"])
@pytest.mark.parametrize("open_it", [MongoStore.from_url, open_store])
async def test_a_password_that_was_not_escaped_is_an_error_that_shows_nothing_of_it(open_it, password):
    with pytest.raises(SettingsError, match="escaped") as caught:
        await open_it(f"mongodb://user:{password}@localhost/shop?retryWrites=true").setup()
    text = f"{caught.value!r}{caught.value}"
    assert "localhost" in text
    assert not [piece for piece in re.split(r"[/?#@=]", password) if len(piece) > 1 and piece in text]


async def test_a_server_that_is_not_there_is_unavailable_and_nothing_stays_open():
    store = open_store("mongodb://user:secret@127.0.0.1:1/shop?serverSelectionTimeoutMS=50")
    with pytest.raises(StoreUnavailable) as caught:
        await store.setup()
    said = str(caught.value)
    assert "secret" not in said
    assert "is the server running, is there a primary" in said
    assert "Topology" not in said
    assert len(said) < 400
    assert caught.value.__cause__ is not None
    await store.close()


@pytest.mark.parametrize("scheme", ["mongodb", "mongodb+srv"])
def test_without_the_driver_it_is_said_what_to_install(scheme):
    hidden = (
        f"import sys; sys.modules['pymongo'] = None\nimport sagafsm\nsagafsm.open_store('{scheme}://me:secret@h/d')"
    )
    done = subprocess.run([sys.executable, "-c", hidden], capture_output=True, text=True, timeout=50, check=False)
    said = done.stderr.strip().splitlines()[-1]
    assert f"SettingsError: the store for '{scheme}://' cannot be loaded" in said
    assert "pymongo" in said
    assert said.endswith("install its driver: pip install 'sagafsm[mongodb]'")
    assert "secret" not in said


async def test_a_store_that_is_not_open_says_so():
    store = MongoStore.from_url("mongodb://localhost")
    with pytest.raises(StoreError, match=r"call setup\(\) first"):
        await store.load(["s"])
    await store.close()
