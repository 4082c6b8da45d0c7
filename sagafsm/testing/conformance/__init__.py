"""The conformance kit: what every store must do, as pytest classes. Subclass, and give a ``store`` fixture.

::

    class TestMyStore(StoreConformance):
        @pytest.fixture
        async def store(self):
            store = MyStore(...)            # an empty database
            await store.setup()
            yield store
            await store.close()

        async def open_again(self, store):  # a second store on the same database; without it those tests are skipped
            ...

Each test is named after one obligation of ``sagafsm.store``. ``StoreConformance`` is what every store keeps;
``WakeupConformance``, ``LimitsConformance`` and ``TwinConformance`` are for those that have that ability;
``NetworkConformance`` is for those whose database is reached over a network, and breaks it.
``sagafsm.testing.stateful`` has a state machine that asks any store and a memory store the same.

Needs ``pytest`` and ``pytest-asyncio``. No test waits for leases to run out or for times to come: leases are made with
a time to live that is over already, due times lie in the past or far ahead. ``patience`` says how many seconds pass
before a test believes that something hangs.
"""

from .appending import AppendConformance
from .batches import BatchConformance
from .claiming import ClaimConformance
from .faults import FaultConformance
from .finding import FindConformance
from .keeping import KeepConformance
from .leases import LeaseConformance
from .limits import LimitsConformance
from .network import NetworkConformance
from .races import RaceConformance
from .sagas import SagaConformance
from .store import StoreConformance
from .twins import TwinConformance
from .wakeups import WakeupConformance

__all__ = [
    "AppendConformance",
    "BatchConformance",
    "ClaimConformance",
    "FaultConformance",
    "FindConformance",
    "KeepConformance",
    "LeaseConformance",
    "LimitsConformance",
    "NetworkConformance",
    "RaceConformance",
    "SagaConformance",
    "StoreConformance",
    "TwinConformance",
    "WakeupConformance",
]
