"""The whole kit in one class."""

from __future__ import annotations

from .appending import AppendConformance
from .batches import BatchConformance
from .claiming import ClaimConformance
from .finding import FindConformance
from .keeping import KeepConformance
from .leases import LeaseConformance
from .races import RaceConformance


class StoreConformance(
    AppendConformance,
    BatchConformance,
    FindConformance,
    ClaimConformance,
    LeaseConformance,
    KeepConformance,
    RaceConformance,
):
    """Every obligation of the store protocol."""
