"""Testing sagas, and testing stores: everything here runs on virtual time or against what it is given."""

from .cues import Cue, asks, dies, ends, fails, passes
from .harness import SagaTestHarness
from .loop import Deadlock, Livelock, VirtualLoop
from .script import NotReached
from .simulation import EffectLedger, Simulation, SimulationFailed, simulate
from .stage import Hangs

__all__ = [
    "Cue",
    "Deadlock",
    "EffectLedger",
    "Hangs",
    "Livelock",
    "NotReached",
    "SagaTestHarness",
    "Simulation",
    "SimulationFailed",
    "VirtualLoop",
    "asks",
    "dies",
    "ends",
    "fails",
    "passes",
    "simulate",
]
