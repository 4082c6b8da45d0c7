"""Every pair of faults on three shapes: what no single fault breaks, two may."""

import pytest

from sagafsm.testing.simulation.campaign import pairs_of_faults, run_all
from tests.simulation.gate import demand
from tests.simulation.shapes import PAIRED


@pytest.mark.timeout(0)
@pytest.mark.parametrize("shape", PAIRED)
def test_no_pair_of_faults_breaks_anything(shape):
    plan = PAIRED[shape]()
    tally = demand(plan, run_all(plan, pairs_of_faults(plan)))
    assert tally.runs > 3_000
    print(f"{shape}: {tally.runs} runs, {tally.rate:.0f} a second")
