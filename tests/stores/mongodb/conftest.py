"""A database of its own for each test, on one server for all of them."""

import gc
import uuid
import warnings
from urllib.parse import urlsplit, urlunsplit

import pymongo
import pytest

from sagafsm_mongo import MongoStore
from tests.servers.mongodb import MongoDB


def other_database(url, name):
    """The same server, another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def through(proxy, url):
    """The same database, reached through the proxy, which does not take as long as usual to fail."""
    parts = urlsplit(url)
    where = parts.netloc.rpartition("@")[0]
    netloc = f"{where}@{proxy.host}:{proxy.port}" if where else f"{proxy.host}:{proxy.port}"
    # A member of a replica set names the others and itself, and the driver would go there, past the proxy.
    query = "directConnection=true&socketTimeoutMS=700&connectTimeoutMS=700&serverSelectionTimeoutMS=200"
    return parts._replace(netloc=netloc, query=query).geturl()


@pytest.fixture(autouse=True)
def sockets_left_by_the_driver():
    """A call that is cancelled while PyMongo 4 connects leaves its socket to the collector of garbage.

    It is collected here, and not in the middle of some later test that has nothing to do with it.
    """
    yield
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "unclosed <socket", ResourceWarning)
        gc.collect(1)  # what is younger than the test


@pytest.fixture(scope="session")
def admin(servers):
    """A plain client of the shared server."""
    with pymongo.MongoClient(servers.url(MongoDB)) as client:
        yield client


@pytest.fixture
def url(servers, admin):
    name = f"test-{uuid.uuid4().hex[:16]}"
    yield other_database(servers.url(MongoDB), name)
    admin.drop_database(name)


@pytest.fixture
def raw(url, admin):
    """The test's database by the plain driver: what really lies there."""
    return admin[urlsplit(url).path.strip("/")]


@pytest.fixture
async def store(url):
    store = MongoStore.from_url(url)
    await store.setup()
    yield store
    await store.close()
