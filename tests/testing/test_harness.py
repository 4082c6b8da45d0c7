"""The harness: the whole engine on virtual time, with failures where a test wants them."""

import asyncio
import gc
import itertools
import subprocess
import sys
import threading
import time

import attrs
import pytest

from sagafsm import (
    InvalidInput,
    Parallel,
    Probe,
    Rejected,
    RetryPolicy,
    Saga,
    SagaDefinition,
    SagaState,
    Step,
    StepContext,
    sleep,
    step,
)
from sagafsm.testing import Hangs, Livelock, NotReached, SagaTestHarness


@attrs.frozen
class Order:
    order_id: str
    amount: int


@attrs.frozen
class Payment:
    payment_id: str


class OrderFulfillment(Saga[Order]):
    @step
    async def reserve_inventory(self, order: Order, ctx: StepContext) -> str:
        return f"reservation of {order.order_id}"

    @reserve_inventory.compensation
    async def release_inventory(self, order: Order, reservation: str | None) -> None: ...

    @step(timeout=30)
    def charge_card(self, order: Order) -> Payment:
        return Payment(f"payment of {order.amount}")

    @charge_card.compensation
    async def refund(self, order: Order, payment: Payment | None, ctx: StepContext) -> None: ...

    @step(compensatable=False)
    async def confirm(self, order: Order, charge_card: Payment) -> None: ...


ORDER = Order("o-1", 25)


@pytest.fixture
def harness():
    return SagaTestHarness(OrderFulfillment)


# --- the example of the documentation ---


async def test_order_compensates(harness):
    harness.configure_failure("charge_card", Rejected("no funds"))
    saga = await harness.run(ORDER)
    assert saga.state is SagaState.FAILED
    assert saga.outcome == "compensated"
    assert harness.was_called("release_inventory")
    assert harness.calls == ["reserve_inventory", "charge_card", "release_inventory"]


async def test_without_configuration_the_real_functions_are_called(harness):
    saga = await harness.run(ORDER)
    assert saga.state is SagaState.COMPLETED
    assert saga.results == {
        "reserve_inventory": "reservation of o-1",
        "charge_card": Payment("payment of 25"),
        "confirm": None,
    }
    assert harness.call_args("confirm") == {"order": ORDER, "charge_card": Payment("payment of 25")}
    assert harness.history[0].type == "SagaStarted"
    assert harness.saga.saga_id == harness.saga_id == saga.saga_id


def test_a_plain_test_runs_without_await(harness):
    assert harness.run_sync(ORDER).state is SagaState.COMPLETED


def test_the_harness_needs_no_test_framework():
    code = "import sys, sagafsm.testing; sys.exit(bool({'pytest', 'hypothesis'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode == 0


# --- failures ---


async def test_a_failure_can_end_by_itself(harness):
    harness.configure_failure("charge_card", OSError("busy"), times=2)
    saga = await harness.run(ORDER)
    assert saga.state is SagaState.COMPLETED
    assert harness.calls.count("charge_card") == 3
    assert harness.elapsed == 1 + 2  # the backoffs


async def test_a_failure_without_an_error_is_a_rejection(harness):
    harness.configure_failure("charge_card")
    saga = await harness.run(ORDER)
    assert saga.error.type == "Rejected"
    assert harness.calls.count("charge_card") == 1


async def test_a_failure_after_the_effect_leaves_the_outcome_open(harness):
    harness.configure_failure("charge_card", TimeoutError, after_effect=True)
    saga = await harness.run(ORDER)
    assert saga.outcome == "compensated"
    assert harness.call_args("refund")["payment"] is None
    assert harness.calls.count("charge_card") == 3


async def test_what_is_configured_is_used_up_in_order(harness):
    harness.configure_failure("charge_card", OSError("first"), times=1)
    harness.configure_failure("charge_card", OSError("second"), times=1)
    harness.configure_result("charge_card", Payment("in the end"))
    saga = await harness.run(ORDER)
    assert saga.results["charge_card"] == Payment("in the end")
    assert [event.data["error"]["message"] for event in harness.history if event.type == "AttemptFailed"] == [
        "first",
        "second",
    ]


async def test_what_has_no_end_is_replaced_by_what_comes_after_it(harness):
    harness.configure_failure("charge_card", times=1)
    harness.configure_failure("charge_card", OSError("for ever"))
    harness.configure_result("charge_card", Payment("instead"))
    await harness.run(ORDER)
    assert harness.saga.outcome == "compensated"
    await harness.run(ORDER)
    assert harness.saga.results["charge_card"] == Payment("instead")


async def test_a_compensation_that_fails_leaves_the_saga_stuck(harness):
    harness.configure_failure("confirm")
    harness.configure_failure("refund", Rejected("account closed"))
    saga = await harness.run(ORDER)
    assert (saga.state, saga.stuck) == (SagaState.COMPENSATING, True)
    assert harness.calls[-2:] == ["refund", "release_inventory"]
    saga = await harness.perform(lambda to: to.skip(saga.saga_id, "charge_card", actor="eve", reason="paid in cash"))
    assert (saga.state, saga.outcome) == (SagaState.FAILED, "forced")


async def test_a_delay_runs_into_the_timeout(harness):
    harness.configure_delay("charge_card", 31, times=1)
    saga = await harness.run(ORDER)
    assert saga.state is SagaState.COMPLETED
    assert harness.elapsed == 30 + 1
    assert harness.calls.count("charge_card") == 2


async def test_a_hang_is_cut_by_the_timeout(harness):
    harness.configure_hang("charge_card")
    saga = await harness.run(ORDER)
    assert saga.steps["charge_card"].error.type == "TimeoutError"
    assert harness.was_called("refund")
    assert harness.elapsed == 30 + 1 + 30 + 2 + 30


async def test_a_hang_without_a_timeout_is_an_error_of_the_test(harness):
    harness.configure_hang("reserve_inventory")
    with pytest.raises(Hangs, match="reserve_inventory does not come back and has no timeout"):
        await harness.run(ORDER)


async def test_a_function_that_goes_round_in_circles_is_an_error_of_the_test_and_leaves_nothing_behind():
    ended = []

    async def spin() -> None:
        try:
            for _ in itertools.count():
                await asyncio.sleep(0)
        finally:
            ended.append("spin")

    harness = SagaTestHarness(SagaDefinition(name="Spins", steps=[Step("spin", spin, compensatable=False)]))
    with pytest.raises(Livelock, match="time stands still"):
        await harness.run()
    assert ended == ["spin"]
    gc.collect()  # a task that was left would be heard of now
    with pytest.raises(InvalidInput, match="make a new harness"):
        await harness.run()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_crash_is_survived(harness, when):
    harness.configure_crash("charge_card", when=when)
    saga = await harness.run(ORDER)
    assert saga.state is SagaState.COMPLETED
    assert harness.calls == ["reserve_inventory", "charge_card", "charge_card", "confirm"]
    assert saga.steps["charge_card"].attempts == 1  # an interruption uses up no attempt


async def test_a_crash_while_compensating_is_survived(harness):
    harness.configure_failure("confirm")
    harness.configure_crash("refund")
    saga = await harness.run(ORDER)
    assert saga.outcome == "compensated"
    assert harness.calls[-3:] == ["refund", "refund", "release_inventory"]


# --- was it reached? ---


async def test_a_failure_that_was_never_reached_is_reported(harness):
    harness.configure_failure("charge_card")
    harness.configure_failure("refund")
    await harness.run(ORDER)
    with pytest.raises(NotReached, match=r"failure of refund \(called: reserve_inventory, charge_card, "):
        harness.check_all_reached()


async def test_as_a_context_manager_it_checks_by_itself():
    def never_run():
        with SagaTestHarness(OrderFulfillment) as harness:
            harness.configure_failure("refund")

    with pytest.raises(NotReached):
        never_run()


async def test_the_error_of_a_test_is_not_hidden_by_the_check():
    def fails():
        with SagaTestHarness(OrderFulfillment) as harness:
            harness.configure_failure("refund")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()


# --- mistakes in tests ---


@pytest.mark.parametrize(
    ("mistake", "says"),
    [
        (
            lambda h: h.configure_failure("chrge_card"),
            "did you mean 'charge_card'.*reserve_inventory, release_inventory",
        ),
        (lambda h: h.was_called("nothing_like_it"), "no function and no step is called 'nothing_like_it'"),
        (lambda h: h.configure_failure("charge_card", "no funds"), "takes an exception"),
        (lambda h: h.configure_failure("charge_card", times=0), "at least 1"),
        (lambda h: h.configure_delay("charge_card", -1), "not negative"),
        (lambda h: h.configure_crash("charge_card", when="during"), "'before' or 'after'"),
        (lambda h: h.saga, r"call run\(\) first"),
        (lambda h: h.call_args("confirm"), "was called 0 times"),
        (lambda h: SagaTestHarness(), "give the harness the saga"),
        (lambda h: asyncio.run(h.advance(-1)), "only goes forward"),
        (lambda h: asyncio.run(h.signal("approval")), r"call run\(\) first"),
        (lambda h: h.run_sync({"order_id": 1}), "does not fit"),
    ],
)
def test_a_mistake_is_explained(harness, mistake, says):
    with pytest.raises(InvalidInput, match=says):
        mistake(harness)


# --- every form of declaration ---


def reserve(data):
    return data["n"]


def undo(data, result): ...


async def test_the_list_form_goes_by_function_and_step_names():
    definition = SagaDefinition(
        name="listed",
        steps=[
            Parallel(Step("left", reserve, compensation=undo), Step("right", reserve, compensation=undo)),
            Step("last", lambda data: None, pivot=True, probe=lambda data: Probe.STILL_UNKNOWN),
        ],
        retry=RetryPolicy(max_attempts=1),
    )
    harness = SagaTestHarness(definition)
    harness.configure_failure("last", TimeoutError())
    harness.configure_result("last.probe", Probe.DID_NOT_HAPPEN)
    saga = await harness.run({"n": 1})
    assert saga.outcome == "compensated"
    assert harness.calls == ["reserve", "reserve", "last.action", "last.probe", "undo", "undo"]


async def test_the_retries_of_the_orchestrator_apply():
    harness = SagaTestHarness(OrderFulfillment, retry=RetryPolicy(max_attempts=5, initial_interval=60, jitter=0))
    harness.configure_failure("reserve_inventory", OSError())
    await harness.run(ORDER)
    assert harness.calls == ["reserve_inventory"] * 5
    assert harness.elapsed == 60 * 4


# --- beside the test's own loop ---


async def test_it_leaves_the_loop_of_the_test_alone(harness):
    loop, ticks = asyncio.get_running_loop(), []
    loop.call_soon(ticks.append, 1)
    await harness.run(ORDER)
    assert asyncio.get_running_loop() is loop
    assert ticks == [1]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await asyncio.Event().wait()


async def test_several_runs_of_one_harness_take_turns(harness):
    sagas = await asyncio.gather(*(harness.run(ORDER, saga_id=f"o-{n}") for n in range(5)))
    assert {saga.saga_id for saga in sagas} == {f"o-{n}" for n in range(5)}
    assert all(saga.state is SagaState.COMPLETED for saga in sagas)


def test_nothing_is_left_behind(harness):
    harness.configure_hang("charge_card")
    threads = threading.active_count()
    for _ in range(5):
        harness.run_sync(ORDER)
    assert threading.active_count() == threads
    assert asyncio.all_tasks(harness._stage.loop) == set()


async def test_a_year_passes_in_no_time():
    class Slow(Saga[None]):
        nap = sleep(365 * 86_400)

        @step(compensatable=False, retry=RetryPolicy(max_attempts=50, initial_interval=60, jitter=0))
        async def work(self, data: None) -> None: ...

    harness = SagaTestHarness(Slow)
    harness.configure_failure("work", OSError(), times=49)
    began = time.perf_counter()
    saga = await harness.run()
    assert saga.state is SagaState.COMPLETED
    assert harness.elapsed == 365 * 86_400 + 49 * 60
    assert time.perf_counter() - began < 2.0


def trace(harness):
    harness.configure_failure("charge_card", OSError(), times=1)
    harness.configure_crash("confirm")
    harness.run_sync(ORDER)
    return [(event.type, event.at, event.data) for event in harness.history]


def test_the_same_test_gives_the_same_run():
    assert trace(SagaTestHarness(OrderFulfillment)) == trace(SagaTestHarness(OrderFulfillment))
