"""A claim whose commit is in doubt: it is looked up, and where that cannot be done the doubt is told."""

from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from sagafsm.core.errors import OutcomeUnknown, StoreUnavailable
from sagafsm.testing.appends import KIND, create
from sagafsm.testing.conformance.base import LONG
from sagafsm.testing.proxy import Proxy, Trouble
from sagafsm_sql import SQLStore


@pytest.fixture
async def behind(store, url):
    """A proxy before the server, and a second store that reaches it through that; both workers are alive."""
    parts = urlsplit(url)
    async with Proxy(parts.hostname, parts.port) as proxy:
        second = SQLStore.from_url(
            url.replace(f"{parts.hostname}:{parts.port}", f"{proxy.host}:{proxy.port}"), timeout=1
        )
        await second.setup()
        await store.heartbeat("w", LONG)
        await store.heartbeat("v", LONG)
        yield proxy, second
        proxy.heal()
        await second.close()


@asynccontextmanager
async def before_it_is_looked_up(store, call):
    """Within the block, something happens between a claim that is in doubt and the look."""
    claims = store._opened.claims
    stands, seen = claims._stands, []

    async def later(*arguments):
        seen.append(await call())
        return await stands(*arguments)

    claims._stands = later
    yield seen
    del claims._stands


async def owner(store):
    record = (await store.load(["s"]))["s"].record
    return record.owner, record.fence


async def test_a_claim_that_was_made_and_not_told_is_found(store, behind):
    proxy, second = behind
    await store.commit([create("s", due_at=1.0)])
    strike = proxy.plan(Trouble.LOSE_REPLY, containing=b"COMMIT;")
    claim = await second.claim("w", [KIND], limit=5)
    assert strike.struck
    assert [(saga.record.saga_id, saga.record.fence) for saga in claim.sagas] == [("s", 2)]
    assert await owner(store) == ("w", 2)


async def test_a_claim_that_was_not_made_is_not_taken_for_that_of_another_worker(store, behind):
    """Who claims the saga next gets the same fence: both would have driven it."""
    proxy, second = behind
    await store.commit([create("s", due_at=1.0)])
    strike = proxy.plan(Trouble.CUT_BEFORE, containing=b"COMMIT;")

    async def others_claim():
        while not (claim := await store.claim("v", [KIND], limit=5)).sagas:
            pass  # until the server has noticed that the connection is gone
        return claim

    async with before_it_is_looked_up(second, others_claim) as seen:
        with pytest.raises(StoreUnavailable, match="nothing was claimed"):
            await second.claim("w", [KIND], limit=5)
    assert strike.struck
    assert seen[0].sagas[0].record.fence == 2
    assert await owner(store) == ("v", 2)


async def test_a_claim_that_cannot_be_looked_up_is_in_doubt(store, behind):
    """It was said that nothing was claimed: the worker owned a saga, and nobody drove it."""
    proxy, second = behind
    await store.commit([create("s", due_at=1.0)])
    strike = proxy.plan(Trouble.LOSE_REPLY, containing=b"COMMIT;")

    async def server_goes_away():
        proxy.refuse()

    async with before_it_is_looked_up(second, server_goes_away):
        with pytest.raises(OutcomeUnknown):
            await second.claim("w", [KIND], limit=5)
    assert strike.struck
    assert await owner(store) == ("w", 2)
