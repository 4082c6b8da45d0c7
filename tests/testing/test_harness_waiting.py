"""The harness and sagas that wait: for replies, for signals, for time, for their sub-sagas."""

import attrs
import pytest

from sagafsm import Delivery, InvalidInput, Rejected, Saga, SagaState, StepContext, sleep, step, subsaga, wait_for
from sagafsm.testing import SagaTestHarness


@attrs.frozen
class Order:
    order_id: str
    amount: int


ORDER = Order("o-1", 25)


class Purchase(Saga[Order]):
    @step(awaits_reply=True, timeout=3600)
    async def request_quote(self, order: Order, ctx: StepContext) -> None: ...

    @request_quote.compensation
    async def withdraw_quote(self, order: Order, quote: object) -> None: ...

    cooling_off = sleep(14 * 86_400)
    approval = wait_for("approval", timeout=7 * 86_400)


async def test_a_saga_that_waits_reads_like_a_conversation():
    harness = SagaTestHarness(Purchase)
    saga = await harness.run(ORDER)
    assert saga.waiting_for.kind == "reply"
    saga = await harness.complete_step("request_quote", {"price": 20})
    assert (saga.waiting_for.kind, saga.waiting_for.name) == ("signal", "approval")
    assert harness.elapsed == 14 * 86_400
    saga = await harness.signal("approval", {"by": "eve"}, message_id="m-1")
    assert saga.state is SagaState.COMPLETED
    assert saga.results == {"request_quote": {"price": 20}, "cooling_off": None, "approval": {"by": "eve"}}
    await harness.signal("approval", message_id="m-1")
    assert harness.delivery is Delivery.DUPLICATE


async def test_a_reply_that_says_no():
    harness = SagaTestHarness(Purchase)
    await harness.run(ORDER)
    saga = await harness.fail_step("request_quote", "sold out")
    assert (saga.outcome, saga.error.message) == ("compensated", "sold out")


async def test_what_never_comes_times_out():
    harness = SagaTestHarness(Purchase)
    await harness.run(ORDER)
    await harness.complete_step("request_quote")
    saga = await harness.advance(7 * 86_400 - 1)
    assert saga.state is SagaState.PENDING
    saga = await harness.advance(1)
    assert (saga.outcome, saga.error.type) == ("compensated", "TimeoutError")
    assert harness.calls == ["request_quote", "withdraw_quote"]


class Shipping(Saga[Order]):
    name = "Shipping"

    @step
    async def pack(self, order: Order) -> str:
        return "a parcel"

    @pack.compensation
    async def unpack(self, order: Order, parcel: str | None) -> None: ...

    pickup = wait_for("pickup")


class Shop(Saga[Order]):
    @step(compensatable=False)
    async def pack(self, order: Order) -> None: ...

    shipping = subsaga(Shipping)


async def test_sub_sagas_come_along():
    harness = SagaTestHarness(Shop)
    saga = await harness.run(ORDER, saga_id="shop-1")
    assert saga.waiting_for.kind == "child"  # which waits for the pickup
    saga = await harness.signal("pickup", saga_id="shop-1:shipping")
    assert saga.state is SagaState.COMPLETED
    assert saga.results["shipping"]["pack"] == "a parcel"


async def test_functions_of_the_same_name_are_told_apart_by_their_sagas():
    harness = SagaTestHarness(Shop)
    with pytest.raises(InvalidInput, match=r"several functions; say which one: Shop.pack.action, Shipping.pack.action"):
        harness.configure_failure("pack")
    harness.configure_failure("Shipping.pack", Rejected("too large"))
    saga = await harness.run(ORDER)
    assert (saga.state, saga.error.type) == (SagaState.FAILED, "Rejected")
    with pytest.raises(InvalidInput, match="step 'pickup' calls no function"):
        harness.configure_failure("pickup")
