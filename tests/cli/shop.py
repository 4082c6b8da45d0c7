"""Sagas that the command line is tried on. What a saga meets is said by its input."""

import asyncio
from pathlib import Path
from typing import TypedDict

from sagafsm import Orchestrator, Rejected, RetryPolicy, Saga, SagaDefinition, Step, Unknown, step, subsaga, wait_for

TWICE = RetryPolicy(max_attempts=2, initial_interval=0)


class Input(TypedDict, total=False):
    id: str
    bad: str  # the charge is refused, with these words
    blocked: str  # undoing the reservation fails until this file exists
    lost: bool  # the carrier does not answer
    unconfirmed: str  # the confirmation fails until this file exists
    hold: str  # the reservation is held up until this file exists


def there(path: str) -> bool:
    return Path(path).exists()


def mark(path: str) -> None:
    Path(path).touch()


class Order(Saga[Input]):
    """Reserve, charge, ship, confirm."""

    retry = TWICE
    compensation_retry = TWICE

    @step
    async def reserve(self, order: Input) -> str:
        if "hold" in order:
            mark(f"{order['id']}.held")
            while not there(order["hold"]):  # noqa: ASYNC110 - what is waited for is another process
                await asyncio.sleep(0.005)
        return "reserved"

    @reserve.compensation
    async def release(self, order: Input, reserved: str | None) -> None:
        if "blocked" in order and not there(order["blocked"]):
            raise RuntimeError("the warehouse is [red]closed[/red] [/]\x1b[2J")

    @step
    async def charge(self, order: Input) -> None:
        if "bad" in order:
            raise Rejected(order["bad"])

    @charge.compensation
    async def refund(self, order: Input, charged: None) -> None: ...

    @step(pivot=True)
    async def ship(self, order: Input) -> None:
        if "lost" in order:
            raise Unknown("the carrier does not answer")

    @step(compensatable=False)
    async def confirm(self, order: Input) -> None:
        if "unconfirmed" in order and not there(order["unconfirmed"]):
            raise RuntimeError("the mail server is down")


class Approval(Saga[dict]):
    """Waits for a person to say yes."""

    approval = wait_for("approval", timeout=3600)

    @step(compensatable=False)
    async def file(self, form: dict, approval: object) -> object:
        return approval


class Bundle(Saga[Input]):
    """An order as a step of something larger."""

    order = subsaga(Order, data=lambda given: given, compensatable=False)


BY_HAND = SagaDefinition(name="by_hand", steps=[Step("only", lambda given: given, compensatable=False)])
BOTH = [Order, Approval]


class Base(Saga[dict], abstract=True):
    """Has no steps of its own."""


def app() -> Orchestrator:
    return Orchestrator("sqlite:///sagas.db", sagas=[Order, Approval, Bundle], worker=False)


def broken() -> Orchestrator:
    raise RuntimeError("no [config]")


NUMBER = 7
