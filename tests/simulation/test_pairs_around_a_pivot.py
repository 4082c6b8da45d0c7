"""Every pair of faults around a pivot."""

import pytest

from tests.simulation.campaigns import pairs_of


@pytest.mark.timeout(0)
def test_no_pair_of_faults_breaks_anything():
    pairs_of("short_pivot")
