"""Every single fault, everywhere: the second half of the corpus."""

import pytest

from tests.simulation.campaigns import single_faults_of
from tests.simulation.shapes import SHAPES


@pytest.mark.timeout(0)
@pytest.mark.parametrize("shape", list(SHAPES)[1::2])
def test_no_single_fault_breaks_anything(shape):
    single_faults_of(shape)
