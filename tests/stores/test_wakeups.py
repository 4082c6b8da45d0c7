"""The kit's class for wake-ups on a memory store that tells of changes, and on memory stores that tell wrongly."""

import pytest

from sagafsm.testing.conformance import WakeupConformance
from tests.stores.planted.wakeups import PLANTED, Telling


class Kit(WakeupConformance):
    """The kit as a store's tests would use it."""

    async def open_again(self, store):
        return store.beside()


class TestTelling(Kit):
    @pytest.fixture
    def store(self):
        return Telling()


@pytest.mark.parametrize(("store", "obligation"), PLANTED)
async def test_the_kit_catches(store, obligation):
    kit = Kit()
    await getattr(kit, obligation)(Telling())
    kit.patience = 0.1
    with pytest.raises((AssertionError, TimeoutError)):
        await getattr(kit, obligation)(store())
