"""What a measurement is asked to do: how much of it, and where."""

from __future__ import annotations

from pathlib import Path

import attrs


@attrs.frozen(kw_only=True)
class Options:
    """``quick``: a smoke test with tiny counts, whose figures mean nothing. ``pairs``: how often each pair is run.

    ``folder``: where the databases lie while they are measured; it is empty and on the disk in question. ``million``:
    a million finished sagas instead of a hundred thousand. ``store``: which one is measured.
    """

    folder: Path
    pairs: int = 5
    quick: bool = False
    million: bool = False
    store: str = "sqlite"

    def count(self, full: int, quick: int) -> int:
        """A number that depends on whether this is a smoke test."""
        return quick if self.quick else full
