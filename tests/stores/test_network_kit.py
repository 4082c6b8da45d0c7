"""The kit for stores behind a network: a store that is right passes it, and each bug in such a store is caught."""

import pytest

from sagafsm.testing.conformance import NetworkConformance, StoreConformance
from tests.stores.planted.remote import PLANTED, MemoryServer, RemoteStore

PATIENT = 30.0
"""Seconds in which a machine with much else to do answers, too."""


class Remote:
    """A store on a server of its own."""

    kind = RemoteStore

    @pytest.fixture
    async def store(self):
        async with MemoryServer().running() as self.address:
            store = RemoteStore(*self.address, limit=PATIENT)
            await store.setup()
            yield store
            await store.close()

    async def open_again(self, store):
        second = RemoteStore(*self.address, limit=PATIENT)
        await second.setup()
        return second

    def server(self):
        return self.address

    async def store_behind(self, proxy):
        store = self.kind(proxy.host, proxy.port)
        await store.setup()
        return store


class TestRemoteStore(Remote, StoreConformance):
    """The toy is a store: what the kit says of its network is to be believed."""


class TestRemoteStoreOnABadNetwork(Remote, NetworkConformance):
    """And a right one."""


class TestTheKitCatches(Remote):
    @pytest.mark.parametrize(
        ("kind", "obligation"), [pytest.param(*bug, id=f"{bug[0].__name__}-{bug[1]}") for bug in PLANTED]
    )
    async def test_a_planted_bug(self, store, kind, obligation):
        kit = type("Kit", (Remote, NetworkConformance), {"kind": kind, "patience": 1.0})()
        kit.address = self.address
        with pytest.raises((Exception, pytest.fail.Exception)):  # how it fails is each test's own
            await getattr(kit, obligation)(store)
