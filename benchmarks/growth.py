"""Whether an append costs more the more there is: finished sagas, waiting sagas, events of the saga itself.

Sagas in great number are copies of one that was run: rows like those of the engine, written through the store.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sagafsm import Orchestrator, RetryPolicy, Saga, SagaState, open_store, step
from sagafsm.store import Append, Birth, NewEvent, Store, StoredSaga

from .children import PATIENCE
from .engine import Approval, Nap, run_engine
from .files import fresh, sqlite_url
from .options import Options
from .result import Row, Table, ratios, spread

QUESTION = "growth"
APPENDS = 5  # of one saga of the job
IN_FLIGHT = 128
AT_ONCE = 500  # copies in one commit


class Stubborn(Saga[int]):
    """Fails so many times, each time with two events, before it succeeds; notes when it was called."""

    called: list[float] = []  # noqa: RUF012 - of the process, not of the saga

    @step(compensatable=False, retry=RetryPolicy(max_attempts=None, initial_interval=0, jitter=0))
    async def insist(self, times: int) -> None:
        self.called.append(time.perf_counter())
        if len(self.called) < times:
            raise RuntimeError("not yet")


def measure(options: Options) -> list[Table]:
    """What lies in the store, then what lies in the saga's own log."""
    rows = [_finished(options), *_waiting(options), *_history(options)]
    note = "µs of wall time, median; ratio: much/little of each pair, median and range; 1 is: it does not grow"
    return [Table(QUESTION, "cost as things grow", rows, note)]


# --- what lies in the store ---


def _finished(options: Options) -> Row:
    count = options.count(1_000_000 if options.million else 100_000, 50)
    with fresh(options.folder, "much") as path:
        asyncio.run(run_engine(sqlite_url(path), 1, 1, prefix="copied"))
        asyncio.run(_multiply(path, count))
        return _compare(options, f"append; finished sagas: 0, {count:,}", path, None)


def _waiting(options: Options) -> list[Row]:
    count = options.count(10_000, 50)
    rows: list[Row] = []
    for saga, what in ((Approval, "a signal"), (Nap, "a time")):
        with fresh(options.folder, "much") as path:
            asyncio.run(_begin(path, saga))
            asyncio.run(_multiply(path, count))
            rows.append(_compare(options, f"append; sagas waiting for {what}: 1, {count:,}", path, saga))
    return rows


def _compare(options: Options, case: str, much: Path, beside: type[Saga[Any]] | None) -> Row:
    """Run the job in turns on a store with little in it and on the one with much."""
    sagas = options.count(4_000, 16)
    little: list[float] = []
    more: list[float] = []
    for turn in range(options.pairs):
        with fresh(options.folder, "little") as path:
            if beside is not None:
                asyncio.run(_begin(path, beside))
            pair = [(little, path), (more, much)]
            # There is no third run between them to tell whether the second is always the luckier one.
            for samples, database in pair if turn % 2 == 0 else reversed(pair):
                samples.append(_append_us(database, sagas, turn, beside))
    return _row(case, little, more)


def _append_us(path: Path, sagas: int, turn: int, beside: type[Saga[Any]] | None) -> float:
    gc.collect()
    kinds = [] if beside is None else [beside]
    job = run_engine(sqlite_url(path), sagas, min(IN_FLIGHT, sagas), prefix=f"turn-{turn}", beside=kinds)
    run = asyncio.run(job)
    return run.seconds / (sagas * APPENDS) * 1e6


async def _begin(path: Path, saga: type[Saga[Any]]) -> None:
    async with Orchestrator(sqlite_url(path), sagas=[saga]) as orchestrator:
        await orchestrator.start(saga, {}, saga_id="copied-0")


async def _multiply(path: Path, count: int) -> None:
    """Copy the saga that was run, until there are so many."""
    store = open_store(sqlite_url(path))
    await store.setup()
    try:
        original = (await store.load(["copied-0"]))["copied-0"]
        for first in range(1, count, AT_ONCE):
            batch = [_copy(original, f"copied-{n}") for n in range(first, min(first + AT_ONCE, count))]
            for result in await store.commit(batch):
                if type(result).__name__ != "Committed":
                    raise RuntimeError(f"a copy was not accepted: {result}")
        await _be_whole(store, f"copied-{count - 1}")
    finally:
        await store.close()


async def _be_whole(store: Store, saga_id: str) -> None:
    if saga_id not in await store.load([saga_id]):
        raise RuntimeError(f"{saga_id} was not copied")


def _copy(original: StoredSaga, saga_id: str) -> Append:
    record = original.record
    old, new = f'"{record.saga_id}"'.encode(), f'"{saga_id}"'.encode()
    return Append(
        saga_id=saga_id,
        append_id=f"copy-{saga_id}",
        expected_version=0,
        fence=record.fence,
        events=[NewEvent(event.type, event.at, event.data.replace(old, new)) for event in original.events],
        state=record.state,
        outcome=record.outcome,
        due_at=record.due_at,
        updated_at=record.updated_at,
        finished_at=record.finished_at,
        birth=Birth(
            saga_type=record.saga_type,
            kind=record.kind,
            correlation_id=saga_id,
            digest=record.digest,
            created_at=record.created_at,
        ),
    )


# --- what lies in the saga's own log ---


def _history(options: Options) -> list[Row]:
    """The last appends of a saga that goes on and on, against the first ones of another; and how long reading takes."""
    events = options.count(10_000, 60)
    window = options.count(200, 10)
    samples: dict[str, list[float]] = {"first": [], "last": [], "read short": [], "read long": []}
    for _ in range(max(1, options.pairs // 2)):
        with fresh(options.folder, "history") as path:
            asyncio.run(_grow(path, events, window, samples))
    return [
        _row(
            f"append; one saga alone, from its event 10 on, up to its event {events:,}",
            samples["first"],
            samples["last"],
        ),
        _row(f"read; events of the saga: 10, {events:,}", samples["read short"], samples["read long"]),
    ]


async def _grow(path: Path, events: int, window: int, samples: dict[str, list[float]]) -> None:
    # Every call is two events. The long saga comes first, because appends are dearer while SQLite's log file grows.
    calls = {"long": events // 2 - 1, "fresh": 5 + window, "short": 4}
    took: dict[str, list[float]] = {}
    async with Orchestrator(sqlite_url(path), sagas=[Stubborn]) as orchestrator:
        for name, times in calls.items():
            Stubborn.called.clear()
            saga = await orchestrator.run(Stubborn, times, saga_id=name, timeout=PATIENCE)
            if saga.state is not SagaState.COMPLETED or saga.version != 2 + 2 * times:
                raise RuntimeError(f"{saga} should be completed, after {2 + 2 * times} events")
            took[name] = [after - before for before, after in itertools.pairwise(Stubborn.called)]
        samples["first"].append(statistics.median(took["fresh"][-window:]) * 1e6)
        samples["last"].append(statistics.median(took["long"][-window:]) * 1e6)
        for name in ("short", "long"):
            samples[f"read {name}"].append(await _read_us(orchestrator, name))


async def _read_us(orchestrator: Orchestrator, saga_id: str) -> float:
    took: list[float] = []
    for _ in range(50):
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
