"""Starting sagas: create, start, run, execute; ids, inputs, the same saga twice."""

import asyncio

import attrs
import pytest

from sagafsm import (
    DefinitionError,
    InvalidInput,
    Rejected,
    Saga,
    SagaConflict,
    SagaFailed,
    SagaNotFound,
    SagaState,
    SagaStuck,
    Settings,
    Unknown,
    sleep,
    step,
    wait_for,
)
from tests.runtime.world import NEVER, Ledger, state_of, types


@attrs.frozen
class Order:
    order_id: str
    amount: int


did = Ledger()


class Shop(Saga[Order]):
    @step(compensatable=False)
    async def reserve(self, order: Order) -> str:
        did(f"reserve {order.order_id}")
        return order.order_id

    @step(compensatable=False)
    async def charge(self, order: Order, reserve: str) -> int:
        return order.amount


class Slow(Saga[None]):
    nap = sleep(3600)


ORDER = Order("o-1", 25)


@pytest.fixture(autouse=True)
def fresh_ledger():
    did.entries.clear()


@pytest.fixture
async def orchestrator(world):
    async with world.orchestrator(Shop, Slow) as orchestrator:
        yield orchestrator


# --- run, start ---


async def test_run_returns_the_finished_saga(orchestrator):
    saga = await orchestrator.run(Shop, ORDER, correlation_id="cart-7", tags={"country": "CH"})
    assert saga.state is SagaState.COMPLETED
    assert (saga.data, saga.results) == (ORDER, {"reserve": "o-1", "charge": 25})
    assert (saga.correlation_id, saga.tags, saga.saga_type, saga.definition_version) == (
        "cart-7",
        {"country": "CH"},
        "Shop",
        1,
    )
    assert saga.version == 6
    assert types(await orchestrator.history(saga.saga_id)) == [
        "SagaStarted",
        "AttemptStarted",
        "StepSucceeded",
        "AttemptStarted",
        "StepSucceeded",
        "SagaCompleted",
    ]


async def test_start_returns_a_handle_at_once(orchestrator):
    handle = await orchestrator.start(Shop, ORDER, saga_id="s-1")
    assert (handle.saga_id, handle.created) == ("s-1", True)
    assert (await handle.instance()).state is SagaState.PENDING
    assert (await handle.result()).state is SagaState.COMPLETED
    assert (await handle.instance()).correlation_id == "s-1"


async def test_the_result_of_a_saga_that_failed_or_is_stuck_raises_with_the_saga(world):
    class Fails(Saga[None]):
        @step(compensatable=False, retry=NEVER)
        async def work(self, data: None) -> None:
            raise Rejected("no")

    class Sticks(Saga[None]):
        @step(compensatable=False, on_unknown="stick", retry=NEVER)
        async def work(self, data: None) -> None:
            raise Unknown("who knows")

    async with world.orchestrator(Fails, Sticks) as orchestrator:
        failed, stuck = await orchestrator.start(Fails), await orchestrator.start(Sticks)
        with pytest.raises(SagaFailed, match=r"failed \(compensated\): .*no") as caught:
            await failed.result()
        assert caught.value.instance.state is SagaState.FAILED
        with pytest.raises(SagaStuck, match="who knows") as caught:
            await stuck.result()
        assert caught.value.instance.stuck
        assert state_of(await orchestrator.run(Fails)) == "failed compensated"
        assert state_of(await orchestrator.run(Sticks)) == "pending stuck"


@pytest.mark.parametrize("wait", ["result", "run", "execute"])
async def test_a_timeout_raises_and_stops_nothing(world, orchestrator, wait):
    async def waits():
        if wait == "run":
            await orchestrator.run(Slow, saga_id="slow", timeout=60)
        elif wait == "result":
            await (await orchestrator.start(Slow, saga_id="slow")).result(timeout=60)
        else:
            await orchestrator.create(Slow, saga_id="slow")
            await orchestrator.execute("slow", timeout=60)

    with pytest.raises(TimeoutError):
        await waits()
    assert world.time == pytest.approx(60)
    saga = await orchestrator.wait("slow")
    assert saga.state is SagaState.COMPLETED
    assert world.time == pytest.approx(3600, abs=2)


# --- create, execute ---


async def test_a_created_saga_runs_only_when_somebody_says_so(world, orchestrator):
    saga_id = await orchestrator.create(Shop, ORDER)
    await asyncio.sleep(3600)
    assert (await orchestrator.get(saga_id)).state is SagaState.STARTED
    assert await orchestrator.resume_all() == []
    assert (await orchestrator.execute(saga_id)).state is SagaState.COMPLETED
    assert (await orchestrator.execute(saga_id)).state is SagaState.COMPLETED
    assert did.count("reserve o-1") == 1


async def test_a_created_saga_can_be_started(orchestrator):
    await orchestrator.create(Shop, ORDER, saga_id="s-1")
    handle = await orchestrator.start(Shop, ORDER, saga_id="s-1")
    assert not handle.created
    assert (await handle.result()).state is SagaState.COMPLETED


async def test_a_created_saga_can_be_started_by_who_does_not_work(world):
    async with world.orchestrator(Shop, worker=False) as submitter, world.orchestrator(Shop):
        await submitter.create(Shop, ORDER, saga_id="s-1")
        handle = await submitter.start(Shop, ORDER, saga_id="s-1")
        assert (await handle.result(timeout=60)).state is SagaState.COMPLETED


async def test_execute_runs_a_saga_where_no_worker_runs(world):
    async with world.orchestrator(Shop, Slow, worker=False) as orchestrator:
        await orchestrator.start(Slow, saga_id="slow")
        await asyncio.sleep(7200)
        assert (await orchestrator.get("slow")).state is SagaState.STARTED
        assert (await orchestrator.execute("slow")).state is SagaState.COMPLETED
        assert world.time == pytest.approx(7200 + 3600, abs=2)
        assert (await orchestrator.run(Shop, ORDER)).state is SagaState.COMPLETED


async def test_execute_returns_a_saga_that_waits_for_somebody_else(world):
    class Asks(Saga[None]):
        nap = sleep(60)
        answer = wait_for("answer")

    async with world.orchestrator(Asks, worker=False) as orchestrator:
        saga = await orchestrator.execute(await orchestrator.create(Asks))
        assert saga.waiting_for.kind == "signal"
        assert world.time == pytest.approx(60, abs=2)


async def test_execute_waits_for_a_saga_that_runs_elsewhere(world):
    async with world.orchestrator(Slow), world.orchestrator(Slow, worker=False) as other:
        handle = await other.start(Slow)
        await asyncio.sleep(10)
        assert (await other.execute(handle.saga_id)).state is SagaState.COMPLETED
        assert types(await other.history(handle.saga_id)).count("WaitStarted") == 1


# --- the same saga twice ---


async def test_the_same_id_and_input_is_the_same_saga(orchestrator):
    first = await orchestrator.start(Shop, ORDER, saga_id="s-1")
    second = await orchestrator.start(Shop, ORDER, saga_id="s-1")
    await first.result()
    third = await orchestrator.start(Shop, ORDER, saga_id="s-1")
    assert [handle.created for handle in (first, second, third)] == [True, False, False]
    assert (await third.result()).results["charge"] == 25
    assert did.count("reserve o-1") == 1


async def test_of_many_starters_at_once_one_creates(world):
    async with world.orchestrator(Shop) as one, world.orchestrator(Shop) as two:
        starts = [who.start(Shop, ORDER, saga_id="s-1") for who in (one, two) * 10]
        handles = await asyncio.gather(*starts)
        assert sum(handle.created for handle in handles) == 1
        await handles[0].result()
        assert did.count("reserve o-1") == 1


@pytest.mark.parametrize("verb", ["create", "start", "run"])
async def test_the_same_id_with_another_input_is_a_conflict(orchestrator, verb):
    await orchestrator.create(Shop, ORDER, saga_id="s-1")
    with pytest.raises(SagaConflict, match="'s-1' is taken"):
        await getattr(orchestrator, verb)(Shop, Order("o-2", 1), saga_id="s-1")
    with pytest.raises(SagaConflict):
        await getattr(orchestrator, verb)(Slow, saga_id="s-1")


async def test_an_identical_one_is_a_conflict_when_asked_for(orchestrator):
    await orchestrator.start(Shop, ORDER, saga_id="s-1", on_conflict="raise")
    with pytest.raises(SagaConflict, match="exists already"):
        await orchestrator.start(Shop, ORDER, saga_id="s-1", on_conflict="raise")
    with pytest.raises(InvalidInput, match="'return' or 'raise'"):
        await orchestrator.start(Shop, ORDER, on_conflict="ignore")


# --- bad input ---


@pytest.mark.parametrize("saga_id", ["", "a b", "../x", "ü", "x" * 201, "a\n", 7, "{tag}"])
async def test_a_bad_id_is_refused_early(orchestrator, saga_id):
    with pytest.raises(InvalidInput, match=r"saga id .* cannot be used"):
        await orchestrator.start(Shop, ORDER, saga_id=saga_id)
    with pytest.raises(InvalidInput):
        await orchestrator.get(saga_id)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"data": {"order_id": 1}}, "the input of Shop does not fit Order"),
        ({"data": object()}, "cannot be stored"),
        ({"data": ORDER, "correlation_id": "a b"}, "correlation id"),
        ({"data": ORDER, "tags": {"a b": "x"}}, "tag name"),
        ({"data": ORDER, "tags": {"a": 1}}, "printable text"),
        ({"data": ORDER, "tags": {f"t{n}": "" for n in range(51)}}, "too many"),
    ],
)
async def test_bad_input_is_refused_and_nothing_is_stored(orchestrator, options, says):
    data = options.pop("data")
    with pytest.raises(InvalidInput, match=says):
        await orchestrator.start(Shop, data, saga_id="s-1", **options)
    with pytest.raises(SagaNotFound):
        await orchestrator.get("s-1")


async def test_an_input_over_the_limit_is_refused(world):
    async with world.orchestrator(Shop, settings=Settings(payload_limit=100)) as orchestrator:
        with pytest.raises(InvalidInput, match="100"):
            await orchestrator.start(Shop, Order("o" * 100, 1))


async def test_a_saga_that_is_not_registered_is_named(world):
    async with world.orchestrator(Slow) as orchestrator:
        with pytest.raises(DefinitionError, match=r"Shop version 1 is not registered here; add it: .*sagas=\[Shop"):
            await orchestrator.start(Shop, ORDER)


async def test_what_does_not_exist_is_not_found(orchestrator):
    for verb in (orchestrator.get, orchestrator.history, orchestrator.execute, orchestrator.wait, orchestrator.resume):
        with pytest.raises(SagaNotFound):
            await verb("nobody")


async def test_a_closed_orchestrator_says_how_to_open_it(world):
    orchestrator = world.orchestrator(Shop)
    with pytest.raises(InvalidInput, match="async with Orchestrator"):
        await orchestrator.run(Shop, ORDER)
    async with orchestrator:
        with pytest.raises(InvalidInput, match="open already"):
            await orchestrator.__aenter__()
    with pytest.raises(InvalidInput, match="async with"):
        await orchestrator.get("s-1")
    await orchestrator.close()  # twice is fine


@pytest.mark.parametrize("options", [{"lease": 0}, {"poll_interval": -1}])
def test_bad_options_are_refused(options):
    from sagafsm import Orchestrator

    with pytest.raises(InvalidInput, match="above 0 seconds"):
        Orchestrator("memory://", sagas=[Shop], **options)
