"""How many sagas a second, and how long one takes: the engine against the floor, run by run in turns."""

from __future__ import annotations

import asyncio
import gc
import statistics
from collections.abc import Sequence

from .engine import run_engine
from .files import same_rows
from .floors.base import Place
from .floors.job import run_floor
from .options import Options
from .result import Row, Run, Table, ratios, spread

QUESTION = "throughput"
SAGAS = {1: 1_000, 128: 6_000, 1000: 6_000}


def measure(options: Options) -> list[Table]:
    """Both paths at each number of sagas in flight."""
    sizes = {4: 8} if options.quick else SAGAS
    rows: list[Row] = []
    for fail in (False, True):
        for in_flight, full in sizes.items():
            sagas = options.work(full, full)
            # The first run of anything pays for imports and for files that the disk has not seen yet.
            if not options.quick:
                _pair(options.place, min(sagas, 200), in_flight, fail)
            pairs = [_pair(options.place, sagas, in_flight, fail) for _ in range(options.pairs)]
            rows.append(_row(pairs, sagas, in_flight, fail))
    note = (
        "happy: 5 appends, compensation: 8; ratio: engine/floor of each pair, median and range; p50: ms that one saga "
        "takes, its ratio: engine/floor"
    )
    return [Table(QUESTION, "sagas/s, engine against floor", rows, note)]


def _pair(place: Place, sagas: int, in_flight: int, fail: bool) -> tuple[Run, Run]:
    with place.fresh("floor") as database:
        gc.collect()
        floor = asyncio.run(run_floor(database, sagas, in_flight, fail=fail))
        by_floor = database.count_floor()
    with place.fresh("engine") as database:
        gc.collect()
        engine = asyncio.run(run_engine(database.url, sagas, in_flight, fail=fail))
        by_engine = database.count_engine()
    same_rows(by_floor, by_engine)
    return floor, engine


def _row(pairs: Sequence[tuple[Run, Run]], sagas: int, in_flight: int, fail: bool) -> Row:
    samples = {
        "floor_rate": [floor.rate for floor, _ in pairs],
        "engine_rate": [engine.rate for _, engine in pairs],
        "floor_p50": [floor.p50 for floor, _ in pairs],
        "engine_p50": [engine.p50 for _, engine in pairs],
    }
    rate = ratios(samples["engine_rate"], samples["floor_rate"])
    latency = ratios(samples["engine_p50"], samples["floor_p50"])
    return Row(
        {
            "path": "compensation" if fail else "happy",
            "in flight": in_flight,
            "sagas": sagas,
            "floor/s": statistics.median(samples["floor_rate"]),
            "engine/s": statistics.median(samples["engine_rate"]),
            "ratio": statistics.median(rate),
            "range": spread(rate),
            "floor p50": statistics.median(samples["floor_p50"]),
            "engine p50": statistics.median(samples["engine_p50"]),
            "p50 ratio": statistics.median(latency),
        },
        samples,
    )
