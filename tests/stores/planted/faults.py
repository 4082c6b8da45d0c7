"""Memory stores, each with one bug that shows when an answer is lost, a call is cut short, or many come at once."""

import asyncio
from collections import deque

from msgspec.structs import replace

from sagafsm.runtime.memory import MemoryStore
from sagafsm.store import Duplicate
from tests.stores.planted.appends import NoDuplicates, NoFenceCheck, NoVersionCheck, RecordAfterEvents
from tests.stores.planted.keeping import SecondStoreIsAnother
from tests.stores.planted.register import planted

planted(
    "test_a_batch_whose_answer_was_lost_is_applied_once",
    "test_a_saga_runs_once_whatever_becomes_of_its_commits",
)(NoDuplicates)
planted("test_a_batch_that_arrives_late_is_harmless", "test_an_append_from_a_stale_read_is_refused")(NoFenceCheck)
planted("test_an_append_from_a_stale_read_is_refused")(NoVersionCheck)
planted(
    "test_a_call_that_is_cut_short_anywhere_is_done_or_not_done",
    "test_many_tasks_at_once_leave_every_saga_whole",
)(RecordAfterEvents)
planted("test_a_batch_handed_in_again_through_a_second_store_is_applied_once")(SecondStoreIsAnother)


@planted("test_a_batch_handed_in_again_while_it_is_under_way_is_applied_once")
class LooksForDuplicatesFirst(MemoryStore):
    """Asks whether the append was made, and makes it, in two steps."""

    async def commit(self, batch):
        made = [self._made(append) for append in batch]
        await asyncio.sleep(0)
        answers = [self._append(append) for append in batch]
        return [
            self._without_duplicates(append, answer) if not before else answer
            for append, answer, before in zip(batch, answers, made, strict=True)
        ]

    def _made(self, append):
        saga = self._sagas.get(append.saga_id)
        return saga is not None and saga.wrote(append)

    def _without_duplicates(self, append, answer):
        if not isinstance(answer, Duplicate):
            return answer
        return MemoryStore._append(self, replace(append, append_id="another"))


@planted("test_many_tasks_at_once_leave_every_saga_whole")
class ReadsThenWrites(MemoryStore):
    """The last of several writers wins, and all are told that they did."""

    async def commit(self, batch):
        versions = {name: saga.record.version for name, saga in self._sagas.items()}
        await asyncio.sleep(0)
        answers = []
        for append in batch:
            saga = self._sagas.get(append.saga_id)
            if saga is not None and versions.get(append.saga_id) == append.expected_version:
                del saga.events[append.expected_version :], saga.append_ids[append.expected_version :]
                saga.record = replace(saga.record, version=append.expected_version)
            answers.append(self._append(append))
        return answers


@planted("test_fences_of_many_claims_at_once_are_never_given_twice")
class CountsFencesByItself(MemoryStore):
    """Reads which fence comes next, and raises it, in two steps."""

    async def claim(self, worker_id, kinds, *, limit, saga_ids=None):
        fences = {name: saga.record.fence for name, saga in self._sagas.items()}
        await asyncio.sleep(0)
        claim = await super().claim(worker_id, kinds, limit=limit, saga_ids=saga_ids)
        for saga in claim.sagas:
            stored = self._sagas[saga.record.saga_id]
            stored.record = replace(stored.record, fence=fences[saga.record.saga_id] + 1)
        return replace(claim, sagas=[self._sagas[saga.record.saga_id].stored() for saga in claim.sagas])


@planted("test_a_call_that_is_cut_short_holds_nothing_back")
class KeepsItsLock(MemoryStore):
    """A lock that is not released where its holder is cancelled."""

    def __init__(self):
        super().__init__()
        self._gate = asyncio.Lock()

    async def commit(self, batch):
        await self._gate.acquire()
        await asyncio.sleep(0)
        answers = await super().commit(batch)
        self._gate.release()
        return answers


@planted("test_however_often_calls_are_cut_short_the_store_goes_on")
class LosesConnections(MemoryStore):
    """A pool of ten; who is cancelled gives none back."""

    def __init__(self):
        super().__init__()
        self._pool = asyncio.Semaphore(10)

    async def load(self, saga_ids):
        await self._pool.acquire()
        await asyncio.sleep(0)
        found = await super().load(saga_ids)
        self._pool.release()
        return found


@planted("test_answers_belong_to_their_questions")
class OneReplyBehind(MemoryStore):
    """Answers come in the order of the questions; who is cancelled leaves the answer to the next."""

    def __init__(self):
        super().__init__()
        self._replies = deque()

    async def load(self, saga_ids):
        self._replies.append(await super().load(saga_ids))
        await asyncio.sleep(0)
        return self._replies.popleft()
