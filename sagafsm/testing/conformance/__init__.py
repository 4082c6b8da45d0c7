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

Each test is named after one obligation of :mod:`sagafsm.store`. Needs ``pytest`` and ``pytest-asyncio``. No test waits
for time to pass: leases are made with a time to live that is over already, due times lie in the past or far ahead.
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
