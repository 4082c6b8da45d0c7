"""Sagas are taken one by one, and given out in an order that is none of the server's."""

import asyncio

from sagafsm.testing.appends import create
from sagafsm.testing.conformance.base import LONG
from sagafsm_mongo import MongoStore

RACERS = 8
SAGAS = 60


async def test_named_sagas_come_in_the_order_in_which_they_were_named(store):
    """They came in the order of their ids, unlike from any other store."""
    await store.heartbeat("w", LONG)
    await store.commit([create(name, due_at=due) for name, due in zip("abcd", (4.0, 1.0, None, 2.0), strict=True)])
    claim = await store.claim("w", ["Order@1"], limit=9, saga_ids=["d", "b", "d", "c", "a", "b"])
    assert [saga.record.saga_id for saga in claim.sagas] == ["d", "b", "c", "a"]


async def test_of_racers_with_clients_of_their_own_each_saga_has_one_winner(store, url):
    stores = [MongoStore.from_url(url) for _ in range(RACERS)]
    for n, each in enumerate(stores):
        await each.setup()
        await each.heartbeat(f"w{n}", LONG)
    await store.commit([create(f"s{n}", due_at=1.0 + n) for n in range(SAGAS)])
    claims = await asyncio.gather(
        *(each.claim(f"w{n}", ["Order@1"], limit=SAGAS) for n, each in enumerate(stores)),
    )
    taken = [saga.record.saga_id for claim in claims for saga in claim.sagas]
    assert sorted(taken) == sorted(f"s{n}" for n in range(SAGAS))
    stored = await store.load(taken)
    for n, claim in enumerate(claims):
        assert [saga.record.due_at for saga in claim.sagas] == sorted(saga.record.due_at for saga in claim.sagas)
        for saga in claim.sagas:
            assert (saga.record.owner, saga.record.fence) == (f"w{n}", 2)
            assert stored[saga.record.saga_id].record == saga.record
    for each in stores:
        await each.close()
