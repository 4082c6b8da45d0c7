"""Memory stores, each with one bug in how it claims or releases."""

import asyncio

from msgspec.structs import replace

from sagafsm.runtime import memory
from sagafsm.runtime.memory import MemoryStore
from sagafsm.store import Claim
from tests.stores.planted.register import planted


class Claims(MemoryStore):
    """A store whose claim gives something else than it took."""

    def changed(self, claim):
        return claim

    async def claim(self, worker_id, kinds, *, limit, saga_ids=None):
        return self.changed(await super().claim(worker_id, kinds, limit=limit, saga_ids=saga_ids))


@planted(
    "test_a_claim_takes_what_is_due_and_raises_its_fence",
    "test_fences_grow_by_one_with_each_claim_and_are_never_reset",
    "test_whoever_owned_a_saga_can_write_nothing_after_a_claim",
    "test_whoever_lost_a_saga_cannot_release_it",
    "test_a_claim_and_an_append_of_the_old_owner_never_both_hold",
)
class FenceIsNotRaised(Claims):
    def changed(self, claim):
        for saga in claim.sagas:
            stored = self._sagas[saga.record.saga_id]
            stored.record = replace(stored.record, fence=stored.record.fence - 1)
        return replace(claim, sagas=[self._sagas[saga.record.saga_id].stored() for saga in claim.sagas])


@planted("test_a_claim_takes_what_is_due_and_raises_its_fence", "test_a_saga_that_is_taken_needs_no_attention")
class ClaimShowsTheRecordBefore(Claims):
    def changed(self, claim):
        old = [
            replace(saga, record=replace(saga.record, fence=saga.record.fence - 1, attention=True))
            for saga in claim.sagas
        ]
        return replace(claim, sagas=old)


@planted("test_a_claim_gives_each_saga_with_its_snapshot_and_events")
class ClaimWithoutEvents(Claims):
    def changed(self, claim):
        return replace(claim, sagas=[replace(saga, events=()) for saga in claim.sagas])


@planted("test_attention_names_the_sagas_of_the_worker_that_others_wrote_to")
class NoAttention(Claims):
    def changed(self, claim):
        return replace(claim, attention=())


@planted("test_attention_names_the_sagas_of_the_worker_that_others_wrote_to")
class AttentionToldOnce(Claims):
    def changed(self, claim):
        for saga_id in claim.attention:
            self._sagas[saga_id].record = replace(self._sagas[saga_id].record, attention=False)
        return claim


@planted("test_attention_is_told_whatever_the_kinds_and_the_limit")
class NoAttentionWithoutKinds(MemoryStore):
    async def claim(self, worker_id, kinds, *, limit, saga_ids=None):
        claim = await super().claim(worker_id, kinds, limit=limit, saga_ids=saga_ids)
        return claim if kinds else replace(claim, attention=())


@planted("test_a_saga_that_is_taken_needs_no_attention")
class AttentionStays(MemoryStore):
    async def claim(self, worker_id, kinds, *, limit, saga_ids=None):
        flagged = [name for name, saga in self._sagas.items() if saga.record.attention]
        claim = await super().claim(worker_id, kinds, limit=limit, saga_ids=saga_ids)
        for name in flagged:
            self._sagas[name].record = replace(self._sagas[name].record, attention=True)
        return claim


class Claimable(MemoryStore):
    """A store that may claim other sagas than it should: ``also`` says which more, ``order`` in which order."""

    def also(self, record, worker_id, kinds, now, named):
        return False

    def _claimable(self, worker_id, kinds, now, saga_ids):
        right = super()._claimable(worker_id, kinds, now, saga_ids)
        if not self._alive(worker_id, now):
            return right
        chosen = [
            saga
            for saga in self._sagas.values()
            if saga not in right
            and (saga_ids is None or saga.record.saga_id in saga_ids)
            and self.also(saga.record, worker_id, kinds, now, saga_ids is not None)
        ]
        return [*right, *chosen]


@planted("test_what_is_not_due_is_left")
class ClaimsWhatIsNotDue(Claimable):
    def also(self, record, worker_id, kinds, now, named):
        return record.due_at is not None and record.kind in kinds and record.owner is None and not named


@planted("test_what_is_not_due_is_left")
class ClaimsWhatIsNeverDue(Claimable):
    def also(self, record, worker_id, kinds, now, named):
        return record.due_at is None and record.kind in kinds and record.owner is None and not named


@planted(
    "test_other_kinds_are_left",
    "test_a_worker_without_kinds_claims_nothing",
    "test_named_sagas_of_other_kinds_are_left",
)
class ClaimsEveryKind(Claimable):
    def also(self, record, worker_id, kinds, now, named):
        return record.owner is None and record.due_at is not None


@planted(
    "test_what_somebody_alive_owns_is_left",
    "test_a_saga_may_be_born_owned",
    "test_each_saga_is_claimed_by_one_worker_only",
    "test_a_heartbeat_of_a_retired_worker_registers_it_anew",
)
class ClaimsFromTheLiving(Claimable):
    def also(self, record, worker_id, kinds, now, named):
        return record.owner not in (None, worker_id)


@planted("test_a_worker_never_claims_what_it_owns")
class ClaimsItsOwn(Claimable):
    def also(self, record, worker_id, kinds, now, named):
        return record.owner == worker_id


@planted("test_named_sagas_that_ended_are_left")
class ClaimsWhatEnded(Claimable):
    def also(self, record, worker_id, kinds, now, named):
        return named and record.state in memory.TERMINAL


@planted("test_named_sagas_are_taken_whether_due_or_not")
class NamedMustBeDue(MemoryStore):
    def _claimable(self, worker_id, kinds, now, saga_ids):
        sagas = super()._claimable(worker_id, kinds, now, saga_ids)
        return [saga for saga in sagas if saga.record.due_at is not None and saga.record.due_at <= now]


@planted(
    "test_what_a_worker_owned_whose_lease_ran_out_is_taken", "test_a_heartbeat_of_one_worker_says_nothing_of_another"
)
class LeasesNeverEnd(MemoryStore):
    def _alive(self, owner, now):
        return owner is not None and owner in self._workers


@planted("test_what_a_worker_without_a_record_owned_is_taken", "test_a_retired_worker_is_forgotten")
class RetireDoesNothing(MemoryStore):
    async def retire(self, worker_id):
        return None


@planted("test_what_a_worker_without_a_record_owned_is_taken")
class UnknownOwnersLiveOn(MemoryStore):
    def _alive(self, owner, now):
        return owner is not None and self._workers.get(owner, now + 1) > now


@planted("test_a_worker_whose_own_lease_ran_out_claims_nothing", "test_each_heartbeat_renews_the_lease")
class DeadWorkersClaim(MemoryStore):
    async def claim(self, worker_id, kinds, *, limit, saga_ids=None):
        kept = dict(self._workers)
        self._workers[worker_id] = self._clock() + 1000
        try:
            return await super().claim(worker_id, kinds, limit=limit, saga_ids=saga_ids)
        finally:
            self._workers = kept


@planted("test_the_longest_due_come_first")
class NewestFirst(MemoryStore):
    def _claimable(self, worker_id, kinds, now, saga_ids):
        return super()._claimable(worker_id, kinds, now, saga_ids)[::-1]


@planted("test_the_longest_due_come_first")
class KindByKind(MemoryStore):
    def _claimable(self, worker_id, kinds, now, saga_ids):
        sagas = super()._claimable(worker_id, kinds, now, saga_ids)
        return sorted(sagas, key=lambda saga: list(kinds).index(saga.record.kind))


@planted("test_a_claim_takes_no_more_than_its_limit", "test_no_more_named_sagas_are_taken_than_the_limit")
class NoLimit(MemoryStore):
    async def claim(self, worker_id, kinds, *, limit, saga_ids=None):
        return await super().claim(worker_id, kinds, limit=1000, saga_ids=saga_ids)


class NextDue(Claims):
    """A store that tells another time until the next saga falls due."""

    def other(self, claim):
        return None

    def changed(self, claim):
        return replace(claim, next_due=self.other(claim))


planted(
    "test_next_due_is_the_time_until_the_next_saga_falls_due",
    "test_next_due_is_0_where_the_limit_left_some",
    "test_next_due_of_what_somebody_alive_owns_is_when_the_lease_ends",
)(NextDue)


@planted("test_next_due_is_nothing_where_none_is_in_sight")
class NextDueIsAlwaysATime(NextDue):
    def other(self, claim):
        return claim.next_due or 0.0


@planted("test_next_due_is_the_time_until_the_next_saga_falls_due")
class NextDueIsAbsolute(NextDue):
    def other(self, claim):
        return None if claim.next_due is None else claim.next_due + claim.now


@planted("test_a_claim_tells_the_time_of_the_store")
class ClaimTellsAnotherTime(Claims):
    def changed(self, claim):
        return Claim(sagas=claim.sagas, attention=claim.attention, next_due=claim.next_due, now=0.0)


@planted("test_a_release_needs_the_owner_and_the_fence", "test_whoever_lost_a_saga_cannot_release_it")
class ReleaseIsUnconditional(MemoryStore):
    async def release(self, saga_id, *, worker_id, fence):
        saga = self._sagas.get(saga_id)
        if saga is not None:
            saga.record = replace(saga.record, owner=None)
        return saga is not None


@planted("test_a_release_needs_the_owner_and_the_fence")
class ReleaseNeedsOnlyTheOwner(MemoryStore):
    async def release(self, saga_id, *, worker_id, fence):
        saga = self._sagas.get(saga_id)
        current = saga.record.fence if saga else fence
        return await super().release(saga_id, worker_id=worker_id, fence=current)


@planted(
    "test_a_released_saga_is_as_it_was_and_can_be_claimed",
    "test_fences_grow_by_one_with_each_claim_and_are_never_reset",
)
class ReleaseResetsTheFence(MemoryStore):
    async def release(self, saga_id, *, worker_id, fence):
        done = await super().release(saga_id, worker_id=worker_id, fence=fence)
        if done:
            self._sagas[saga_id].record = replace(self._sagas[saga_id].record, fence=1)
        return done


@planted(
    "test_a_named_saga_is_claimed_by_one_worker_only",
    "test_a_named_saga_is_claimed_through_two_stores_by_one_worker_only",
)
class LooksThenTakes(MemoryStore):
    """Reads which of the named sagas are free, and takes them, in two steps."""

    async def claim(self, worker_id, kinds, *, limit, saga_ids=None):
        if saga_ids is None:
            return await super().claim(worker_id, kinds, limit=limit)
        now = self._clock()
        free = self._claimable(worker_id, kinds, now, saga_ids)[:limit]
        await asyncio.sleep(0)
        for saga in free:
            saga.record = replace(saga.record, owner=worker_id, fence=saga.record.fence + 1, attention=False)
        return Claim(sagas=[saga.stored() for saga in free], attention=(), next_due=None, now=now)
