"""Sagas that belong to a living worker which does not know it: found and driven all the same.

All were found by the simulation, which ran whole engines on a store that loses answers.
"""

import asyncio

import pytest
from msgspec.structs import replace

from sagafsm import OutcomeUnknown, SagaDefinition, Step, WaitFor
from tests.runtime.world import Around, state_of


class LosesTheAnswerToAClaim(Around):
    """The next claim that takes something is done, and its answer is lost."""

    lose = True

    async def claim(self, worker_id, kinds, *, limit, saga_ids=None):
        claim = await self.inner.claim(worker_id, kinds, limit=limit, saga_ids=saga_ids)
        if claim.sagas and self.lose:
            self.lose = False
            raise OutcomeUnknown("the connection was lost")
        return claim


class ShowsAnOldView(LosesTheAnswerToAClaim):
    """After the answer to a claim was lost, the next look at the saga shows it as it was before that claim."""

    old = 1

    async def load(self, saga_ids):
        found = await self.inner.load(saga_ids)
        if self.lose or not self.old:
            return found
        self.old -= 1
        return {
            saga_id: replace(stored, record=replace(stored.record, fence=stored.record.fence - 1, owner=None))
            for saga_id, stored in found.items()
        }


class ClaimsAfterTheAnswerWasGivenUp(Around):
    """The connection breaks before the next claim that would take something has arrived; it arrives all the same."""

    lose = True

    async def claim(self, worker_id, kinds, *, limit, saga_ids=None):
        if self.lose and (await self.inner.load(["lost"]))["lost"].record.due_at is not None:
            self.lose = False
            self.late = asyncio.create_task(self._arrive(worker_id, kinds, limit))
            raise OutcomeUnknown("the connection was lost")
        return await self.inner.claim(worker_id, kinds, limit=limit, saga_ids=saga_ids)

    async def _arrive(self, *arguments):
        await asyncio.sleep(self.seconds)
        await self.inner.claim(*arguments[:2], limit=arguments[2])

    seconds = 3


class ShowsAnOldViewForLong(ShowsAnOldView):
    """For as long as anybody looks; and the last look takes until after everybody would have given up."""

    old = 1_000
    slow_after = 14.5  # of the 15 seconds for which a lost claim may still arrive

    async def load(self, saga_ids):
        found = await super().load(saga_ids)
        if self.old and not self.lose and asyncio.get_running_loop().time() > self.slow_after:
            self.old = 0
            await asyncio.sleep(60)
        return found


class HearsLateThatItLetGo(LosesTheAnswerToAClaim):
    """What lets a saga go is stored at once, and the answer takes its time; then the answer to a claim is lost."""

    late = True

    async def commit(self, batch):
        results = await self.inner.commit(batch)
        if self.late and any(new.owner is None for new in batch):
            self.late = False
            await asyncio.sleep(10)
        return results


class ShowsAnOwnerThatHasLetGo(Around):
    """A foreign writer reads a saga just before its owner lets it go: as it was when it was still owned."""

    def __init__(self, store, owner):
        super().__init__(store)
        self.owner = owner

    async def load(self, saga_ids):
        found = await self.inner.load(saga_ids)
        return {
            saga_id: replace(stored, record=replace(stored.record, owner=self.owner))
            for saga_id, stored in found.items()
        }


def purchase(did, *before):
    async def pay(data):
        did("pay")

    return SagaDefinition(
        name="purchase", steps=[*before, WaitFor("go", signal="go"), Step("pay", pay, compensatable=False)]
    )


@pytest.mark.parametrize("kind", [LosesTheAnswerToAClaim, ShowsAnOldView])
async def test_a_claim_whose_answer_was_lost_leaves_no_saga_behind(world, did, kind):
    saga = purchase(did)
    async with world.orchestrator(saga, worker=False) as submitting:
        await submitting.start(saga, saga_id="lost")
    store = kind(world.store)
    async with world.orchestrator(saga, store=store, poll_interval=5) as working:
        await asyncio.sleep(5)
        await working.signal("lost", "go")
        assert state_of(await working.wait("lost", timeout=30)) == "completed"
    assert not store.lose


@pytest.mark.parametrize("kind", [ClaimsAfterTheAnswerWasGivenUp, ShowsAnOldViewForLong])
async def test_nobody_but_its_owner_would_ever_find_it(world, did, kind):
    async def pay(data):
        did("pay")

    saga = SagaDefinition(name="payment", steps=[Step("pay", pay, compensatable=False)])
    async with world.orchestrator(saga, worker=False) as submitting:
        await submitting.start(saga, saga_id="lost")
    store = kind(world.store)
    async with world.orchestrator(saga, store=store, poll_interval=5) as working:
        assert state_of(await working.wait("lost", timeout=100)) == "completed"
    assert did.names == ["pay"]
    assert not store.lose


async def test_a_claim_whose_answer_was_lost_counts_more_than_the_driver_of_an_older_one(world, did):
    """The old driver has let the saga go and does not know yet; once it does, nobody would drive the saga."""

    async def pick(data):
        did("pick")

    saga = purchase(did, Step("pick", pick, compensatable=False))
    store = HearsLateThatItLetGo(world.store)
    async with world.orchestrator(saga, store=store, poll_interval=1) as working:
        await working.start(saga, saga_id="late")
        await asyncio.sleep(1)
        async with world.orchestrator(saga, worker=False) as outside:
            await outside.signal("late", "go")
        await asyncio.sleep(2)
        assert (store.late, store.lose) == (False, False)
        assert state_of(await working.wait("late", timeout=30)) == "completed"
    assert did.names == ["pick", "pay"]


async def test_a_saga_let_go_while_somebody_writes_to_it_is_taken_up_again(world, did):
    """Letting go changes the record and no event, so the version that the writer saw still holds."""
    saga = purchase(did)
    async with world.orchestrator(saga) as working:
        await working.start(saga, saga_id="let-go")
        await asyncio.sleep(1)
        assert "let-go" not in working._engine.drivers  # it waits, and costs nothing
        store = ShowsAnOwnerThatHasLetGo(world.store, working._engine.worker_id)
        async with world.orchestrator(saga, store=store, worker=False) as outside:
            await outside.signal("let-go", "go")
        assert state_of(await working.wait("let-go", timeout=30)) == "completed"
