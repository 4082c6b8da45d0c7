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

from . import recovery
from .children import ask, killed
from .engine import run_engine
from .floors.base import Place
from .options import Options
from .result import Row, Run, Skipped, Table, ratios, spread

QUESTION = "peers"
SAGAS = {1: (1_000, 100), 128: (6_000, 600)}  # of the engine, of DBOS
OLDEST_SQLITE = (3, 42)


def measure(options: Options) -> list[Table]:
    """Both paths, alone and with 128 in flight, and recovery. Raises Skipped where DBOS cannot run."""
    if find_spec("dbos") is None:
        raise Skipped("DBOS is not installed: pip install 'sagafsm[peers]'")
    if options.store == "sqlite" and sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise Skipped(f"DBOS needs SQLite 3.42, and this Python has {sqlite3.sqlite_version}")
    sizes = {4: (8, 4)} if options.quick else SAGAS
    rows: list[Row] = []
    for fail in (False,) if options.quick else (False, True):
        for in_flight, (ours, theirs) in sizes.items():
            pairs = [_pair(options.place, ours, theirs, in_flight, fail) for _ in range(options.pairs)]
            rows.append(_row(pairs, in_flight, fail))
    note = "ratio: sagafsm/DBOS of each pair, median and range; p50: ms that one saga takes, its ratio: sagafsm/DBOS"
    return [Table(QUESTION, "sagas/s, sagafsm against DBOS", rows, note), _recovery(options)]


def _pair(place: Place, ours: int, theirs: int, in_flight: int, fail: bool) -> tuple[Run, Run]:
    with place.fresh("dbos") as database:
        dbos = Run(**ask("dbos_job", "fail" if fail else "succeed", database.url, theirs, in_flight))
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


def _recovery(options: Options) -> Table:
    sagas = options.count(recovery.SAGAS, 4)
    samples: dict[str, list[float]] = {"dbos": [], "engine": []}
    for _ in range(options.pairs):
        with options.place.fresh("dbos") as database:
            with killed("dbos_job", "start", database.url, sagas, 0):
                pass
            samples["dbos"].append(ask("dbos_job", "recover", database.url, sagas, 0)["seconds"])
        with options.place.fresh("engine") as database:
            with killed(recovery.QUESTION, "start", options.store, database.url, sagas):
                pass
            samples["engine"].append(ask(recovery.QUESTION, "engine", options.store, database.url, sagas)["seconds"])
    ratio = ratios(samples["dbos"], samples["engine"])
    cells = {
        "sagas": sagas,
        "DBOS s": statistics.median(samples["dbos"]),
        "sagafsm s": statistics.median(samples["engine"]),
        "ratio": statistics.median(ratio),
        "range": spread(ratio),
    }
    note = "from opening to the last saga's end, in a fresh process after its imports; ratio: DBOS/sagafsm"
    return Table(QUESTION, "recovery after kill -9, one call in flight per saga", [Row(cells, samples)], note)
