"""Simulation: the whole engine, unchanged, on a deterministic loop with everything that can go wrong around it."""

from .case import Case
from .exhaustive import crash_test, fail_at_every_step, repeat_every_step
from .failure import SimulationFailed
from .faults import SITES
from .ledger import EffectLedger
from .outside import CannotSimulate
from .proof import Report, Simulation
from .user import simulate

__all__ = [
    "SITES",
    "CannotSimulate",
    "Case",
    "EffectLedger",
    "Report",
    "Simulation",
    "SimulationFailed",
    "crash_test",
    "fail_at_every_step",
    "repeat_every_step",
    "simulate",
]
