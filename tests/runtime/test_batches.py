"""How many appends the journal hands to a store at one time."""

import asyncio

import pytest

from sagafsm import Orchestrator, Saga, SagaState, Settings, step
from sagafsm.runtime.memory import MemoryStore


class Note(Saga[int]):
    @step(compensatable=False)
    async def note(self, number: int) -> int:
        return number


class Counting(MemoryStore):
    def __init__(self, batches):
        super().__init__()
        self.batches = batches
        self.sizes = []

    async def commit(self, batch):
        self.sizes.append(len(batch))
        return await super().commit(batch)


@pytest.mark.parametrize(("batches", "most"), [(1, 500), (2, 250), (1_000, 1)])
async def test_the_batches_that_are_written_at_one_time_share_five_hundred_appends(batches, most):
    """Also where a store takes more batches than that: each holds one append, and none is empty."""
    store = Counting(batches)
    async with Orchestrator(store, sagas=[Note], settings=Settings(concurrency=600)) as orchestrator:
        sagas = await asyncio.gather(*(orchestrator.run(Note, number) for number in range(600)))
    assert {saga.state for saga in sagas} == {SagaState.COMPLETED}
    assert (min(store.sizes) > 0, max(store.sizes)) == (True, most)
