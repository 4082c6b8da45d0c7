"""The process that runs the sagas, and that the demo kills.

What must stay true: it keeps nothing of its own. Started again on the same store with the same orders, it goes on
where the killed one was; an order that has a saga is not started a second time. It writes one line of JSON for each
order that has ended, and ends itself when all have, or with its parent.

The store's URL comes from ``SAGAFSM_STORE`` and not from the command line, where everybody could read its password.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from sagafsm import Orchestrator, SagaError, SagaInstance
from sagafsm.core.secrets import redact

from .lifeline import when_parent_ends
from .orders import Order, load_orders
from .outcome import Outcome
from .saga import OrderFulfillment
from .service import SERVICES

ROUNDS = 10
"""How often the operator lifts a stuck saga before leaving it to the audit."""


async def run_orders(store: str, orders: list[Order], *, prefix: str, concurrency: int) -> None:
    """Run one saga for each order, ``concurrency`` at a time, and report each as it ends."""
    waiting = iter(orders)
    async with Orchestrator(store, sagas=[OrderFulfillment]) as orchestrator, asyncio.TaskGroup() as lanes:
        for _ in range(concurrency):
            lanes.create_task(_lane(orchestrator, waiting, prefix))


async def _lane(orchestrator: Orchestrator, waiting: Iterator[Order], prefix: str) -> None:
    """Run one order after the other; all lanes draw from one iterator."""
    for order in waiting:
        saga_id = prefix + order.order_id
        saga = await orchestrator.run(OrderFulfillment, order, saga_id=saga_id)
        lifted = 0
        while saga.stuck and lifted < ROUNDS:
            # What a person would do once the participant answers again. With the usual rates it is hardly ever needed.
            await orchestrator.retry(saga_id, actor="demo", reason="the participant answers again")
            saga = await orchestrator.run(OrderFulfillment, order, saga_id=saga_id)
            lifted += 1
        sys.stdout.buffer.write(msgspec.json.encode(_outcome(order, saga, lifted)) + b"\n")
        sys.stdout.flush()


def _outcome(order: Order, saga: SagaInstance, lifted: int) -> Outcome:
    error = None if saga.state.value == "completed" else saga.error
    return Outcome(
        order_id=order.order_id,
        state=saga.state.value,
        outcome=saga.outcome,
        stuck=saga.stuck,
        step=error.step if error else None,
        reason=str(error) if error else None,
        calls=sum(view.attempts + view.compensation_attempts for view in saga.steps.values()),
        forward_retries=max(0, saga.steps["confirm"].attempts - 1),
        lifted=lifted,
    )


def _leaves(group: BaseExceptionGroup[SagaError]) -> Iterator[SagaError]:
    """The errors in a group, however deep; lanes mostly fail all at once, and for the same reason."""
    for one in group.exceptions:
        if isinstance(one, BaseExceptionGroup):
            yield from _leaves(one)
        else:
            yield one


async def main() -> None:
    """Read the command line, connect to the participants, run all orders."""
    parser = argparse.ArgumentParser(description="Run the orders of the demo on the store named by SAGAFSM_STORE.")
    parser.add_argument("--orders", type=Path, required=True, help="a file of orders, as JSON lines")
    parser.add_argument("--prefix", default="", help="what the saga ids begin with")
    parser.add_argument("--concurrency", type=int, default=64, help="how many orders are under way at once")
    for service in SERVICES:
        parser.add_argument(f"--{service.name}", required=True, metavar="URL", help=f"where the {service.name} is")
    options = parser.parse_args()
    for service in SERVICES:
        service.connect(getattr(options, service.name))
    try:
        await run_orders(
            os.environ["SAGAFSM_STORE"],
            load_orders(options.orders),
            prefix=options.prefix,
            concurrency=options.concurrency,
        )
    finally:
        for service in SERVICES:
            await service.close()


if __name__ == "__main__":
    # A hard end, for a soft one would wait for calls. It may come at any moment: that is what the demo is about.
    when_parent_ends(lambda: os._exit(1))
    code = 0
    try:
        asyncio.run(main())
    except* SagaError as group:  # the store, for example, which was there when the demo began
        code = 1
        for line in sorted({redact(f"{type(exc).__name__}: {exc}") for exc in _leaves(group)}):
            sys.stderr.write(f"{line}\n")
    sys.exit(code)
