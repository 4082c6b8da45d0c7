"""Testing sagas, and testing stores: everything here runs on virtual time or against what it is given."""

from .harness import SagaTestHarness
from .loop import Deadlock, Livelock, VirtualLoop
from .script import NotReached
from .stage import Hangs

__all__ = ["Deadlock", "Hangs", "Livelock", "NotReached", "SagaTestHarness", "VirtualLoop"]
