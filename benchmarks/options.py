"""What a measurement is asked to do: how much of it, and where."""

from __future__ import annotations

import attrs

from .floors.base import Place

SLOW = {"mongodb": 0.3}
"""Stores that get only a part of the work, so that it takes about as long as on the others."""

FINISHED = {"mongodb": 10_000}
"""How many finished sagas growth is measured with where the stand-in would take too long over a million."""


@attrs.frozen(kw_only=True)
class Options:
    """``place``: where databases of the store are made. ``store``: which one it is.

    ``quick``: a smoke test with tiny counts, whose figures mean nothing. ``pairs``: how often each pair is run.
    ``finished``: how many finished sagas are to be in a store that has grown.
    """

    place: Place
    store: str
    pairs: int
    quick: bool
    finished: int

    def count(self, full: int, quick: int) -> int:
        """A number that depends on whether this is a smoke test."""
        return quick if self.quick else full

    def work(self, full: int, quick: int) -> int:
        """The same for a number of sagas to be run, fewer on a store that takes long over each."""
        return quick if self.quick else round(full * SLOW.get(self.store, 1))
