"""The same job by sagafsm, through its public interface."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from sagafsm import Orchestrator, Rejected, Saga, SagaState, Settings, step

from .floor import RESULT


class Four(Saga[dict[str, Any]]):
    """Four trivial async steps, ~200 bytes of result each."""

    @step
    async def reserve(self, data: dict[str, Any]) -> dict[str, Any]:
        return RESULT

    @reserve.compensation
    async def release(self, data: dict[str, Any]) -> None: ...

    @step
    async def charge(self, data: dict[str, Any]) -> dict[str, Any]:
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
        if data.get("fail"):
            raise Rejected("the fourth step fails")
        return RESULT


async def run_engine(url: str, sagas: int, in_flight: int, *, fail: bool = False) -> list[float]:
    """Run so many sagas, so many at a time; seconds that each took. Raises where one did not end as it should."""
    import asyncio

    took: list[float] = []
    numbers = iter(range(sagas))
    expected = SagaState.FAILED if fail else SagaState.COMPLETED
    async with Orchestrator(url, sagas=[Four], settings=Settings(concurrency=max(1000, in_flight))) as orchestrator:

        async def client() -> None:
            for number in numbers:
                began = time.perf_counter()
                saga = await orchestrator.run(Four, {"n": number, "fail": fail}, saga_id=f"saga-{number}")
                took.append(time.perf_counter() - began)
                if saga.state is not expected:
                    raise RuntimeError(f"{saga} should be {expected}")

        await asyncio.gather(*(client() for _ in range(in_flight)))
    return took


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite file."""
    return f"sqlite:///{path}"
