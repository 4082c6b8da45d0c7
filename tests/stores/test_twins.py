"""The kit's class for twins on a memory store that has one, and on memory stores whose twin has a bug."""

import pytest

from sagafsm.core.errors import StoreUnavailable
from sagafsm.testing.conformance import TwinConformance
from tests.stores.planted.twins import PLANTED, Twinned


class TestTwinned(TwinConformance):
    @pytest.fixture
    def store(self):
        return Twinned()


@pytest.mark.parametrize(("store", "obligation"), PLANTED)
async def test_the_kit_catches(store, obligation):
    await getattr(TwinConformance(), obligation)(Twinned())
    with pytest.raises((AssertionError, KeyError, StoreUnavailable)):
        await getattr(TwinConformance(), obligation)(store())
