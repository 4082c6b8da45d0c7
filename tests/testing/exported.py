"""Sagas that are stored, exported as tests, and broken afterwards."""

from dataclasses import dataclass

from sagafsm import (
    Compensation,
    Fallback,
    Parallel,
    Probe,
    RetryPolicy,
    Saga,
    SagaDefinition,
    Step,
    StepContext,
    sleep,
    step,
    subsaga,
    wait_for,
)

TWICE = RetryPolicy(max_attempts=2, initial_interval=0.01, jitter=0)
ONCE = RetryPolicy(max_attempts=1)


@dataclass
class Order:
    id: str
    card: str
    amount: float = 1.0


class Shop(Saga[Order]):
    """Reserve, charge (twice slow), wait, ship."""

    retry = TWICE
    compensation_retry = TWICE

    @step
    async def reserve(self, order: Order) -> dict:
        return {"shelf": f"shelf of {order.id}", "room": 7}

    @reserve.compensation
    async def release(self, order: Order, reserved: dict | None, ctx: StepContext) -> None:
        if order.card == "blocked" or (order.card == "slow" and ctx.attempt == 1):
            raise RuntimeError(f"no key for {order.id}")

    @step
    async def charge(self, order: Order, ctx: StepContext) -> str:
        if order.card in ("bad", "blocked", "slow"):
            raise PermissionError(f"card {order.card} of {order.id}")
        if ctx.attempt == 1:
            raise TimeoutError("the bank is slow")
        return f"receipt for {order.card}"

    @charge.compensation
    async def refund(self, order: Order, receipt: str | None) -> None: ...

    approval = wait_for("approval", timeout=3600)

    @step(compensatable=False, when=lambda order: order.amount > 10)
    async def insure(self, order: Order) -> None: ...

    @step(compensatable=False)
    async def ship(self, order: Order, charge: str) -> str:
        return f"parcel for {charge}"


async def left(data: dict) -> str:
    return "left"


async def right(data: dict) -> str:
    if data.get("fail"):
        raise ConnectionRefusedError("nobody there")
    return "right"


async def undo(data: dict, result: str | None) -> None: ...
async def other(data: dict) -> str:
    return "the other way"


async def unsure(data: dict) -> str:
    raise TimeoutError("no answer")


async def look(data: dict) -> object:
    return Probe.HAPPENED("it was done") if data.get("done") else Probe.STILL_UNKNOWN


BESIDE = SagaDefinition(
    name="beside",
    retry=TWICE,
    steps=[
        Parallel(
            Step("left", left, compensation=undo), Step("right", right, compensation=undo, fallback=Fallback(other))
        ),
        Step("pivot", unsure, pivot=True, probe=look, retry=ONCE),
        Step("after", left, compensatable=False),
    ],
)


class Quote(Saga[dict]):
    """A step that awaits its reply, both ways, and a nap."""

    @step(awaits_reply=True, timeout=600)
    async def ask(self, data: dict) -> None: ...

    @ask.compensation(awaits_reply=True, timeout=600)
    async def withdraw(self, data: dict, quote: object) -> None: ...

    nap = sleep(0.01)
    answer = wait_for("answer")


class Trip(Saga[dict]):
    """A shop as a step."""

    shop = subsaga(Shop, data=lambda trip: {"id": trip["id"], "card": trip["card"]})

    @step(compensatable=False)
    async def fly(self, trip: dict) -> None:
        if trip.get("strike"):
            raise PermissionError("strike")


__all__ = ["BESIDE", "Compensation", "Quote", "Shop", "Trip"]
