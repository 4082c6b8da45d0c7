"""A memory store that has a twin, and such stores whose twin has a bug."""

from sagafsm.core.errors import StoreUnavailable
from sagafsm.runtime.memory import MemoryStore


class Twinned(MemoryStore):
    """Its twin is another object with the same sagas in it."""

    closed = False

    def twin(self):
        twin = type(self)()
        twin.__dict__.update({name: value for name, value in self.__dict__.items() if name != "closed"})
        twin.original = self
        return twin

    async def close(self):
        self.closed = True

    async def commit(self, batch):
        if self.closed:
            raise StoreUnavailable("closed")
        return await super().commit(batch)


class TwinIsAnother(Twinned):
    def twin(self):
        return MemoryStore()


class BeatsForAnother(Twinned):
    async def heartbeat(self, worker_id, ttl):
        return await super().heartbeat(f"{worker_id}{getattr(self, 'original', '') and 2}", ttl)


class ClosesBoth(Twinned):
    async def close(self):
        await super().close()
        if hasattr(self, "original"):
            await self.original.close()


class DiesWithTheStore(Twinned):
    async def heartbeat(self, worker_id, ttl):
        if hasattr(self, "original") and self.original.closed:
            raise StoreUnavailable("closed")
        return await super().heartbeat(worker_id, ttl)


PLANTED = [
    (TwinIsAnother, "test_a_twin_renews_leases_from_another_thread"),
    (TwinIsAnother, "test_a_twin_sees_what_the_store_wrote"),
    (BeatsForAnother, "test_both_can_be_used_at_once"),
    (ClosesBoth, "test_closing_a_twin_leaves_the_store_open"),
    (DiesWithTheStore, "test_a_twin_outlives_the_store_being_closed"),
]
