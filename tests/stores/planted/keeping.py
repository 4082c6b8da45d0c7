"""Memory stores, each with one bug in its leases, in opening and closing, or in purging."""

import asyncio
import time

from msgspec.structs import replace

from sagafsm.runtime import memory
from sagafsm.runtime.memory import MemoryStore
from sagafsm.store import Exists, Worker
from tests.stores.planted.register import planted


@planted("test_fences_grow_by_one_with_each_claim_and_are_never_reset")
class FenceLivesInTheLease(MemoryStore):
    async def retire(self, worker_id):
        await super().retire(worker_id)
        for saga in self._sagas.values():
            if saga.record.owner == worker_id:
                saga.record = replace(saga.record, fence=1)


@planted("test_the_end_of_a_saga_keeps_its_fence")
class EndResetsTheFence(MemoryStore):
    def _write(self, saga, append):
        result = super()._write(saga, append)
        if append.state in memory.TERMINAL:
            saga.record = replace(saga.record, fence=1)
        return result


@planted("test_a_lease_lasts_from_the_heartbeat_by_the_clock_of_the_store")
class LeaseOfAnotherClock(MemoryStore):
    async def heartbeat(self, worker_id, ttl):
        worker = await super().heartbeat(worker_id, ttl)
        return Worker(worker_id, worker.until + 3600)


class ByTheProcess(MemoryStore):
    """A store that asks the clock of its process in one place, and its own in all others."""

    def asked(self):
        own, self._clock = self._clock, lambda: time.time()  # what time.time is at that moment
        return own


@planted("test_leases_and_due_times_follow_the_clock_of_the_store_and_no_other")
class ClaimsByTheProcess(ByTheProcess):
    async def claim(self, worker_id, kinds, *, limit, saga_ids=None):
        own = self.asked()
        try:
            return replace(await super().claim(worker_id, kinds, limit=limit, saga_ids=saga_ids), now=own())
        finally:
            self._clock = own


@planted("test_leases_and_due_times_follow_the_clock_of_the_store_and_no_other")
class BeatsByTheProcess(ByTheProcess):
    async def heartbeat(self, worker_id, ttl):
        own = self.asked()
        try:
            return await super().heartbeat(worker_id, ttl)
        finally:
            self._clock = own


@planted("test_how_long_an_id_stays_taken_is_counted_by_the_clock_of_the_store")
class KeepsIdsByTheProcess(ByTheProcess):
    async def purge(self, finished_before, **options):
        own = self.asked()
        try:
            return await super().purge(finished_before, **options)
        finally:
            self._clock = own


@planted("test_each_heartbeat_renews_the_lease")
class LeaseIsNotRenewed(MemoryStore):
    async def heartbeat(self, worker_id, ttl):
        if worker_id in self._workers:
            return Worker(worker_id, self._workers[worker_id])
        return await super().heartbeat(worker_id, ttl)


@planted("test_a_heartbeat_of_one_worker_says_nothing_of_another")
class HeartbeatRenewsAll(MemoryStore):
    async def heartbeat(self, worker_id, ttl):
        worker = await super().heartbeat(worker_id, ttl)
        self._workers = dict.fromkeys(self._workers, worker.until)
        return worker


@planted("test_workers_lists_every_record_also_those_whose_lease_ran_out")
class ListsTheLiving(MemoryStore):
    async def workers(self):
        return [worker for worker in await super().workers() if worker.until > self._clock()]


@planted(
    "test_what_is_stored_is_seen_by_a_second_store",
    "test_of_racing_appends_through_two_stores_exactly_one_wins",
    "test_of_racing_creations_through_two_stores_exactly_one_wins",
    "test_each_saga_is_claimed_through_two_stores_by_one_worker_only",
)
class SecondStoreIsAnother(MemoryStore):
    pass


@planted("test_a_store_can_be_set_up_twice")
class SetUpEmpties(MemoryStore):
    async def setup(self, *, migrate=True):
        self._sagas.clear()


@planted("test_a_store_can_be_closed_twice")
class CloseOnce(MemoryStore):
    async def close(self):
        del self._sagas


@planted("test_a_closed_store_goes_on_or_raises_a_store_error")
class FallsApart(MemoryStore):
    """What it needs is gone when it is closed, and nobody asks for that first."""

    async def close(self):
        self._sagas = None


class ForgetsWhenClosed(MemoryStore):
    """A store that keeps everything in memory, but this."""

    forgotten = ""

    async def close(self):
        vars(self).update({name: value for name, value in vars(MemoryStore()).items() if name == self.forgotten})


for part in ("_sagas", "_workers", "_definitions", "_purged"):
    planted("test_what_is_stored_survives_closing")(
        type(f"Forgets{part.title()}WhenClosed".replace("_", ""), (ForgetsWhenClosed,), {"forgotten": part})
    )


@planted("test_a_store_says_how_durable_it_is")
class SaysNothing(MemoryStore):
    async def check(self):
        return replace(await super().check(), warnings=())


@planted("test_how_many_batches_may_be_under_way_is_1_or_2")
class TooManyBatches(MemoryStore):
    batches = 3


class Purges(MemoryStore):
    """A store that purges others than it should."""

    def doomed(self, record, before):
        return False

    async def purge(self, finished_before, *, limit=500, keep_ids=0.0, saga_ids=None):
        gone = [name for name, saga in self._sagas.items() if self.doomed(saga.record, finished_before)][:limit]
        for name in gone:
            del self._sagas[name]
        return len(gone)


planted("test_purge_deletes_what_ended_before")(Purges)


@planted("test_purge_deletes_what_ended_before")
class PurgesTheEdge(Purges):
    def doomed(self, record, before):
        return record.state in memory.TERMINAL and (record.finished_at or before) <= before


@planted("test_purge_leaves_what_has_not_ended")
class PurgesTheLiving(Purges):
    def doomed(self, record, before):
        return record.finished_at is not None and record.finished_at < before


@planted("test_purge_deletes_what_ended_before")
class PurgesOnlyCompleted(Purges):
    def doomed(self, record, before):
        return record.state == "completed" and record.finished_at is not None and record.finished_at < before


@planted("test_purge_deletes_no_more_than_its_limit", "test_purge_of_named_sagas_deletes_no_more_than_its_limit")
class PurgesWithoutLimit(MemoryStore):
    async def purge(self, finished_before, *, limit=500, keep_ids=0.0, saga_ids=None):
        return await super().purge(finished_before, limit=1000, keep_ids=keep_ids, saga_ids=saga_ids)


@planted(
    "test_purge_takes_events_tags_and_snapshot_with_the_saga",
    "test_a_late_append_never_brings_a_purged_saga_back",
    "test_a_purged_id_can_be_used_again",
    "test_of_a_purge_and_an_append_one_comes_first",
)
class PurgesTheRecordOnly(MemoryStore):
    async def purge(self, finished_before, **options):
        kept = {name: saga for name, saga in self._sagas.items() if saga.record.state in memory.TERMINAL}
        gone = await super().purge(finished_before, **options)
        self._left = kept
        return gone

    async def events(self, saga_id, after=0):
        left = getattr(self, "_left", {}).get(saga_id)
        return tuple(left.events[after:]) if left else await super().events(saga_id, after)

    def _append(self, append):
        left = getattr(self, "_left", {}).get(append.saga_id)
        if left is not None and append.expected_version == 0:
            return Exists(same=True)
        return super()._append(append)


@planted("test_purge_of_named_sagas_deletes_those_that_ended_before_and_no_others")
class NamesOnlyNarrowTheList(MemoryStore):
    async def purge(self, finished_before, *, saga_ids=None, **options):
        return await super().purge(finished_before, **options)


@planted(
    "test_purge_of_named_sagas_deletes_those_that_ended_before_and_no_others",
    "test_of_a_purge_and_an_append_one_comes_first",
)
class PurgesWhateverIsNamed(MemoryStore):
    async def purge(self, finished_before, *, saga_ids=None, **options):
        if saga_ids is None:
            return await super().purge(finished_before, **options)
        return len([self._sagas.pop(name) for name in dict.fromkeys(saga_ids) if name in self._sagas])


@planted(
    "test_the_id_of_a_purged_saga_stays_taken_for_as_long_as_was_said",
    "test_a_purged_id_is_free_after_its_time",
    "test_a_purged_id_does_not_harm_its_neighbours",
    "test_a_purged_id_stays_taken_for_a_second_store",
)
class KeepsNoIds(MemoryStore):
    async def purge(self, finished_before, *, keep_ids=0.0, **options):
        return await super().purge(finished_before, **options)


@planted("test_the_id_of_a_named_saga_that_was_purged_stays_taken")
class KeepsNoIdsOfNamedSagas(MemoryStore):
    async def purge(self, finished_before, *, keep_ids=0.0, saga_ids=None, **options):
        kept = keep_ids if saga_ids is None else 0.0
        return await super().purge(finished_before, keep_ids=kept, saga_ids=saga_ids, **options)


@planted("test_a_purged_id_is_free_after_its_time", "test_a_purged_id_can_be_used_again")
class KeepsIdsForEver(MemoryStore):
    async def purge(self, finished_before, *, keep_ids=0.0, **options):
        return await super().purge(finished_before, keep_ids=1e12, **options)


@planted("test_the_id_of_a_purged_saga_stays_taken_for_as_long_as_was_said", "test_a_purged_id_is_free_after_its_time")
class PurgedIdsWithoutDigest(MemoryStore):
    def _append(self, append):
        result = super()._append(append)
        return replace(result, same=True) if isinstance(result, Exists) and result.purged else result


class RunsAgain(MemoryStore):
    """A store that finds out too late that an id is taken."""

    def late(self, append):
        return True

    def _append(self, append):
        result = super()._append(append)
        if isinstance(result, Exists) and result.purged and self.late(append):
            kept = self._purged.pop(append.saga_id)
            super()._append(append)
            self._purged[append.saga_id] = kept
        return result


planted("test_the_id_of_a_purged_saga_stays_taken_for_as_long_as_was_said")(RunsAgain)
planted("test_a_purged_id_does_not_harm_its_neighbours")(RunsAgain)


@planted("test_a_late_append_finds_nothing_where_an_id_is_kept")
class PurgedIdsTakeAppends(MemoryStore):
    def _append(self, append):
        kept = self._purged.get(append.saga_id)
        if kept is not None and append.expected_version:
            return Exists(same=True, purged=True)
        return super()._append(append)


@planted(
    "test_of_a_purge_and_an_append_one_comes_first",
    "test_of_a_purge_and_an_append_through_two_stores_one_comes_first",
)
class PurgesWhatItReadBefore(MemoryStore):
    async def purge(self, finished_before, *, keep_ids=0.0, limit=500, saga_ids=None):
        wanted = memory.Filter(finished_before=finished_before)
        gone = [name for name, saga in self._sagas.items() if memory._matches(saga.record, wanted)]
        await asyncio.sleep(0)
        return len([self._sagas.pop(name) for name in gone])
