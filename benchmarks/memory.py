"""What a saga costs the process that it is in: in flight, and while it waits.

Each figure comes from a process of its own. Resident memory is what the system sees (SQLite's caches too); tracemalloc
sees what Python allocated, to the byte, but makes everything slower, so it has runs of its own. Both count from after
a warm-up: what is loaded and cached once is not the sagas'.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sagafsm import Orchestrator, Saga, Settings

from .children import answer, ask
from .engine import Approval, Four, Nap, all_ended, close_gate, run_sagas
from .files import fresh, sqlite_url
from .machine import resident
from .options import Options
from .result import Row, Table

QUESTION = "memory"
AT_ONCE = 250  # starts under way at the same time, so that the peak is not that of starting


def measure(options: Options) -> list[Table]:
    """Sagas in flight, then sagas that wait."""
    return [_in_flight(options), _waiting(options)]


def _in_flight(options: Options) -> Table:
    rows: list[Row] = []
    for sagas in (20,) if options.quick else (1_000, 10_000):
        warm = options.count(2_000, 20)
        seen = {meter: _ask(options, "flight", meter, sagas, warm) for meter in METERS}
        cells: dict[str, Any] = {"in flight": sagas}
        for meter, found in seen.items():
            cells[f"{meter}, B/saga"] = found["held"] / sagas
        cells["left at the end, B/saga"] = seen["tracemalloc"]["left"] / sagas
        rows.append(Row(cells))
    note = "left: what tracemalloc still sees when all of them have ended"
    return Table(QUESTION, "memory of sagas in flight, each in its second step", rows, note)


def _waiting(options: Options) -> Table:
    sagas, warm, idle = options.count(10_000, 40), options.count(2_000, 40), 0.1 if options.quick else 5.0
    rows: list[Row] = []
    for what in ("signal", "timer"):
        seen = {meter: _ask(options, what, meter, sagas, warm, idle) for meter in METERS}
        cells: dict[str, Any] = {"waiting for": what, "waiting": sagas}
        for meter, found in seen.items():
            cells[f"{meter}, B/saga"] = found["held"] / sagas
        found = seen["resident"]
        cells |= {"tasks before": found["tasks_before"], "tasks": found["tasks"]}
        cells |= {"CPU ms/s before": found["cpu_before"] * 1000 / idle, "CPU ms/s": found["cpu"] * 1000 / idle}
        rows.append(Row(cells))
    note = "tasks: those of the event loop; CPU: of the idle process, before the first saga and with all of them"
    return Table(QUESTION, "waiting sagas, in the process that started them", rows, note)


def _ask(options: Options, role: str, meter: str, *counts: float) -> dict[str, Any]:
    with fresh(options.place.folder, role) as path:
        return ask("memory", role, meter, path, *counts)


# --- in a process of its own ---


def _traced() -> int:
    return tracemalloc.get_traced_memory()[0]


METERS: dict[str, Callable[[], int]] = {"resident": resident, "tracemalloc": _traced}


def _held(meter: str) -> int:
    gc.collect()
    return METERS[meter]()


async def _flight(meter: str, path: Path, sagas: int, warm: int) -> None:
    async with Orchestrator(sqlite_url(path), sagas=[Four], settings=Settings(concurrency=sagas)) as orchestrator:
        await run_sagas(orchestrator, warm, AT_ONCE, prefix="warm")
        before = _held(meter)
        gate = close_gate(sagas)
        await _start(orchestrator, Four, sagas, "saga")
        await gate.full.wait()
        held = _held(meter) - before
        gate.opened.set()
        await all_ended(orchestrator, warm + sagas)
        answer(held=held, left=_held(meter) - before)


async def _wait(saga: type[Saga[dict[str, Any]]], meter: str, path: Path, sagas: int, warm: int, idle: float) -> None:
    async with Orchestrator(sqlite_url(path), sagas=[saga]) as orchestrator:
        cpu_before, tasks_before = await _idle(idle)
        await _start(orchestrator, saga, warm, "warm")
        before = _held(meter)
        await _start(orchestrator, saga, sagas, "saga")
        held = _held(meter) - before
        cpu, tasks = await _idle(idle)
        counts = await orchestrator.store.counts()
        if sum(found.count for found in counts if found.state == "pending") != warm + sagas:
            raise RuntimeError(f"not all of them wait: {counts}")
        answer(held=held, cpu=cpu, cpu_before=cpu_before, tasks=tasks, tasks_before=tasks_before)


async def _start(orchestrator: Orchestrator, saga: type[Saga[dict[str, Any]]], sagas: int, prefix: str) -> None:
    for first in range(0, sagas, AT_ONCE):
        numbers = range(first, min(first + AT_ONCE, sagas))
        data = {"fail": False, "note": "n" * 40}
        await asyncio.gather(*(orchestrator.start(saga, {"n": n, **data}, saga_id=f"{prefix}-{n}") for n in numbers))


async def _idle(seconds: float) -> tuple[float, int]:
    """The seconds of CPU that the process needs in so many seconds of waiting, and how many tasks there are."""
    await asyncio.sleep(seconds / 10)  # what was going on comes to rest
    began = time.process_time()
    await asyncio.sleep(seconds)
    return time.process_time() - began, len(asyncio.all_tasks())


def _main() -> None:
    role, meter, path, counts = sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4:]
    if meter == "tracemalloc":
        tracemalloc.start()
    if role == "flight":
        asyncio.run(_flight(meter, path, int(counts[0]), int(counts[1])))
    else:
        saga = Approval if role == "signal" else Nap
        asyncio.run(_wait(saga, meter, path, int(counts[0]), int(counts[1]), float(counts[2])))


if __name__ == "__main__":
    _main()
