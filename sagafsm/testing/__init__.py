"""Testing sagas, and testing stores: everything here runs on virtual time or against what it is given."""

from .cues import Cue, asks, dies, ends, fails, passes
from .harness import SagaTestHarness
from .loop import Deadlock, Livelock, VirtualLoop
from .script import NotReached
from .simulation import (
    CannotSimulate,
    EffectLedger,
    Report,
    Simulation,
    SimulationFailed,
    crash_test,
    fail_at_every_step,
    repeat_every_step,
    simulate,
)
from .stage import Hangs

__all__ = [
    "CannotSimulate",
    "Cue",
    "Deadlock",
    "EffectLedger",
    "Hangs",
    "Livelock",
    "NotReached",
    "Report",
    "SagaTestHarness",
    "Simulation",
    "SimulationFailed",
    "VirtualLoop",
    "asks",
    "crash_test",
    "dies",
    "ends",
    "fail_at_every_step",
    "fails",
    "passes",
    "repeat_every_step",
    "simulate",
]
