"""Limits in PostgreSQL: nothing of them piles up."""

from sagafsm.supports import Permit
from sagafsm.testing.conformance.base import LONG
from sagafsm_sql.postgresql import limits


def permit(token, name, **more):
    return Permit(name=name, token=token, worker_id="w", **more)


async def test_limits_of_many_names_do_not_pile_up(store, schemas, monkeypatch):
    """A hundred were forgotten for a hundred requests, however many names there were in each."""
    await store.heartbeat("w", LONG)
    held = [permit(f"h{n}", f"held:{n}", concurrency=1) for n in range(250)]
    assert set(await store.acquire(held)) == {0.0}
    filled = permit("f", "filled", rate=0.001)
    assert await store.acquire([filled]) == [0.0]
    monkeypatch.setattr(limits, "KEPT", -LONG)  # nothing of what is there was used lately
    for turn in range(10):
        names = [permit(f"t{turn}-{n}", f"customer:{turn}:{n}", concurrency=1) for n in range(50)]
        assert set(await store.acquire(names)) == {0.0}
        await store.give_back("w", [each.token for each in names])
    async with schemas.connection() as connection:
        count = f"SELECT count(*) FROM {schemas.common}.saga_limits"
        assert await connection.fetchval(count) <= 251 + 100
        assert await connection.fetchval(f"{count} WHERE name LIKE 'held:%'") == 250
    assert (await store.acquire([filled]))[0] > 0
