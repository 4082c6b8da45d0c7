"""The memory store keeps the obligations of limits, and the kit catches stores that do not; the arithmetic of rates."""

import pytest

from sagafsm.rate import next_grant
from sagafsm.runtime.memory import MemoryStore
from sagafsm.supports import Permit
from sagafsm.testing.conformance import LimitsConformance
from tests.stores.planted.limits import PLANTED, EachStoreHasItsOwn


class TestMemoryLimits(LimitsConformance):
    @pytest.fixture
    def store(self):
        return MemoryStore()

    async def open_again(self, store):
        return store


class Kit(LimitsConformance):
    """The kit as a store's tests would use it."""

    async def open_again(self, store):
        return type(store)() if isinstance(store, EachStoreHasItsOwn) else store


@pytest.mark.parametrize(("store", "obligation"), PLANTED)
async def test_the_kit_catches(store, obligation):
    await getattr(Kit(), obligation)(MemoryStore())
    with pytest.raises((AssertionError, TimeoutError)):
        await getattr(Kit(), obligation)(store())


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def permit(token, name="bank", **limits):
    return Permit(name=name, token=token, worker_id="w", **limits)


async def test_permits_follow_the_clock_of_the_store():
    clock = Clock()
    store = MemoryStore(clock)
    await store.heartbeat("w", 100.0)
    assert await store.acquire([permit(token, rate=0.5, burst=2) for token in "abc"]) == [0.0, 0.0, 2.0]
    clock.now += 1.5
    assert await store.acquire([permit("c", rate=0.5, burst=2)]) == [0.5]
    clock.now += 0.5
    assert await store.acquire([permit("c", rate=0.5, burst=2)]) == [0.0]


async def test_what_is_neither_held_nor_filled_is_forgotten():
    clock = Clock()
    store = MemoryStore(clock)
    await store.heartbeat("w", 1e9)
    for n in range(5000):
        await store.acquire([permit(f"t{n}", name=f"customer:{n}", concurrency=1, rate=1.0)])
        await store.give_back("w", [f"t{n}"])
        clock.now += 0.1
    assert len(store._limits._names) <= 64


@pytest.mark.parametrize(
    ("filled_until", "rate", "burst", "expected"),
    [
        (None, 2.0, 1, (0.0, 100.5)),
        (99.0, 2.0, 1, (0.0, 100.5)),
        (100.5, 2.0, 1, (0.5, 101.0)),
        (100.5, 2.0, 2, (0.0, 101.0)),
        (101.0, 2.0, 2, (0.5, 101.5)),
        (100.0000001, 2.0, 1, (0.0, 100.5000001)),
    ],
)
def test_when_the_next_one_may_be_granted(filled_until, rate, burst, expected):
    assert next_grant(filled_until, 100.0, rate, burst) == pytest.approx(expected)
