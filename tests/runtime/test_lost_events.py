"""A store that goes back in time is never believed in silence, also where nobody drives the saga any more."""

import asyncio
import copy

import pytest

from sagafsm.core.errors import StoreUnavailable
from sagafsm.store import Claim
from tests.runtime.test_shares import named
from tests.runtime.world import Around, state_of


class BackInTime(Around):
    """Says once, in the answer to a claim, what its worker owns since it went back; then some loads may fail."""

    def __init__(self, store):
        super().__init__(store)
        self.owned, self.failures, self.failing = (), 0, 0

    async def claim(self, worker_id, kinds, *, limit, saga_ids=None):
        claim = await self.inner.claim(worker_id, kinds, limit=limit, saga_ids=saga_ids)
        told, self.owned = self.owned, ()
        if told:
            self.failing = self.failures
        return Claim(sagas=claim.sagas, attention=(*claim.attention, *told), next_due=claim.next_due, now=claim.now)

    async def load(self, saga_ids):
        if self.failing:
            self.failing -= 1
            raise StoreUnavailable("a master is just being replaced")
        return await self.inner.load(saga_ids)


@pytest.mark.parametrize("failures", [0, 1, 3])
async def test_a_saga_that_was_let_go_and_is_the_workers_own_again_is_set_aside(world, did, failures):
    async def work(data):
        did(data)
        await asyncio.sleep(5)

    saga, store = named("naps", work), BackInTime(world.store)
    async with world.orchestrator(saga, store=store) as orchestrator:
        await orchestrator.start(saga, "s", saga_id="s")
        await world.idle()
        earlier = copy.deepcopy(world.store._sagas["s"])
        assert earlier.record.owner is not None
        assert state_of(await orchestrator.wait("s", timeout=100)) == "completed"
        world.store._sagas["s"] = earlier
        store.failures, store.owned = failures, ("s",)
        await asyncio.sleep(60)
        assert store.owned == ()
        found = await orchestrator.get("s")
        assert (found.stuck, did.names) == (True, ["s"])
        assert "which it had acknowledged" in found.stuck_reason
        for verb in (orchestrator.suspend, orchestrator.resume):  # only retry says that somebody has looked at it
            assert (await verb("s", actor="eve", reason="audit")).stuck
        assert (await orchestrator.resume("s")).stuck
        assert (await orchestrator.execute("s")).stuck
        await asyncio.sleep(60)
        assert did.names == ["s"]
        await orchestrator.retry("s", actor="eve", reason="looked at")
        assert state_of(await orchestrator.wait("s", timeout=100)) == "completed"
