"""Memory stores, each with one bug in how it counts calls. A list of their own: limits are not part of every store."""

import time

import pytest
from msgspec.structs import replace

from sagafsm.rate import next_grant
from sagafsm.runtime.memory import MemoryStore

PLANTED = []


def planted(*caught_by):
    """Register a store with a bug, and the tests of the kit that must fail on it."""

    def register(store):
        PLANTED.extend(pytest.param(store, name, id=f"{store.__name__}-{name}") for name in caught_by)
        return store

    return register


class Asked(MemoryStore):
    """A store that asks for something else than it was asked for."""

    def changed(self, permit):
        return permit

    async def acquire(self, permits):
        return await super().acquire([self.changed(permit) for permit in permits])


class Looked(MemoryStore):
    """A store that does something else with each request."""

    async def acquire(self, permits):
        return [self.granted(permit, self._clock()) for permit in permits]

    def granted(self, permit, now):
        return self._limits.acquire(permit, now)

    def name(self, permit):
        return self._limits._names.get(permit.name)


@planted("test_the_store_can_count_calls")
class NoLimits(MemoryStore):
    acquire = give_back = None

    def __getattribute__(self, name):
        if name in ("acquire", "give_back"):
            raise AttributeError(name)
        return super().__getattribute__(name)


@planted("test_nothing_asked_for_is_nothing_granted")
class NothingIsTooLittle(MemoryStore):
    async def acquire(self, permits):
        return await super().acquire(permits) or [0.0]


@planted(
    "test_as_many_tokens_as_the_limit_says_hold_it_at_once",
    "test_of_racers_as_many_are_granted_as_the_limit_says",
    "test_many_are_granted_in_one_request_and_given_back_in_one",
)
class OneTooMany(Asked):
    def changed(self, permit):
        return permit if permit.concurrency is None else replace(permit, concurrency=permit.concurrency + 1)


@planted("test_a_limit_holds_for_all_workers_together")
class EachWorkerHasItsOwn(Asked):
    def changed(self, permit):
        return replace(permit, name=f"{permit.name}:{permit.worker_id}")


@planted("test_a_permit_given_back_makes_room")
class NothingIsGivenBack(MemoryStore):
    async def give_back(self, worker_id, tokens):
        pass


@planted("test_only_its_own_worker_gives_a_permit_back")
class AnybodyGivesBack(MemoryStore):
    async def give_back(self, worker_id, tokens):
        for worker in self._workers:
            await super().give_back(worker, tokens)


@planted("test_a_token_that_holds_the_permit_is_granted_it_again", "test_each_request_is_judged_by_itself_and_in_order")
class AskedAgainIsAnother(Asked):
    count = 0

    def changed(self, permit):
        self.count += 1
        return replace(permit, token=f"{permit.token}{self.count}")


@planted("test_a_token_that_holds_the_permit_is_granted_it_again")
class GrantedAgainUsesUpRate(Looked):
    def granted(self, permit, now):
        held = self.name(permit) is not None and permit.token in self.name(permit).holders
        if held and permit.rate is not None:
            self.name(permit).filled_until = next_grant(self.name(permit).filled_until, now, permit.rate, 1)[1]
        return super().granted(permit, now)


@planted("test_a_refused_request_holds_no_place")
class RefusedHoldsAPlace(Looked):
    def granted(self, permit, now):
        wait = super().granted(permit, now)
        if wait and permit.concurrency is not None and self.name(permit) is not None:
            self.name(permit).holders[permit.token] = permit.worker_id
        return wait


@planted("test_permits_count_no_longer_than_the_lease_of_their_worker")
class TheDeadHoldOn(MemoryStore):
    def __init__(self):
        super().__init__()
        self._limits._alive = lambda owner, now: owner in self._workers


@planted("test_permits_of_a_retired_worker_are_gone")
class TheRetiredHoldOn(MemoryStore):
    def __init__(self):
        super().__init__()
        seen = set()

        def alive(owner, now):
            seen.update(self._workers)
            return self._alive(owner, now) or (owner in seen and owner not in self._workers)

        self._limits._alive = alive


@planted("test_a_worker_without_a_lease_is_granted_nothing")
class AnybodyIsGranted(Looked):
    def granted(self, permit, now):
        kept, self._limits._alive = self._limits._alive, lambda owner, now: True
        try:
            return super().granted(permit, now)
        finally:
            self._limits._alive = kept


@planted("test_the_limit_is_what_the_request_says")
class TheFirstLimitStays(Asked):
    def changed(self, permit):
        first = self.__dict__.setdefault("first", {}).setdefault(permit.name, permit.concurrency)
        return replace(permit, concurrency=first)


@planted("test_names_do_not_affect_one_another")
class NamesInLowerCase(Asked):
    def changed(self, permit):
        return replace(permit, name=permit.name.lower())


@planted("test_names_do_not_affect_one_another")
class NamesByTheirBeginning(Asked):
    def changed(self, permit):
        return replace(permit, name=permit.name[:6])


@planted(
    "test_a_burst_is_granted_at_once_and_the_next_has_to_wait", "test_of_racers_as_many_are_granted_as_the_limit_says"
)
class NoBurst(Asked):
    def changed(self, permit):
        return replace(permit, burst=1)


@planted("test_without_a_burst_one_is_granted_at_a_time", "test_a_burst_is_granted_at_once_and_the_next_has_to_wait")
class BurstOneTooLarge(Asked):
    def changed(self, permit):
        return replace(permit, burst=permit.burst + 1)


@planted("test_without_a_burst_one_is_granted_at_a_time")
class WaitsInMilliseconds(MemoryStore):
    async def acquire(self, permits):
        return [wait * 1000 for wait in await super().acquire(permits)]


@planted("test_time_makes_room_under_a_rate")
class TimeStandsStill(Looked):
    def granted(self, permit, now):
        self.first = getattr(self, "first", now)
        wait = super().granted(permit, self.first)
        if wait and permit.rate and permit.rate > 1:
            raise TimeoutError  # instead of being asked for ever
        return wait


@planted("test_rates_follow_the_clock_of_the_store_and_no_other")
class CountsByTheProcess(Looked):
    def granted(self, permit, now):
        return super().granted(permit, time.time())


@planted("test_what_was_not_used_for_long_is_no_more_than_a_burst")
class TimeIsSavedUp(Looked):
    def granted(self, permit, now):
        before = None if self.name(permit) is None else self.name(permit).filled_until
        wait = super().granted(permit, now)
        if not wait and permit.rate is not None and before is not None:
            self.name(permit).filled_until = before + 1 / permit.rate
        return wait


@planted("test_giving_back_gives_no_rate_back")
class RateIsGivenBack(MemoryStore):
    async def give_back(self, worker_id, tokens):
        for name in self._limits._names.values():
            if set(tokens) & name.holders.keys():
                name.filled_until = None
        await super().give_back(worker_id, tokens)


@planted("test_a_refused_request_uses_up_no_rate")
class RefusedUsesUpRate(Looked):
    def granted(self, permit, now):
        wait = super().granted(permit, now)
        if wait and permit.rate is not None and self.name(permit) is not None:
            self.name(permit).filled_until = next_grant(self.name(permit).filled_until, now, permit.rate, 1)[1]
        return wait


@planted("test_a_request_refused_for_its_rate_holds_no_place")
class ThePlaceIsTakenFirst(Looked):
    def granted(self, permit, now):
        wait = super().granted(replace(permit, rate=None), now)
        return wait or super().granted(replace(permit, concurrency=None), now)


@planted("test_each_request_is_judged_by_itself_and_in_order")
class AllOrNothing(MemoryStore):
    async def acquire(self, permits):
        waits = await super().acquire(permits)
        return [max(waits, default=0.0)] * len(waits)


@planted("test_each_request_is_judged_by_itself_and_in_order")
class TheLastFirst(MemoryStore):
    async def acquire(self, permits):
        return (await super().acquire(list(permits)[::-1]))[::-1]


@planted("test_many_are_granted_in_one_request_and_given_back_in_one")
class AtMostAHundred(MemoryStore):
    async def acquire(self, permits):
        return [*(await super().acquire(permits[:100])), *([1.0] * len(permits[100:]))]


@planted("test_a_limit_holds_through_two_stores")
class EachStoreHasItsOwn(MemoryStore):
    """Opening it again gives another one, which shares no limits."""
