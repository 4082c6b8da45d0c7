"""A saga that is right, and the same with the mistakes that users make: an order, against a shelf and a bank."""

from typing import Any

from sagafsm import Rejected, Saga, StepContext, step
from sagafsm.testing import EffectLedger


class World:
    """The services: they honour keys, refuse what was cancelled before it came, and say when they are used wrongly."""

    def __init__(self) -> None:
        self.new()

    def new(self) -> None:
        self.shelf: dict[str, str] = {}
        self.bank: dict[str, str] = {}
        self.parcels = 0

    @property
    def held(self) -> int:
        return sum(state == "held" for state in self.shelf.values())

    def reserve(self, key: str) -> None:
        if self.shelf.setdefault(key, "held") == "cancelled":
            raise Rejected("cancelled before it came")

    def release(self, key: str) -> None:
        self.shelf[key] = "cancelled"


WORLD = World()


def ledger() -> EffectLedger:
    """Three lines: what adds, what removes, who counts."""
    return (
        EffectLedger()
        .adds("stock", "reserve")
        .removes("stock", "release")
        .counts("stock", lambda: WORLD.held)
    )  # fmt: skip


def good() -> type[Saga[Any]]:
    class Order(Saga[dict]):
        @step(timeout=5)
        async def reserve(self, order: dict, ctx: StepContext) -> str:
            WORLD.reserve(ctx.idempotency_key)
            return "shelf 7"

        @reserve.compensation
        async def release(self, order: dict, got: str | None, ctx: StepContext) -> None:
            WORLD.release(ctx.action_key)

        @step
        async def charge(self, order: dict, ctx: StepContext) -> None:
            WORLD.bank.setdefault(ctx.idempotency_key, "paid")

        @charge.compensation
        async def refund(self, order: dict, got: None, ctx: StepContext) -> None:
            WORLD.bank[ctx.action_key] = "refunded"

        @step(pivot=True)
        async def ship(self, order: dict) -> None:
            assert "paid" in WORLD.bank.values(), "shipped, and nobody has paid"

    return Order


def forgets() -> type[Saga[Any]]:
    """The compensation looks at a result that it may not have, and does nothing without it."""

    class Order(good()):  # type: ignore[misc]
        @step(timeout=5)
        async def reserve(self, order: dict, ctx: StepContext) -> str:
            WORLD.reserve(ctx.idempotency_key)
            return ctx.idempotency_key

        @reserve.compensation
        async def release(self, order: dict, got: str | None) -> None:
            if got is not None:
                WORLD.release(got)

    return Order


def does_nothing() -> type[Saga[Any]]:
    """Somebody left the compensation for later."""

    class Order(good()):  # type: ignore[misc]
        @step(timeout=5)
        async def reserve(self, order: dict, ctx: StepContext) -> str:
            WORLD.reserve(ctx.idempotency_key)
            return ctx.idempotency_key

        @reserve.compensation
        async def release(self, order: dict, got: str | None) -> None: ...

    return Order


def counts_calls() -> type[Saga[Any]]:
    """Each call takes one more, whatever its key."""

    class Order(good()):  # type: ignore[misc]
        @step(timeout=5)
        async def reserve(self, order: dict, ctx: StepContext) -> str:
            WORLD.shelf[f"{ctx.idempotency_key} {len(WORLD.shelf)}"] = "held"
            return "shelf 7"

        @reserve.compensation
        async def release(self, order: dict, got: str | None, ctx: StepContext) -> None:
            for key in [key for key in WORLD.shelf if key.startswith(ctx.action_key)]:
                del WORLD.shelf[key]

    return Order


def no_tombstone() -> type[Saga[Any]]:
    """What is released before it was reserved is forgotten, and the reservation comes late."""

    class Order(good()):  # type: ignore[misc]
        @step(timeout=5)
        async def reserve(self, order: dict, ctx: StepContext) -> str:
            WORLD.shelf[ctx.idempotency_key] = "held"
            return "shelf 7"

        @reserve.compensation
        async def release(self, order: dict, got: str | None, ctx: StepContext) -> None:
            WORLD.shelf.pop(ctx.action_key, None)

    return Order


def wrong_order() -> type[Saga[Any]]:
    """Shipping waits for the shelf only, so it may come before the money."""

    class Order(Saga[dict]):
        @step
        async def reserve(self, order: dict, ctx: StepContext) -> None:
            WORLD.reserve(ctx.idempotency_key)

        @reserve.compensation
        async def release(self, order: dict, got: None, ctx: StepContext) -> None:
            WORLD.release(ctx.action_key)

        @step
        async def charge(self, order: dict, ctx: StepContext) -> None:
            WORLD.bank.setdefault(ctx.idempotency_key, "paid")

        @charge.compensation
        async def refund(self, order: dict, got: None, ctx: StepContext) -> None:
            WORLD.bank[ctx.action_key] = "refunded"

        @step(compensatable=False, after="reserve")
        async def ship(self, order: dict) -> None:
            assert "paid" in WORLD.bank.values(), "shipped, and nobody has paid"

    return Order


def takes_twice_back() -> type[Saga[Any]]:
    """The compensation counts instead of naming what it cancels."""

    class Order(good()):  # type: ignore[misc]
        @step(timeout=5)
        async def reserve(self, order: dict, ctx: StepContext) -> str:
            WORLD.shelf.setdefault(ctx.idempotency_key, "held")
            return "shelf 7"

        @reserve.compensation
        async def release(self, order: dict, got: str | None, ctx: StepContext) -> None:
            if not WORLD.shelf:
                raise AssertionError("released more than was reserved")
            WORLD.shelf.popitem()

    return Order
