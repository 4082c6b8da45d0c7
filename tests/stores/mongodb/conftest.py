"""A database of its own for each test, on one server for all of them."""

import uuid
from urllib.parse import urlsplit, urlunsplit

import pymongo
import pytest

from sagafsm_mongo import MongoStore
from tests.servers.mongodb import MongoDB


def other_database(url, name):
    """The same server, another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


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
