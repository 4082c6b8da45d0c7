"""Several processes on one database: each starts its own sagas and runs them, all at the same time.

The floor is as many processes of the floor. What must stay true: every process is warm and waits before any of them
begins, and the time is that from the first one's beginning to the last one's end.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

from sagafsm import Orchestrator

from .children import READY, answer, together
from .engine import Four, run_sagas
from .files import same_rows
from .floors.base import find
from .floors.job import run_by_hand
from .options import Options
from .result import Row, Run, Table, ratios, spread

QUESTION = "workers"
WORKERS = (2, 4)
SAGAS = 8_000  # of all together
IN_FLIGHT = 128  # of each
WARM = 50


def measure(options: Options) -> list[Table]:
    """So many processes of the floor, then as many workers."""
    rows: list[Row] = []
    for workers in (2,) if options.quick else WORKERS:
        each = options.work(SAGAS, 20) // workers
        samples: dict[str, list[float]] = {"floor": [], "engine": []}
        for _ in range(options.pairs):
            with options.place.fresh("floor") as database:
                samples["floor"].append(_rate("floor", options.store, database.url, workers, each))
                by_floor = database.count_floor()
            with options.place.fresh("engine") as database:
                samples["engine"].append(_rate("engine", options.store, database.url, workers, each))
                same_rows(by_floor, database.count_engine())
        ratio = ratios(samples["engine"], samples["floor"])
        row: dict[str, Any] = {"workers": workers, "in flight": workers * IN_FLIGHT, "sagas": each * workers}
        for side, rates in samples.items():
            row[f"{side}/s"] = statistics.median(rates)
        rows.append(Row({**row, "ratio": statistics.median(ratio), "range": spread(ratio)}, samples))
    note = "all of them together; ratio: workers/processes of the floor; the server shares the cores with all of them"
    return [Table(QUESTION, "sagas/s, several workers on one database", rows, note)]


def _rate(role: str, store: str, url: str, workers: int, each: int) -> float:
    found = together(QUESTION, [(role, store, url, number, each) for number in range(workers)])
    seconds = max(one["ended"] for one in found) - min(one["began"] for one in found)
    return workers * each / seconds


# --- in a process of its own ---


async def _by_engine(url: str, number: int, sagas: int) -> None:
    async with Orchestrator(url, sagas=[Four]) as orchestrator:
        await run_sagas(orchestrator, WARM, WARM, prefix=f"warm-{number}")
        await _wait()
        _answer(await run_sagas(orchestrator, sagas, IN_FLIGHT, prefix=f"saga-{number}"))


async def _by_floor(store: str, url: str, number: int, sagas: int) -> None:
    floor = await find(store, url).open_floor()
    await run_by_hand(floor, WARM, WARM, prefix=f"warm-{number}")
    await _wait()
    _answer(await run_by_hand(floor, sagas, IN_FLIGHT, prefix=f"saga-{number}"))
    await floor.close()


async def _wait() -> None:
    """Until all of them are ready."""
    print(READY, flush=True)
    await asyncio.to_thread(sys.stdin.readline)


def _answer(run: Run) -> None:
    ended = time.monotonic()  # the same clock in all processes
    answer(began=ended - run.seconds, ended=ended)


def _main(role: str, store: str, url: str, rest: Sequence[str]) -> None:
    number, sagas = map(int, rest)
    asyncio.run(_by_engine(url, number, sagas) if role == "engine" else _by_floor(store, url, number, sagas))


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
