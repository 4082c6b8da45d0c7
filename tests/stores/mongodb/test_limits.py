"""Limits in MongoDB: nothing of them piles up."""

from sagafsm.supports import Permit
from sagafsm.testing.conformance.base import LONG


def permit(token, name, **more):
    return Permit(name=name, token=token, worker_id="w", **more)


def make_old(raw):
    """Nothing of what is there was used lately."""
    raw["saga_limits"].update_many({}, {"$inc": {"used_at": -LONG}})


async def test_limits_of_many_names_do_not_pile_up(store, raw):
    """500 were forgotten once a minute, however many there were, and those that somebody held were counted in."""
    await store.heartbeat("w", LONG)
    held = [permit(f"h{n}", f"held:{n}", concurrency=1) for n in range(600)]
    assert set(await store.acquire(held)) == {0.0}
    filled = permit("f", "filled", rate=0.001)
    assert await store.acquire([filled]) == [0.0]
    for turn in range(10):
        make_old(raw)
        names = [permit(f"t{turn}-{n}", f"customer:{turn}:{n}", concurrency=1) for n in range(50)]
        assert set(await store.acquire(names)) == {0.0}
        await store.give_back("w", [each.token for each in names])
    assert raw["saga_limits"].count_documents({}) <= 601 + 100
    assert raw["saga_limits"].count_documents({"_id": {"$regex": "^held:"}}) == 600
    assert (await store.acquire([filled]))[0] > 0
