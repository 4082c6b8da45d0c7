"""A store that cannot be reached, or whose answer is lost: the log is asked, nothing is guessed, nothing runs twice."""

import asyncio

import pytest

from sagafsm import (
    OutcomeUnknown,
    Rejected,
    SagaDefinition,
    SagaNotFound,
    Settings,
    Step,
    StoreError,
    StoreUnavailable,
    WaitFor,
)
from sagafsm.store import Refused
from tests.runtime.world import EXACT, Around, state_of, types


class Unreliable(Around):
    """Fails the ``at``-th commit, ``times`` in a row: ``before`` it is applied, or ``after``, when nobody knows."""

    def __init__(self, store, at, kind, times=1):
        super().__init__(store)
        self.at, self.kind, self.times = at, kind, times
        self.commits = 0

    async def commit(self, batch):
        self.commits += 1
        if not self.at <= self.commits < self.at + self.times:
            return await self.inner.commit(batch)
        if self.kind == "unavailable":
            raise StoreUnavailable("no connection")
        if self.kind == "unknown, applied":
            await self.inner.commit(batch)
        raise OutcomeUnknown("the connection was lost while it was written")


KINDS = ["unavailable", "unknown, applied", "unknown, not applied"]
COMMITS = range(1, 9)


@pytest.fixture
def saga(did):
    def takes(name, error=None):
        async def work(data):
            did(name)
            if error:
                raise error

        async def take_back(data, result):
            did(f"undo {name}")

        return Step(name, work, compensation=take_back)

    return {
        "completed": SagaDefinition(
            name="good", retry=EXACT, steps=[takes("a"), WaitFor("go", signal="go"), takes("b"), takes("c")]
        ),
        "failed compensated": SagaDefinition(
            name="bad",
            retry=EXACT,
            steps=[takes("a"), WaitFor("go", signal="go"), takes("b"), takes("c", Rejected("no"))],
        ),
    }


def order_of(end):
    return ["a", "b", "c"] if end == "completed" else ["a", "b", "c", "undo b", "undo a"]


async def drive(orchestrator, definition):
    handle = await orchestrator.start(definition, saga_id="s-1")
    await orchestrator.signal("s-1", "go", message_id="m-1")
    return await orchestrator.wait(handle.saga_id, timeout=1000)


@pytest.mark.parametrize("end", ["completed", "failed compensated"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at", COMMITS)
async def test_a_commit_that_fails_for_a_moment_changes_nothing(world, did, saga, at, kind, end):
    store = Unreliable(world.store, at, kind, times=3)
    async with world.orchestrator(saga[end], store=store) as orchestrator:
        assert state_of(await drive(orchestrator, saga[end])) == end
        assert did.names == order_of(end)
        history = await orchestrator.history("s-1")
        assert [event.seq for event in history] == list(range(1, len(history) + 1))
        assert types(history).count("SagaStarted") == types(history).count("SignalReceived") == 1


@pytest.mark.parametrize("end", ["completed", "failed compensated"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at", range(4, 9))
async def test_a_store_that_stays_away_for_long_costs_an_interruption_at_most(world, did, saga, at, kind, end):
    """Longer than its patience: the saga is put aside and taken up again when the store is back."""
    store = Unreliable(world.store, at, kind, times=60)
    settings = Settings(store_patience=5)
    async with world.orchestrator(saga[end], store=store, settings=settings) as orchestrator:
        assert state_of(await drive(orchestrator, saga[end])) == end
        # The end of a call that could not be stored is not known: the call is made again, with the same key.
        assert sorted(set(did.names)) == sorted(order_of(end))
        assert len(did.names) <= len(order_of(end)) + 1
        assert "StepUnknown" not in types(await orchestrator.history("s-1"))
        await asyncio.sleep(10)
        assert orchestrator._engine.drivers == {}


@pytest.mark.parametrize("kind", KINDS)
async def test_start_says_honestly_what_is_known(world, did, saga, kind):
    """A start of unknown outcome was once applied and then belonged to a worker that did not know of it."""
    definition, settings = saga["completed"], Settings(store_patience=2)
    store = Unreliable(world.store, 1, kind, times=10)
    async with world.orchestrator(definition, store=store, settings=settings) as orchestrator:
        with pytest.raises(StoreUnavailable if kind == "unavailable" else OutcomeUnknown):
            await orchestrator.start(definition, saga_id="s-1")
        if kind != "unknown, applied":
            with pytest.raises(SagaNotFound):
                await orchestrator.get("s-1")
        handle = await orchestrator.start(definition, saga_id="s-1")  # asking again is always right
        assert handle.created is (kind != "unknown, applied")
        await orchestrator.signal("s-1", "go")
        assert state_of(await handle.result(timeout=100)) == "completed"
        assert did.names == ["a", "b", "c"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_signal_says_honestly_what_is_known(world, did, saga, kind):
    definition, settings = saga["completed"], Settings(store_patience=2)
    store = Unreliable(world.store, 3, kind, times=10)
    async with world.orchestrator(definition, store=store, settings=settings) as orchestrator:
        await orchestrator.start(definition, saga_id="s-1")
        await asyncio.sleep(1)
        assert store.commits == 2
        with pytest.raises(StoreUnavailable if kind == "unavailable" else OutcomeUnknown):
            await orchestrator.signal("s-1", "go", message_id="m-1")
        await orchestrator.signal("s-1", "go", message_id="m-1")
        assert state_of(await orchestrator.wait("s-1", timeout=100)) == "completed"
        assert types(await orchestrator.history("s-1")).count("SignalReceived") == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_a_signal_of_unknown_outcome_leaves_its_saga_to_somebody(world, did, kind):
    """The log said that a step had begun, its driver did not know, and let the saga go for ever when it had no more
    to do itself.
    """

    def takes(name, seconds=0.0, **options):
        async def work(data):
            await asyncio.sleep(seconds)
            did(name)

        return Step(name, work, compensation=lambda data, result: None, **options)

    definition = SagaDefinition(
        name="beside", retry=EXACT, steps=[takes("a", 20), WaitFor("go", signal="go", after=()), takes("b")]
    )
    store = Unreliable(world.store, 2, kind, times=10)
    async with world.orchestrator(definition, store=store, settings=Settings(store_patience=2)) as orchestrator:
        await orchestrator.start(definition, saga_id="s-1")
        with pytest.raises(StoreUnavailable if kind == "unavailable" else OutcomeUnknown):
            await orchestrator.signal("s-1", "go", message_id="m-1")
        if kind != "unknown, applied":
            await orchestrator.signal("s-1", "go", message_id="m-1")
        assert state_of(await orchestrator.wait("s-1", timeout=1_000)) == "completed"
        assert did.count("b") == 1
        assert did.names == ["b", "a"]


async def test_an_append_that_the_database_refuses_harms_only_its_own_saga(world, did):
    """A result that the database will not take: the outcome stays unknown, and the call is not repeated for ever."""

    class Picky(Around):
        async def commit(self, batch):
            results = []
            for append in batch:
                if any(b"poison" in event.data for event in append.events):
                    results.append(Refused("a constraint"))
                else:
                    results.extend(await self.inner.commit([append]))
            return results

    async def work(data):
        did(data)
        return "poison" if data == "bad" else "fine"

    definition = SagaDefinition(name="picky", retry=EXACT, steps=[Step("a", work, compensation=lambda d, r: None)])
    async with world.orchestrator(definition, store=Picky(world.store)) as orchestrator:
        bad = await orchestrator.start(definition, "bad")
        for n in range(5):
            assert state_of(await orchestrator.run(definition, "good", saga_id=f"s-{n}")) == "completed"
        finished = await orchestrator.wait(bad.saga_id, timeout=1000)
        assert state_of(finished) == "failed compensated"
        assert did.count("bad") <= 11
        with pytest.raises(StoreError):
            await orchestrator.start(definition, "poison")


@pytest.mark.parametrize("how", ["raises at once", "raises in the end", "answers too little"])
async def test_a_store_that_breaks_its_word_holds_nobody_up_for_ever(world, did, how):
    """What was handed in with such a batch was waited for in vain, and so was all that came later."""

    class Breaks(Around):
        commits = 0

        def commit(self, batch):
            self.commits += 1
            if self.commits != 2:
                return self.inner.commit(batch)
            if how == "raises at once":
                raise LookupError("a bug in the store")
            return self._breaks(batch)

        async def _breaks(self, batch):
            if how == "raises in the end":
                raise LookupError("a bug in the store")
            return (await self.inner.commit(batch))[1:]

    async def work(data):
        did("work")

    definition = SagaDefinition(name="one", retry=EXACT, steps=[Step("a", work, compensation=lambda d, r: None)])
    async with world.orchestrator(definition, store=Breaks(world.store)) as orchestrator:
        assert state_of(await orchestrator.run(definition, timeout=100)) == "completed"
        assert state_of(await orchestrator.run(definition, timeout=100)) == "completed"
    assert did.count("work") == (2 if how == "answers too little" else 3)


async def test_closing_with_a_store_that_is_gone_ends_all_the_same(world, did, saga):
    definition = saga["completed"]
    store = Unreliable(world.store, 2, "unavailable", times=10**9)
    async with world.orchestrator(definition, store=store, drain_timeout=1) as orchestrator:
        await orchestrator.start(definition, saga_id="s-1")
        await asyncio.sleep(1)
    assert world.time < 30
    async with world.orchestrator(definition) as two:
        await two.signal("s-1", "go")
        assert state_of(await two.wait("s-1", timeout=100)) == "completed"
