"""Permits in SQLite: what they cost, and that nothing of them piles up."""

import pytest

from sagafsm.supports import Permit
from sagafsm_sql import SQLStore


class Clock:
    now = 1_700_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
async def clock():
    return Clock()


@pytest.fixture
async def store(tmp_path, clock):
    store = SQLStore.from_url(f"sqlite:///{tmp_path}/sagas.db", clock=clock)
    await store.setup()
    await store.heartbeat("w", 1e9)
    yield store
    await store.close()


def permit(token, name="bank", worker="w", **limits):
    return Permit(name=name, token=token, worker_id=worker, **limits)


async def count(store, table):
    return await store._read(lambda: store._reader.cursor().execute(f"SELECT count(*) FROM {table}").fetchone()[0])


async def test_rates_that_are_no_longer_filled_are_deleted(store, clock):
    for n in range(3000):
        if n % 100 == 0:
            clock.now += 61
        await store.acquire([permit(f"t{n}", name=f"customer:{n}", rate=10.0)])
    assert await count(store, "saga_rates") <= 200


async def test_rates_of_many_names_in_one_request_do_not_pile_up(store, clock):
    """A hundred were forgotten for each request, however many names there were in it."""
    for turn in range(10):
        clock.now += 61
        await store.acquire([permit(f"t{turn}-{n}", name=f"customer:{turn}:{n}", rate=10.0) for n in range(300)])
    assert await count(store, "saga_rates") <= 300


async def test_a_rate_that_is_still_filled_is_kept(store, clock):
    assert await store.acquire([permit("a", rate=0.001, burst=1)]) == [0.0]
    clock.now += 900
    assert await store.acquire([permit("b", name="other", rate=10.0)]) == [0.0]
    assert await store.acquire([permit("c", rate=0.001, burst=1)]) == [pytest.approx(100)]


async def test_permits_go_with_their_worker(store):
    await store.heartbeat("x", 1e9)
    await store.acquire([permit(str(n), worker="x", concurrency=10) for n in range(10)])
    await store.acquire([permit("mine", name="other", concurrency=1)])
    assert await count(store, "saga_permits") == 11
    await store.retire("x")
    assert await count(store, "saga_permits") == 1


async def test_the_cost_depends_on_what_is_asked_for_only(store, clock):
    """How many keys there are, and how many permits are held under others, is not looked at."""
    for n in range(50):
        names = [permit(f"t{n}-{m}", name=f"key:{n}:{m}", concurrency=3, rate=0.0001) for m in range(100)]
        assert set(await store.acquire(names)) == {0.0}

    def plan(name):
        values = ('["bank"]', '["t"]', '["w"]', clock.now) if name == "limits" else ("w", '["t"]')
        query = store._limits._queries[name]
        rows = store._writer.cursor().execute(f"EXPLAIN QUERY PLAN {query}", values).fetchall()
        return [row[3] for row in rows]

    for name in ("limits", "give_back"):
        steps = await store._write(lambda name=name: plan(name))
        assert not [step for step in steps if step.startswith(("SCAN saga_permits", "SCAN saga_rates"))], steps
