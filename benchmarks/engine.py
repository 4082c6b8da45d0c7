"""The same job by sagafsm, through its public interface."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from sagafsm import Orchestrator, Rejected, Saga, SagaState, Settings, sleep, step, wait_for

from .children import PATIENCE
from .floors.job import RESULT
from .result import Run


class Gate:
    """Holds every saga in its second step. ``reached``: how many stand there; ``full``: ``count`` do."""

    def __init__(self, count: int) -> None:
        self.reached = 0
        self.full = asyncio.Event()
        self.opened = asyncio.Event()
        self._count = count

    async def pass_through(self) -> None:
        """Stand at the gate until it is opened."""
        self.reached += 1
        if self.reached == self._count:
            self.full.set()
        await self.opened.wait()


gate: Gate | None = None
"""None: no saga is held."""
last_steps = 0
"""How often the last step of a saga was called in this process."""


def close_gate(count: int) -> Gate:
    """From now on, sagas are held."""
    global gate
    gate = Gate(count)
    return gate


class Four(Saga[dict[str, Any]]):
    """Four trivial async steps, ~200 bytes of result each."""

    @step
    async def reserve(self, data: dict[str, Any]) -> dict[str, Any]:
        return RESULT

    @reserve.compensation
    async def release(self, data: dict[str, Any]) -> None: ...

    @step
    async def charge(self, data: dict[str, Any]) -> dict[str, Any]:
        if gate is not None:
            await gate.pass_through()
        return RESULT

    @charge.compensation
    async def refund(self, data: dict[str, Any]) -> None: ...

    @step
    async def ship(self, data: dict[str, Any]) -> dict[str, Any]:
        return RESULT

    @ship.compensation
    async def recall(self, data: dict[str, Any]) -> None: ...

    @step(compensatable=False)
    async def confirm(self, data: dict[str, Any]) -> dict[str, Any]:
        global last_steps
        last_steps += 1
        if data.get("fail"):
            raise Rejected("the fourth step fails")
        return RESULT


class Approval(Saga[dict[str, Any]]):
    """Waits for a signal."""

    approval = wait_for("approval")


class Nap(Saga[dict[str, Any]]):
    """Waits for a time."""

    nap = sleep(86_400)


async def run_engine(
    url: str,
    sagas: int,
    in_flight: int,
    *,
    fail: bool = False,
    prefix: str = "saga",
    beside: Sequence[type[Saga[Any]]] = (),
) -> Run:
    """Run so many sagas, so many at a time. Raises where one did not end as it should.

    ``beside``: what else this process would work for.
    """
    settings = Settings(concurrency=max(1000, in_flight))
    async with Orchestrator(url, sagas=[Four, *beside], settings=settings) as orchestrator:
        return await run_sagas(orchestrator, sagas, in_flight, fail=fail, prefix=prefix)


async def run_sagas(
    orchestrator: Orchestrator, sagas: int, in_flight: int, *, fail: bool = False, prefix: str = "saga"
) -> Run:
    """The same with an orchestrator that is open."""
    took: list[float] = []
    numbers = iter(range(sagas))
    expected = SagaState.FAILED if fail else SagaState.COMPLETED

    async def client() -> None:
        for number in numbers:
            began = time.perf_counter()
            saga = await orchestrator.run(Four, {"n": number, "fail": fail}, saga_id=f"{prefix}-{number}")
            took.append(time.perf_counter() - began)
            if saga.state is not expected:
                raise RuntimeError(f"{saga} should be {expected}")

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(in_flight)))
    return Run(time.perf_counter() - began, took)


async def all_ended(orchestrator: Orchestrator, count: int) -> None:
    """Wait until so many sagas have ended, all of them in this process.

    When each has called its last step, the store is asked every 10 ms: before, this would only keep it from working.
    """
    async with asyncio.timeout(PATIENCE):
        while last_steps < count:  # noqa: ASYNC110 - the steps that are measured shall do no more than count
            await asyncio.sleep(0.005)
        while True:
            counts = await orchestrator.store.counts()
            if sum(found.count for found in counts if found.state in ("completed", "failed")) >= count:
                return
            await asyncio.sleep(0.01)
