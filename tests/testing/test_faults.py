"""Planned faults are what they say, and calls are cut where they were to be cut."""

import asyncio
import inspect

import pytest

from sagafsm import OutcomeUnknown, StoreUnavailable
from sagafsm.runtime.memory import MemoryStore
from sagafsm.store import Committed, Duplicate, Filter, Store
from sagafsm.supports import SupportsLimits, SupportsWakeups
from sagafsm.testing.appends import create
from sagafsm.testing.cutting import cut_short
from sagafsm.testing.faults import Fault, FaultyStore


@pytest.fixture
def memory():
    return MemoryStore()


@pytest.fixture
def store(memory):
    return FaultyStore(memory)


async def kept(memory):
    return [record.saga_id for record in (await memory.find(Filter())).records]


@pytest.mark.parametrize(
    ("fault", "error", "ids"),
    [
        (Fault.BEFORE, StoreUnavailable, []),
        (Fault.LOST, OutcomeUnknown, []),
        (Fault.UNTOLD, OutcomeUnknown, ["s"]),
    ],
)
async def test_a_commit_fails_before_or_after_it_is_made(store, memory, fault, error, ids):
    planned = store.plan(fault)
    with pytest.raises(error, match=fault.value):
        await store.commit([create("s")])
    assert (await kept(memory), planned.struck) == (ids, 1)
    assert await store.commit([create("t")]) == [Committed(2)]


async def test_a_late_commit_is_made_after_all(store, memory):
    store.plan(Fault.LATE, seconds=0.01)
    append = create("s")
    with pytest.raises(OutcomeUnknown):
        await store.commit([append])
    assert await kept(memory) == []
    await store.settled()
    assert await kept(memory) == ["s"]
    assert await store.commit([append]) == [Duplicate(2)]


async def test_a_slow_commit_succeeds_later(store):
    loop = asyncio.get_running_loop()
    store.plan(Fault.SLOW, seconds=0.05)
    begun = loop.time()
    assert await store.commit([create("s")]) == [Committed(2)]
    assert loop.time() - begun >= 0.05


async def test_a_stale_read_answers_as_before(store, memory):
    store.plan(Fault.STALE, "load", call=1, times=2)
    assert await store.load(["s"]) == {}
    await store.commit([create("s")])
    assert await store.load(["s"]) == {}
    assert list(await store.load(["s"])) == ["s"]


async def test_a_read_leaves_nothing_unknown(store):
    for fault in (Fault.BEFORE, Fault.UNTOLD, Fault.LOST, Fault.LATE):
        store.plan(fault, "load")
        with pytest.raises(StoreUnavailable):
            await store.load(["s"])
        store.heal()


async def test_faults_come_to_their_own_method_in_their_own_turn(store):
    planned = store.plan(Fault.BEFORE, "heartbeat", call=2, times=2)
    await store.now()
    await store.heartbeat("w", 1.0)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await store.heartbeat("w", 1.0)
    await store.heartbeat("w", 1.0)
    assert planned.struck == 2


async def test_faults_that_meet_come_one_after_the_other(store):
    first, second = store.plan(Fault.BEFORE), store.plan(Fault.UNTOLD)
    with pytest.raises(StoreUnavailable):
        await store.commit([create("s")])
    assert (first.struck, second.struck) == (1, 0)


def test_a_faulty_store_is_a_store_and_can_what_the_store_within_can(store, memory):
    assert isinstance(store, Store)
    assert isinstance(store, SupportsLimits)
    assert not isinstance(store, SupportsWakeups)
    assert store.batches == memory.batches
    assert store.within is memory


def test_a_faulty_store_takes_what_the_protocol_takes():
    methods = [name for name, value in vars(Store).items() if inspect.isfunction(value) and not name.startswith("_")]
    assert len(methods) > 10
    for name in methods:
        mine, wanted = (inspect.signature(getattr(kind, name)) for kind in (FaultyStore, Store))
        assert mine.parameters == wanted.parameters, name


async def waits_thrice(done):
    for n in range(3):
        await asyncio.sleep(0)
        done.append(n)
    return "done"


async def test_a_call_is_cut_at_each_of_its_waits():
    for wait in (1, 2, 3):
        done = []
        cut = await cut_short(lambda done=done: waits_thrice(done), wait)
        assert (cut.reached, cut.cancelled, cut.answer, cut.error) == (True, True, None, None)
        assert done == list(range(wait - 1))
    cut = await cut_short(lambda: waits_thrice([]), 4)
    assert (cut.reached, cut.cancelled, cut.answer) == (False, False, "done")


async def test_a_call_can_be_cut_a_little_later():
    future = asyncio.get_running_loop().create_future()
    cut = await cut_short(lambda: future, 1, turns=2)
    assert (cut.reached, cut.cancelled, future.cancelled()) == (True, True, True)
    cut = await cut_short(lambda: waits_thrice([]), 3, turns=10)
    assert (cut.reached, cut.cancelled, cut.answer) == (True, False, "done")


async def test_a_call_that_ends_in_order_when_it_is_cut_is_waited_for():
    tidied = []

    async def tidy():
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(0)
            tidied.append(True)

    assert ((await cut_short(tidy, 1)).cancelled, tidied) == (True, [True])


async def test_a_call_that_fails_of_itself_says_so():
    async def fails():
        await asyncio.sleep(0)
        raise StoreUnavailable("away")

    cut = await cut_short(fails, 2)
    assert (cut.reached, cut.cancelled, str(cut.error)) == (False, False, "away")
