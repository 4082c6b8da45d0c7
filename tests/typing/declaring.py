"""Read by type checkers only: what a declaration is to them. `test_typing.py` checks what they say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_type

from sagafsm import (
    Compensation,
    Fallback,
    Parallel,
    Probe,
    RetryPolicy,
    Saga,
    SagaDefinition,
    Sequence,
    Sleep,
    Step,
    StepContext,
    SubSaga,
    WaitFor,
    sleep,
    step,
    subsaga,
    wait_for,
)


@dataclass
class Order:
    id: str
    total: float


@dataclass
class Payment:
    id: str


def is_big(order: Order) -> bool:
    return order.total > 100


def parcel_of(order: Order, charge: Payment) -> Order:
    return Order(charge.id, order.total)


class Shipping(Saga[Order]):
    @step(compensatable=False)
    async def pack(self, order: Order) -> None: ...


class Fulfillment(Saga[Order]):
    name = "order"
    version = 2
    deadline = 60
    retry = RetryPolicy(max_attempts=5)
    on_compensation_failure = "stick"

    @step
    async def reserve(self, order: Order, ctx: StepContext) -> int:
        return 1

    @reserve.compensation
    async def release(self, order: Order, reservation: int | None) -> None: ...

    @step(retry=RetryPolicy.none(), timeout=30, unknown_errors=OSError)
    def charge(self, order: Order) -> Payment:
        return Payment(order.id)

    @charge.compensation(retry=RetryPolicy(max_attempts=None))
    def refund(self, order: Order, payment: Payment | None) -> None: ...

    @charge.fallback
    def charge_backup(self, order: Order) -> Payment:
        return Payment(order.id)

    @charge_backup.compensation
    def refund_backup(self, order: Order, payment: Payment | None) -> None: ...

    approval = wait_for("approved", timeout=60, on_timeout="continue", after=reserve)
    pause = sleep(60, after=[reserve, "charge", approval])
    shipping = subsaga(Shipping, data=parcel_of, after=pause)

    @step(after=(pause, shipping), pivot=True, when=is_big)
    async def ship(self, order: Order, charge: Payment) -> str:
        return charge.id

    @ship.probe
    async def was_shipped(self, order: Order) -> Any:
        return Probe.HAPPENED("x")

    @ship.fallback(timeout=5)
    async def ship_otherwise(self, order: Order) -> str:
        return order.id

    async def on_completed(self, saga: Any) -> None: ...


saga = Fulfillment()
order = Order("1", 2.5)

assert_type(Fulfillment.definition, SagaDefinition)

# A decorated method, called by hand, is the method.
assert_type(saga.charge(order), Payment)
assert_type(Fulfillment.charge(saga, order), Payment)
assert_type(saga.charge_backup(order), Payment)
assert_type(saga.refund(order, None), None)


async def called_by_hand(context: StepContext) -> None:
    assert_type(await saga.reserve(order, context), int)
    assert_type(await saga.ship(order, Payment("1")), str)
    assert_type(await saga.ship_otherwise(order), str)
    await saga.release(order, 1)


# The list form.


async def act(order: Order) -> Payment:
    return Payment(order.id)


async def undo(order: Order, payment: Payment | None) -> None: ...


listed = SagaDefinition(
    name="order",
    version=1,
    deadline=3600,
    on_compensation_failure="continue",
    input=Order,
    steps=[
        first := Step("a", act, compensation=undo, retry=RetryPolicy(max_attempts=3), timeout=10),
        Parallel(
            Step("b", act, compensation=Compensation(undo, retry=RetryPolicy.none())),
            Sequence(Step("c", act, compensatable=False), Step("d", act, fallback=Fallback(act, compensation=undo))),
        ),
        WaitFor("approval", signal="approved", timeout=60, on_timeout="fail", after=first),
        Sleep("pause", 3600, after=["a", first]),
        SubSaga("shipping", Shipping, data=parcel_of, when=is_big),
        Step("ship", act, pivot=True, on_unknown="stick", unknown_errors=[OSError]),
    ],
)
assert_type(listed, SagaDefinition)
assert_type(SagaDefinition.from_contract({"name": "x", "steps": []}), SagaDefinition)
