"""50,000 runs over the corpus, the first half.

``SAGAFSM_TEST_INTERLEAVINGS=…`` plays more, ``make prove`` millions.
"""

from tests.simulation.campaigns import Interleavings


class TestFirstHalf(Interleavings):
    part = 0
