"""The saga of the demo: reserve stock, charge the card, create the shipment, confirm.

What must stay true: every call carries the key of its step, every compensation names the key of the action it
undoes. The shipment is the point of no return: until it exists everything can be undone, afterwards the order is
confirmed, however often that has to be tried.
"""

from __future__ import annotations

import attrs

from sagafsm import Probe, RetryPolicy, Saga, StepContext, step

from .orders import Order
from .service import bank, carrier, warehouse

CALL_TIMEOUT = 1.0
"""Seconds; shorter than a participant hangs, longer than it ever works."""

FORWARD = RetryPolicy(max_attempts=40, initial_interval=0.05, maximum_interval=0.5)


@attrs.frozen
class Reservation:
    """What the warehouse holds for the order."""

    reservation: str


@attrs.frozen
class Payment:
    """What the bank took; ``amount`` in cents."""

    payment: str
    amount: int


@attrs.frozen
class Shipment:
    """What the carrier took over."""

    tracking: str


class OrderFulfillment(Saga[Order]):
    """Reserve stock, charge the card, create the shipment, confirm."""

    version = 1
    retry = RetryPolicy(max_attempts=3, initial_interval=0.05, maximum_interval=0.5)
    compensation_retry = FORWARD

    @step(timeout=CALL_TIMEOUT)
    async def reserve_stock(self, order: Order, ctx: StepContext) -> Reservation:
        """Take the goods off the shelf."""
        items = [attrs.asdict(item) for item in order.items]
        return Reservation(**await warehouse.call("reserve", order.order_id, ctx, items=items))

    @reserve_stock.compensation(timeout=CALL_TIMEOUT)
    async def release_stock(self, order: Order, reservation: Reservation | None, ctx: StepContext) -> None:
        """Put them back; where nobody knows whether they were taken, the key alone says which."""
        await warehouse.call("release", order.order_id, ctx, cancels=ctx.action_key)

    @step(timeout=CALL_TIMEOUT)
    async def charge_card(self, order: Order, ctx: StepContext) -> Payment:
        """Take the money."""
        return Payment(**await bank.call("charge", order.order_id, ctx, card=order.card, amount=order.total))

    @charge_card.compensation(timeout=CALL_TIMEOUT)
    async def refund_card(self, order: Order, payment: Payment | None, ctx: StepContext) -> None:
        """Give it back."""
        await bank.call("refund", order.order_id, ctx, cancels=ctx.action_key)

    @step(pivot=True, timeout=CALL_TIMEOUT)
    async def create_shipment(self, order: Order, ctx: StepContext) -> Shipment:
        """Hand the parcel over: the point of no return."""
        return Shipment(**await carrier.call("ship", order.order_id, ctx, address=attrs.asdict(order.address)))

    @create_shipment.probe
    async def find_shipment(self, order: Order, ctx: StepContext) -> object:
        """Ask whether there is a parcel; if there is none, the carrier makes sure that there never will be."""
        answer = await carrier.call("settle", order.order_id, ctx, cancels=ctx.action_key)
        return Probe.HAPPENED(Shipment(**answer["result"])) if answer["happened"] else Probe.DID_NOT_HAPPEN

    @step(retry=FORWARD, timeout=CALL_TIMEOUT)
    async def confirm(self, order: Order, reserve_stock: Reservation, ctx: StepContext) -> None:
        """Tell the warehouse that what it holds has left."""
        await warehouse.call("dispatch", order.order_id, ctx, reservation=reserve_stock.reservation)
