"""A call of several requests, of which a later one fails: what an earlier one has done is not denied."""

from urllib.parse import urlsplit

import pytest

from sagafsm.core.errors import OutcomeUnknown, StoreUnavailable
from sagafsm.testing.appends import create, finish
from sagafsm.testing.conformance.base import commit
from sagafsm.testing.proxy import Proxy, Trouble
from sagafsm_mongo import MongoStore
from tests.servers.mongodb import MongoDB
from tests.stores.mongodb.conftest import through

READ = b"find\x00"
FOR_GOOD = 1000  # requests: the driver, too, tries a read once more


@pytest.fixture
async def proxy(servers, store):
    """A proxy before the server of ``store``."""
    parts = urlsplit(servers.url(MongoDB))
    async with Proxy(parts.hostname, parts.port or 27017) as proxy:
        yield proxy


@pytest.fixture
async def behind(url, proxy, monkeypatch):
    """A second store on the database, which reaches it through the proxy."""
    monkeypatch.setattr("pymongo.common.MIN_HEARTBEAT_INTERVAL", 0.02)
    store = MongoStore.from_url(through(proxy, url))
    await store.setup()
    yield store
    proxy.heal()
    await store.close()


@pytest.mark.parametrize("keep", [0.0, 3600.0])
@pytest.mark.parametrize(
    ("at", "error", "gone"),
    [
        pytest.param(1, StoreUnavailable, False, id="before anything was purged"),
        pytest.param(3, StoreUnavailable, False, id="what is to be purged"),
        pytest.param(4, OutcomeUnknown, True, id="whether there is more to purge"),
    ],
)
async def test_a_purge_that_can_no_longer_read_does_not_deny_what_it_purged(
    store, behind, proxy, at, error, gone, keep
):
    await commit(store, finish(await commit(store, create("s")), at=1.0))
    strike = proxy.plan(Trouble.CUT_BEFORE, containing=READ, request=at, times=FOR_GOOD)
    with pytest.raises(error):
        await behind.purge(2.0, keep_ids=keep)
    assert strike.struck
    assert await store.load(["s"]) == {} if gone else await store.load(["s"])


@pytest.mark.parametrize(
    ("batch", "error", "written"),
    [
        pytest.param(["taken"], StoreUnavailable, [], id="of which none was written"),
        pytest.param(["new", "taken"], OutcomeUnknown, ["new"], id="of which one was written"),
    ],
)
async def test_a_batch_of_which_nobody_can_say_why_some_was_refused(store, behind, proxy, batch, error, written):
    await commit(store, create("taken"))
    strike = proxy.plan(Trouble.CUT_BEFORE, containing=READ, times=FOR_GOOD)
    with pytest.raises(error):
        await behind.commit([create(name, digest="other") for name in batch])
    assert strike.struck
    assert list(await store.load(["new"])) == written
