"""Simulation: the whole engine, unchanged, on a deterministic loop with everything that can go wrong around it."""

from .case import Case
from .failure import SimulationFailed
from .faults import SITES
from .ledger import EffectLedger
from .user import Report, Simulation, simulate

__all__ = ["SITES", "Case", "EffectLedger", "Report", "Simulation", "SimulationFailed", "simulate"]
