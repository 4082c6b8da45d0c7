"""50,000 runs over the corpus, the second half."""

from tests.simulation.campaigns import Interleavings


class TestSecondHalf(Interleavings):
    part = 1
