"""Every single fault at every place where it can strike, on every shape and every behaviour of its participants."""

import pytest

from sagafsm.testing.simulation.campaign import run_all, single_faults
from tests.simulation.gate import demand
from tests.simulation.shapes import SHAPES


@pytest.mark.timeout(0)
@pytest.mark.parametrize("shape", SHAPES)
def test_no_single_fault_breaks_anything(shape):
    plan = SHAPES[shape]()
    tally = demand(plan, run_all(plan, single_faults(plan)))
    assert tally.runs > 500
    print(f"{shape}: {tally.runs} runs, {tally.rate:.0f} a second")
