"""How many times as fast as DBOS, the nearest library of the field: the same job on the same server, in turns.

DBOS is an extra of the benchmarks only (``pip install 'sagafsm[peers]'``), never a dependency. On SQLite it needs
version 3.42 or newer.
"""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import statistics
from importlib.util import find_spec

from .children import ask
from .engine import run_engine
from .floors.base import Place, open_place
from .options import Options
from .result import Row, Run, Table, ratios, spread

QUESTION = "peers"
SAGAS = {1: (1_000, 100), 128: (10_000, 600)}  # of the engine, of DBOS
OLDEST_SQLITE = (3, 42)


def measure(options: Options) -> list[Table]:
    """Both paths, alone and with 128 in flight. Ends the program with a reason where DBOS cannot run."""
    if find_spec("dbos") is None:
        raise SystemExit("DBOS is not installed: pip install 'sagafsm[peers]'")
    if options.store == "sqlite" and sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise SystemExit(f"DBOS needs SQLite 3.42, and this is {sqlite3.sqlite_version}; try --store postgresql")
    sizes = {4: (8, 4)} if options.quick else SAGAS
    rows: list[Row] = []
    with open_place(options.store, options.folder) as place:
        for fail in (False, True):
            for in_flight, (ours, theirs) in sizes.items():
                pairs = [_pair(place, ours, theirs, in_flight, fail) for _ in range(options.pairs)]
                rows.append(_row(pairs, in_flight, fail))
    return [
        Table(
            QUESTION,
            f"sagas/s, sagafsm against DBOS, {options.store}",
            rows,
            "ratio: sagafsm/DBOS of each pair, median and range; p50: ms that one saga takes, its ratio: sagafsm/DBOS",
        )
    ]


def _pair(place: Place, ours: int, theirs: int, in_flight: int, fail: bool) -> tuple[Run, Run]:
    with place.fresh("dbos") as database:
        dbos = Run(**ask("dbos_job", database.url, theirs, in_flight, "fail" if fail else "succeed"))
    with place.fresh("engine") as database:
        gc.collect()
        engine = asyncio.run(run_engine(database.url, ours, in_flight, fail=fail))
    return dbos, engine


def _row(pairs: list[tuple[Run, Run]], in_flight: int, fail: bool) -> Row:
    samples = {
        "dbos_rate": [dbos.rate for dbos, _ in pairs],
        "engine_rate": [engine.rate for _, engine in pairs],
        "dbos_p50": [dbos.p50 for dbos, _ in pairs],
        "engine_p50": [engine.p50 for _, engine in pairs],
    }
    rate = ratios(samples["engine_rate"], samples["dbos_rate"])
    latency = ratios(samples["engine_p50"], samples["dbos_p50"])
    return Row(
        {
            "path": "compensation" if fail else "happy",
            "in flight": in_flight,
            "DBOS/s": statistics.median(samples["dbos_rate"]),
            "sagafsm/s": statistics.median(samples["engine_rate"]),
            "ratio": statistics.median(rate),
            "range": spread(rate),
            "DBOS p50": statistics.median(samples["dbos_p50"]),
            "sagafsm p50": statistics.median(samples["engine_p50"]),
            "p50 ratio": statistics.median(latency),
        },
        samples,
    )
