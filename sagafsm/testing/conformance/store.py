"""The whole kit in one class."""

from __future__ import annotations

from .appending import AppendConformance
from .batches import BatchConformance
from .claiming import ClaimConformance
from .faults import FaultConformance
from .finding import FindConformance
from .keeping import KeepConformance
from .leases import LeaseConformance
from .races import RaceConformance
from .sagas import SagaConformance


class StoreConformance(
    AppendConformance,
    BatchConformance,
    FindConformance,
    ClaimConformance,
    LeaseConformance,
    KeepConformance,
    RaceConformance,
    FaultConformance,
    SagaConformance,
):
    """Every obligation of the store protocol."""
