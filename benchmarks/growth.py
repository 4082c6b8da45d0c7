"""Whether an append costs more the more there is: finished sagas, waiting sagas, events of the saga itself."""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Sequence
from typing import Any

from sagafsm import Orchestrator, RetryPolicy, Saga, SagaState, step

from .children import PATIENCE
from .engine import Approval, Nap, run_engine
from .filling import Note, fill
from .options import Options
from .result import Row, Table, ratios, spread

QUESTION = "growth"
APPENDS = 5  # of one saga of the job
IN_FLIGHT = 128
SAGAS = 2_500  # in one run
MORE = 3  # times as many pairs for finished sagas: what is looked for is small, and wanted in numbers
EVENTS = 10_000
READS = 50


def measure(options: Options) -> list[Table]:
    """What lies in the store, then what lies in the saga's own log."""
    finished = options.count(options.finished, 50)
    waiting = options.count(10_000, 50)
    rows = [_beside(options, Note, finished, f"append; finished sagas: 1, {finished:,}", ended=True)]
    for kind, what in ((Approval, "a signal"), (Nap, "a time")):
        if not options.quick or kind is Nap:
            rows.append(_beside(options, kind, waiting, f"append; sagas waiting for {what}: 1, {waiting:,}"))
    rows += _history(options)
    note = "µs of wall time, median; ratio: much/little of each pair, median and range; 1 is: it does not grow"
    return [Table(QUESTION, "cost as things grow", rows, note)]


# --- what lies in the store ---


def _beside(options: Options, kind: type[Saga[Any]], count: int, case: str, *, ended: bool = False) -> Row:
    """Run the job in turns on a store with little in it and on one with much."""
    sagas = options.work(SAGAS, 16)
    samples: dict[str, list[float]] = {"little": [], "much": []}
    with options.place.fresh("much") as much, options.place.fresh("little") as little:
        pair = {"little": little, "much": much}
        for (name, database), copies in zip(pair.items(), (1, count), strict=True):
            asyncio.run(fill(database.url, kind, copies, ended=ended))
            _append_us(database.url, sagas, f"warm-{name}", kind)  # caches, and a log file that has grown
            database.settle()
        for turn in range(options.count(options.pairs * (MORE if ended else 1), 1)):
            for name in pair if turn % 2 == 0 else reversed(pair):
                samples[name].append(_append_us(pair[name].url, sagas, f"turn-{turn}", kind))
    return _row(case, samples["little"], samples["much"])


def _append_us(url: str, sagas: int, prefix: str, kind: type[Saga[Any]]) -> float:
    gc.collect()
    run = asyncio.run(run_engine(url, sagas, min(IN_FLIGHT, sagas), prefix=prefix, beside=[kind]))
    return run.seconds / (sagas * APPENDS) * 1e6


# --- what lies in the saga's own log ---


class Turns:
    """Two sagas append in turns, one at a time: what disturbs the one disturbs the other as much."""

    def __init__(self, names: Sequence[str]) -> None:
        self.took: dict[str, list[float]] = {name: [] for name in names}
        self.came = asyncio.Event()  # the first of them is here, and waits for the other
        self._mine = {name: asyncio.Event() for name in names}
        self._other = dict(zip(names, reversed(names), strict=True))
        self._began: dict[str, float] = {}

    async def take(self, name: str) -> None:
        """Note how long the append before this call took, let the other one append, and wait for it."""
        if name in self._began:
            self.took[name].append(time.perf_counter() - self._began[name])
        if self.came.is_set():
            self._mine[self._other[name]].set()
        self.came.set()
        await self._mine[name].wait()
        self._mine[name].clear()
        self._began[name] = time.perf_counter()

    def leave(self, name: str) -> None:
        """It appends no more: the other one need not wait for it."""
        self.took[name].append(time.perf_counter() - self._began[name])
        self._mine[self._other[name]].set()


turns: Turns | None = None


class Stubborn(Saga[dict[str, Any]]):
    """Fails so many times, each time with two events, before it succeeds; takes turns in the last so many calls."""

    calls: dict[str, int] = {}  # noqa: RUF012 - of the process, not of the saga

    @step(compensatable=False, timeout=PATIENCE, retry=RetryPolicy(max_attempts=None, initial_interval=0, jitter=0))
    async def insist(self, data: dict[str, Any]) -> None:
        name, times, window = data["name"], data["times"], data["window"]
        call = self.calls[name] = self.calls.get(name, 0) + 1
        if turns is not None and times - window <= call < times:
            await turns.take(name)
        if call < times:
            raise RuntimeError("not yet")
        if turns is not None and window:
            turns.leave(name)


def _history(options: Options) -> list[Row]:
    """The last appends of a saga that goes on and on, against the first ones of another; and how long reading takes."""
    events = options.count(EVENTS, 60)
    window = options.count(200, 8)
    little: list[float] = []
    much: list[float] = []
    reads: dict[str, list[float]] = {"short": [], "long": []}
    for _ in range(max(1, options.pairs - 1)):
        with options.place.fresh("history") as database:
            asyncio.run(_grow(database.url, events, window, little, much, reads))
    case = f"append; one saga alone, from its event 10 on, up to its event {events:,}"
    return [_row(case, little, much), _row(f"read; events of the saga: 10, {events:,}", reads["short"], reads["long"])]


async def _grow(
    url: str, events: int, window: int, little: list[float], much: list[float], reads: dict[str, list[float]]
) -> None:
    global turns
    turns = Turns(("long", "fresh"))
    Stubborn.calls.clear()
    async with Orchestrator(url, sagas=[Stubborn]) as orchestrator:
        long = asyncio.create_task(_run(orchestrator, "long", events // 2 - 1, window))
        await turns.came.wait()
        await asyncio.gather(long, _run(orchestrator, "fresh", 5 + window, window))
        await _run(orchestrator, "short", 4, 0)
        little.append(statistics.median(turns.took["fresh"]) * 1e6)
        much.append(statistics.median(turns.took["long"]) * 1e6)
        for name, found in reads.items():
            found.append(await _read_us(orchestrator, name))


async def _run(orchestrator: Orchestrator, name: str, times: int, window: int) -> None:
    data = {"name": name, "times": times, "window": window}
    saga = await orchestrator.run(Stubborn, data, saga_id=name, timeout=PATIENCE)
    if saga.state is not SagaState.COMPLETED or saga.version != 2 + 2 * times:
        raise RuntimeError(f"{saga} should be completed, after {2 + 2 * times} events")


async def _read_us(orchestrator: Orchestrator, saga_id: str) -> float:
    took: list[float] = []
    for _ in range(READS):
        began = time.perf_counter()
        await orchestrator.get(saga_id)
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1e6


def _row(case: str, little: Sequence[float], much: Sequence[float]) -> Row:
    ratio = ratios(much, little)
    return Row(
        {
            "cost of": case,
            "little, µs": statistics.median(little),
            "much, µs": statistics.median(much),
            "ratio": statistics.median(ratio),
            "range": spread(ratio),
        },
        {"little": little, "much": much},
    )
