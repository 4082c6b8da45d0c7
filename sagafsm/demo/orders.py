"""The orders of the demo, and how they are read.

What must stay true: money is in whole cents, and an order's total is the sum of its items.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import attrs
import msgspec


@attrs.frozen(kw_only=True)
class Item:
    """One line of an order; ``price`` is that of one piece, in cents."""

    sku: str
    quantity: int
    price: int


@attrs.frozen(kw_only=True)
class Address:
    """Where the parcel goes; ``country`` is the two-letter code."""

    name: str
    street: str
    postcode: str
    city: str
    country: str


@attrs.frozen(kw_only=True)
class Order:
    """One order; ``total`` in cents, ``card`` the number of the card to charge."""

    order_id: str
    customer_id: str
    card: str
    items: tuple[Item, ...]
    total: int
    address: Address


def load_orders(path: Path | None = None, *, limit: int | None = None) -> list[Order]:
    """Read orders from a JSON-lines file (default: the shipped thousand), at most ``limit`` of them.

    Raises ValueError, with file and line, for a line that is no order or a total that does not add up.
    """
    source = path if path is not None else files("sagafsm.demo") / "orders.jsonl"
    orders: list[Order] = []
    for number, line in enumerate(source.read_text(encoding="utf-8").splitlines(), start=1):
        if limit is not None and len(orders) >= limit:
            break
        if not line.strip():
            continue
        try:
            order = msgspec.json.decode(line, type=Order)
        except msgspec.DecodeError as exc:
            raise ValueError(f"{source}, line {number}: not an order: {exc}") from exc
        expected = sum(item.price * item.quantity for item in order.items)
        if order.total != expected:
            raise ValueError(f"{source}, line {number}: total is {order.total} cents, the items cost {expected}")
        orders.append(order)
    return orders
