"""The job that an engine has to do, written by hand, without an engine; on the floor of any store.

One saga is four trivial async steps with a result of about 200 bytes each, and five durable appends (eight where the
fourth step fails and three are undone): each inserts two or three event rows, about 300 bytes of JSON, and inserts, or
compare-and-sets, one saga row; each is durable before the next step runs. The kinds of rows and their sizes are those
that the engine writes; files.same_rows compares them afterwards.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from ..result import Run
from .base import Database, Event, Floor

RESULT = {"reference": "r" * 60, "note": "n" * 100, "amount": 1250}
STEPS = ("reserve", "charge", "ship", "confirm")
KEY = "k" * 32


async def act(data: dict[str, Any]) -> dict[str, Any]:
    """A trivial step."""
    return RESULT


async def run_saga(floor: Floor, saga_id: str, number: int, *, fail: bool = False) -> None:
    """One saga from its beginning: four steps, or three and their compensations."""
    data = {"n": number, "fail": fail}
    started = {"saga_id": saga_id, "saga_type": "Four", "definition_version": 1, "fingerprint": "f" * 16,
               "steps": STEPS, "data": data, "correlation_id": saga_id}  # fmt: skip
    first = [("SagaStarted", started), _attempt("AttemptStarted", STEPS[0])]
    version = await floor.append(saga_id, 0, first, state="pending")
    await act(data)
    version = await go_on(floor, saga_id, version, 0, data, last=3 if fail else 4)
    if fail:
        await _undo(floor, saga_id, version, data)


async def go_on(
    floor: Floor, saga_id: str, version: int, step: int, data: dict[str, Any], *, last: int = 4, fence: int = 1
) -> int:
    """From the end of a step to the end of the saga, or to that of the ``last`` step that succeeds."""
    for number in range(step, last):
        succeeded: Event = ("StepSucceeded", {"step": STEPS[number], "result": RESULT, "attempt": 1})
        if number + 1 == len(STEPS):
            return await floor.append(
                saga_id, version, [succeeded, ("SagaCompleted", {})], state="completed", fence=fence
            )
        events = [succeeded, _attempt("AttemptStarted", STEPS[number + 1])]
        version = await floor.append(saga_id, version, events, state="pending", fence=fence)
        await act(data)
    return version


async def _undo(floor: Floor, saga_id: str, version: int, data: dict[str, Any]) -> None:
    """The fourth step has failed: three compensations, each durable before the next."""
    error = {"type": "Rejected", "message": "the fourth step fails", "step": "confirm", "at": time.time()}
    events: list[Event] = [
        ("StepFailed", {"step": "confirm", "error": error, "attempt": 1}),
        ("CompensationStarted", {"cause": error}),
    ]
    for name in ("ship", "charge", "reserve"):
        events.append(_attempt("CompensationAttemptStarted", name))
        version = await floor.append(saga_id, version, events, state="compensating")
        await act(data)
        events = [("StepCompensated", {"step": name, "attempt": 1})]
    events.append(("SagaFailed", {"outcome": "compensated"}))
    await floor.append(saga_id, version, events, state="failed")


def _attempt(kind: str, step: str) -> Event:
    return kind, {"step": step, "attempt": 1, "idempotency_key": KEY}


async def run_floor(database: Database, sagas: int, in_flight: int, *, fail: bool = False) -> Run:
    """Run so many sagas, so many at a time."""
    floor = await database.open_floor()
    try:
        return await run_by_hand(floor, sagas, in_flight, fail=fail)
    finally:
        await floor.close()


async def run_by_hand(floor: Floor, sagas: int, in_flight: int, *, fail: bool = False, prefix: str = "saga") -> Run:
    """The same on a floor that is open."""
    numbers = iter(range(sagas))
    took: list[float] = []

    async def client() -> None:
        for number in numbers:
            began = time.perf_counter()
            await run_saga(floor, f"{prefix}-{number}", number, fail=fail)
            took.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(in_flight)))
    return Run(time.perf_counter() - began, took)
