"""Limits of calls hold for all workers together; whoever waits for a permit has begun nothing, and costs little."""

import asyncio
import logging
from collections import Counter
from contextlib import contextmanager

import pytest

from sagafsm import Compensation, Fallback, Limit, Rejected, SagaDefinition, Settings, Step, StepContext
from sagafsm.core.errors import OutcomeUnknown, StoreUnavailable
from tests.runtime.steps import one_step, undo
from tests.runtime.world import EXACT, NEVER, Around, state_of, types


class Work:
    """An action that takes a while, and remembers how many of it ran at once and when each began."""

    def __init__(self, world, seconds=1.0):
        self._world = world
        self._seconds = seconds
        self.running, self.most = Counter(), Counter()
        self.begun = []

    @contextmanager
    def _one(self, key):
        self.begun.append(self._world.time)
        self.running[key] += 1
        self.most[key] = max(self.most[key], self.running[key])
        try:
            yield
        finally:
            self.running[key] -= 1

    def action(self):
        async def work(data):
            with self._one("all"), self._one((data or {}).get("customer")):
                await asyncio.sleep(self._seconds)

        return work


class Asked(Around):
    """Notes who is asked for permits."""

    def __init__(self, store):
        super().__init__(store)
        self.calls, self.names = 0, []

    async def acquire(self, permits):
        self.calls += 1
        self.names += [permit.name for permit in permits]
        return await self.inner.acquire(permits)

    async def give_back(self, worker_id, tokens):
        return await self.inner.give_back(worker_id, tokens)


def customer(data):
    return data["customer"]


def held(world):
    """Every token that holds a permit in the store."""
    return {token for name in world.store._limits._names.values() for token in name.holders}


async def start_all(process, definition, inputs):
    for number, data in enumerate(inputs):
        await process.ask(lambda to, n=number, data=data: to.start(definition, data, saga_id=f"s-{n}"))


async def end_of_all(process, count):
    """The states in which they ended."""
    found = Counter()
    for number in range(count):
        found[state_of(await process.ask(lambda to, n=number: to.wait(f"s-{n}", timeout=10_000)))] += 1
    return found


# --- for all workers together ---


async def test_a_limit_of_concurrency_holds_for_two_processes_together(world):
    work = Work(world)
    definition = one_step(work.action(), limit=Limit(concurrency=3))
    one, two = await world.open("one", definition), await world.open("two", definition)
    await start_all(one, definition, [None] * 15)
    for number in range(15, 30):
        await two.ask(lambda to, n=number: to.start(definition, saga_id=f"s-{n}"))
    assert await end_of_all(one, 30) == {"completed": 30}
    assert work.most["all"] == 3
    assert world.time < 20  # 10 s at best
    assert held(world) == set()
    await one.close()
    await two.close()


async def test_each_value_of_a_key_is_bounded_by_itself(world):
    work = Work(world)
    definition = one_step(work.action(), limit=Limit(concurrency=2, key=customer))
    process = await world.open("one", definition)
    await start_all(process, definition, [{"customer": f"c-{number % 5}"} for number in range(50)])
    assert await end_of_all(process, 50) == {"completed": 50}
    assert {work.most[f"c-{number}"] for number in range(5)} == {2}
    assert work.most["all"] > 5
    assert world.time < 10  # 5 s at best
    await process.close()


async def test_limits_of_one_name_are_one_whatever_carries_them(world):
    work, bank = Work(world), Limit("bank", concurrency=2)
    debit = SagaDefinition(name="debit", steps=[Step("go", work.action(), compensatable=False, limit=bank)])
    credit = SagaDefinition(name="credit", steps=[Step("go", work.action(), compensatable=False, limit=bank)])
    async with world.orchestrator(debit, credit) as orchestrator:
        handles = [await orchestrator.start(which) for which in [debit, credit] * 4]
        for handle in handles:
            await handle.result()
    assert work.most["all"] == 2


async def test_a_rate_is_kept_and_used(world):
    work = Work(world, seconds=0.01)
    definition = one_step(work.action(), limit=Limit(rate=5))
    one, two = await world.open("one", definition), await world.open("two", definition)
    await start_all(one, definition, [None] * 50)
    assert await end_of_all(two, 50) == {"completed": 50}
    begun = sorted(work.begun[::2])  # each is noted under two keys
    in_a_second = max(sum(at <= other < at + 1.0 for other in begun) for at in begun)
    assert in_a_second <= 6  # the burst of one, and what a second brings
    assert 9.5 <= begun[-1] - begun[0] < 20
    await one.close()
    await two.close()


async def test_a_noisy_customer_does_not_hold_up_the_others(world):
    """More sagas of one customer than the process has places."""
    work = Work(world)
    definition = one_step(work.action(), limit=Limit(concurrency=1, key=customer))
    process = await world.open("one", definition, settings=Settings(concurrency=20))
    await start_all(process, definition, [{"customer": "noisy"}] * 200)
    await asyncio.sleep(2)
    begun = world.time
    await process.ask(lambda to: to.run(definition, {"customer": "quiet"}, saga_id="quiet"))
    assert world.time - begun < 3
    assert await end_of_all(process, 200) == {"completed": 200}
    assert work.most["noisy"] == 1
    await process.close()


# --- waiting costs nothing ---


async def test_whoever_waits_has_begun_no_attempt(world):
    work = Work(world, seconds=10)
    definition = one_step(work.action(), limit=Limit(concurrency=1))
    async with world.orchestrator(definition) as orchestrator:
        await orchestrator.start(definition, saga_id="first")
        await orchestrator.start(definition, saga_id="second")
        await asyncio.sleep(5)
        assert types(await orchestrator.history("second")) == ["SagaStarted"]
        saga = await orchestrator.wait("second")
        assert (state_of(saga), saga.steps["work"].attempts) == ("completed", 1)


async def test_a_thousand_that_wait_hold_few_places_and_ask_seldom(world):
    work, store = Work(world, seconds=1), Asked(world.store)
    definition = one_step(work.action(), limit=Limit(concurrency=10))
    settings = Settings(concurrency=100)
    async with world.orchestrator(definition, store=store, settings=settings) as orchestrator:
        for number in range(1000):
            await orchestrator.start(definition, saga_id=f"s-{number}")
        most = 0
        while (await orchestrator.stats()).live:
            await asyncio.sleep(1)
            most = max(most, len(orchestrator._engine.drivers))
        assert most <= 25 + 10 + 10  # a quarter of the places, those that run, and those that are about to be let go
        assert work.most["all"] == 10
        assert world.time < 150  # 100 s at best
        assert store.calls / world.time < 50
        assert len(store.names) < 5000
        assert orchestrator._engine.permits._wishes == {}
    assert held(world) == set()


async def test_a_saga_without_limits_asks_nobody(world):
    store, work = Asked(world.store), Work(world)
    free = one_step(work.action())
    bound = SagaDefinition(
        name="bound", steps=[Step("go", work.action(), compensatable=False, limit=Limit(concurrency=1))]
    )
    async with world.orchestrator(free, bound, store=store) as orchestrator:
        await orchestrator.run(free)
        assert (store.calls, orchestrator._engine.permits._work) == (0, None)
        await orchestrator.run(bound)
        assert store.calls == 1


# --- what a limit is given to ---


async def test_action_fallback_and_compensation_are_bounded_each_by_itself(world):
    async def fails(data):
        raise Rejected("no")

    async def works(data): ...

    store = Asked(world.store)
    one = Limit(concurrency=1)
    definition = SagaDefinition(
        name="order",
        steps=[
            Step(
                "charge",
                fails,
                limit=one,
                fallback=Fallback(works, compensation=Compensation(undo, limit=one), limit=one),
                compensation=undo,
            ),
            Step("ship", fails, compensatable=False),
        ],
    )
    async with world.orchestrator(definition, store=store) as orchestrator:
        saga = await orchestrator.run(definition, saga_id="s")
    assert state_of(saga) == "failed compensated"
    assert store.names == ["order.charge", "order.charge.fallback", "order.charge.fallback.compensation"]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"client": "ann"}, "the key of its limit failed: KeyError: 'customer'"),
        (
            {"customer": 1.5},
            "the key of its limit failed: TypeError: the key of a limit is text or a whole number, not 1.5",
        ),
    ],
)
async def test_a_key_that_cannot_be_worked_out_stops_the_saga_for_a_person(world, did, data, says):
    """It was let go without a word, and nobody ever took it up again."""

    async def work(data):
        did("work")

    keys = [lambda data: data["customer"]]
    definition = one_step(work, limit=Limit(concurrency=1, key=lambda data: keys[-1](data)), retry=NEVER)
    async with world.orchestrator(definition) as orchestrator:
        saga = await orchestrator.run(definition, data, saga_id="s-1", timeout=60)
        assert (state_of(saga), saga.stuck_reason) == ("started stuck", f"step work cannot be called: {says}")
        assert did.names == []
        keys.append(str)
        await orchestrator.retry("s-1", actor="ann", reason="the key is mended")
        assert state_of(await orchestrator.wait("s-1", timeout=60)) == "completed"
    assert held(world) == set()


async def test_a_key_of_any_text_is_a_key(world):
    store, work = Asked(world.store), Work(world)
    definition = one_step(work.action(), limit=Limit("mail", concurrency=1, key=customer))
    async with world.orchestrator(definition, store=store) as orchestrator:
        for name in ("ann@example.com", "ann", "x" * 500, "", ".h.ann"):
            assert state_of(await orchestrator.run(definition, {"customer": name})) == "completed"
    assert len(set(store.names)) == 5
    assert "mail:ann" in store.names
    assert not any("@" in name or len(name) > 200 for name in store.names)


# --- when something goes wrong ---


@pytest.mark.parametrize(("noticed", "within"), [(True, 3), (False, 40)])
async def test_permits_of_a_process_that_died_are_free_again(world, noticed, within):
    work = Work(world, seconds=5)
    definition = one_step(work.action(), limit=Limit(concurrency=1))
    dying = await world.open("dying", definition)
    await dying.ask(lambda to: to.start(definition, saga_id="s-0"))
    await asyncio.sleep(1)
    dying.kill(noticed=noticed)
    killed = world.time
    other = await world.open("other", definition)
    await other.ask(lambda to: to.start(definition, saga_id="s-1"))
    assert await end_of_all(other, 2) == {"completed": 2}
    assert world.time - killed < within + 10
    await other.close()


async def test_what_is_aborted_while_it_waits_holds_nothing(world):
    work = Work(world, seconds=10)
    definition = one_step(work.action(), limit=Limit(concurrency=1))
    async with world.orchestrator(definition) as orchestrator:
        await orchestrator.start(definition, saga_id="first")
        waiting = await orchestrator.start(definition, saga_id="second")
        await asyncio.sleep(1)
        await orchestrator.abort("second", "never mind")
        saga = await waiting.instance()
        assert state_of(saga) == "failed aborted"
        await orchestrator.wait("first")
        begun = world.time
        await orchestrator.run(definition, saga_id="third")
        assert world.time - begun < 11
    assert held(world) == set()


async def test_a_body_that_goes_on_after_its_call_keeps_its_permit(world, did):
    async def stubborn(data, ctx: StepContext):
        did(f"{ctx.saga_id} begins")
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            await asyncio.sleep(3)
            did(f"{ctx.saga_id} is gone")

    definition = one_step(stubborn, limit=Limit(concurrency=1), timeout=1, retry=NEVER)
    async with world.orchestrator(definition) as orchestrator:
        await orchestrator.start(definition, saga_id="a")
        await asyncio.sleep(0.1)
        await orchestrator.start(definition, saga_id="b")
        await orchestrator.wait("b")
        await asyncio.sleep(5)
    assert did.names == ["a begins", "a is gone", "b begins", "b is gone"]


async def test_a_store_that_cannot_be_asked_grants_nothing(world, caplog):
    class Away(Asked):
        async def acquire(self, permits):
            if world.time < 10:
                raise StoreUnavailable("away")
            return await super().acquire(permits)

    work = Work(world)
    definition = one_step(work.action(), limit=Limit(concurrency=1))
    async with world.orchestrator(definition, store=Away(world.store)) as orchestrator:
        assert state_of(await orchestrator.run(definition)) == "completed"
    assert 10 <= work.begun[0] < 12
    assert "the store cannot be asked for permits, next try in 1 s: away" in caplog.text
    assert len(caplog.records) < 15


@pytest.mark.parametrize("answered", ["nothing", "too little"])
async def test_a_permit_whose_answer_was_lost_is_held_once(world, caplog, answered):
    """Whoever asked after an answer that was too short waited for ever."""

    class Forgetful(Asked):
        lost = 0

        async def acquire(self, permits):
            waits = await super().acquire(permits)
            self.lost += 1
            if self.lost > 3:
                return waits
            if answered == "too little":
                return waits[1:]
            raise OutcomeUnknown("the answer was lost")

    work = Work(world)
    definition = one_step(work.action(), limit=Limit(concurrency=2))
    async with world.orchestrator(definition, store=Forgetful(world.store)) as orchestrator:
        handles = [await orchestrator.start(definition) for _ in range(6)]
        for handle in handles:
            await handle.result()
    assert work.most["all"] <= 2
    assert held(world) == set()


async def test_what_could_not_be_given_back_is_given_back_later(world, caplog):
    class Deaf(Asked):
        deaf = 3

        async def give_back(self, worker_id, tokens):
            if self.deaf:
                self.deaf -= 1
                raise StoreUnavailable("away")
            return await super().give_back(worker_id, tokens)

    definition = one_step(Work(world).action(), limit=Limit(concurrency=1))
    async with world.orchestrator(definition, store=Deaf(world.store)) as orchestrator:
        for _ in range(3):
            await orchestrator.run(definition)
        assert world.time < 20
        await asyncio.sleep(5)
        assert held(world) == set()
    assert "1 permits could not be given back, tried again: away" in caplog.text
    assert logging.ERROR not in {record.levelno for record in caplog.records}


async def test_those_that_wait_are_left_to_others_by_whoever_leaves(world):
    work = Work(world, seconds=2)
    definition = one_step(work.action(), limit=Limit(concurrency=1), retry=EXACT)
    leaving, staying = await world.open("leaving", definition), await world.open("staying", definition)
    await start_all(leaving, definition, [None] * 5)
    await asyncio.sleep(1)
    await leaving.close()
    assert len(await world.store.workers()) == 1
    assert await end_of_all(staying, 5) == {"completed": 5}
    assert (work.most["all"], len(work.begun) // 2) == (1, 5)
    await staying.close()
