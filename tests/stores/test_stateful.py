"""The state machine that compares a store with the memory store finds planted bugs."""

import hypothesis
import pytest
from hypothesis.stateful import run_state_machine_as_test

from sagafsm.testing.stateful import store_machine
from tests.stores.planted import appends, claims, keeping, limits, reading

SETTINGS = hypothesis.settings(max_examples=60, stateful_step_count=30, deadline=None)


@pytest.mark.parametrize(
    "planted",
    [
        appends.NoFenceCheck,
        appends.EveryConflictADuplicate,
        appends.SnapshotOffByOne,
        claims.ClaimsFromTheLiving,
        claims.ReleaseIsUnconditional,
        keeping.PurgesTheLiving,
        limits.RefusedUsesUpRate,
        reading.CountsByStateOnly,
    ],
)
def test_the_machine_finds_a_planted_bug(planted):
    async def open_store():
        return planted()

    searching = hypothesis.settings(SETTINGS, max_examples=500, database=None, phases=[hypothesis.Phase.generate])
    with pytest.raises(AssertionError):
        run_state_machine_as_test(store_machine(open_store), settings=searching)
