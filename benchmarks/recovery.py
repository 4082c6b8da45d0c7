"""How long a fresh process takes over sagas whose process was killed, until all of them have ended.

A child process starts the sagas and is killed with SIGKILL while each has its second step's call in flight. Then the
engine, and the floor, each in a process of its own, go on from a copy of what the killed one left. The floor is given
the same event rows in its own tables; by hand it takes over every saga, reads and decodes its events, and appends what
the engine appends: the call begun anew, and the rest of the saga.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import statistics
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from sagafsm import Orchestrator, Settings

from .children import READY, answer, ask, killed
from .engine import Four, all_ended, close_gate
from .files import count_events, same_rows, sqlite_url
from .floors.job import KEY, STEPS, act, go_on
from .floors.sqlite import SQLiteFloor, open_database
from .options import Options
from .result import Row, Table, ratios, spread

QUESTION = "recovery"
SAGAS = 2_000
LANES = 1_000  # how many the floor takes up at once: what the engine does unless told otherwise
HELD = 1  # the step that was under way


def measure(options: Options) -> list[Table]:
    """Kill once, recover several times from copies, the floor and the engine in turns."""
    sagas = options.count(SAGAS, 20)
    left = options.folder / "killed"
    left.mkdir()
    with killed("recovery", "start", left / "engine.db", sagas):
        pass
    samples: dict[str, list[float]] = {"floor": [], "engine": []}
    for _ in range(options.pairs):
        copy = options.folder / "copy"
        shutil.copytree(left, copy)
        _prepare_floor(copy / "engine.db", copy / "floor.db")
        for name in samples:
            samples[name].append(ask("recovery", name, copy / f"{name}.db", sagas)["seconds"])
        same_rows(count_events(copy / "floor.db", "event"), count_events(copy / "engine.db", "saga_events"))
        shutil.rmtree(copy)
    ratio = ratios(samples["floor"], samples["engine"])
    row = Row(
        {
            "sagas": sagas,
            "floor s": statistics.median(samples["floor"]),
            "engine s": statistics.median(samples["engine"]),
            "ratio": statistics.median(ratio),
            "range": spread(ratio),
        },
        samples,
    )
    note = "from opening to the last saga's end, in a fresh process after its imports; ratio: floor/engine"
    return [Table(QUESTION, "recovery after kill -9, one call in flight per saga", [row], note)]


# --- in the process that is killed ---


async def _start(path: Path, sagas: int) -> None:
    gate = close_gate(sagas)
    async with Orchestrator(sqlite_url(path), sagas=[Four], settings=Settings(concurrency=sagas)) as orchestrator:
        for first in range(0, sagas, 250):
            numbers = range(first, min(first + 250, sagas))
            await asyncio.gather(
                *(orchestrator.start(Four, {"n": n, "fail": False}, saga_id=f"saga-{n}") for n in numbers)
            )
        await gate.full.wait()
        print(READY, flush=True)
        await gate.opened.wait()


# --- in the processes that recover ---


async def _by_engine(path: Path, sagas: int) -> float:
    began = time.perf_counter()
    async with Orchestrator(sqlite_url(path), sagas=[Four]) as orchestrator:
        await all_ended(orchestrator, sagas)
        return time.perf_counter() - began


def _prepare_floor(source: Path, target: Path) -> None:
    """Give the floor the rows that the killed process left."""
    with closing(sqlite3.connect(source)) as killed_one, closing(open_database(target)) as floor:
        found = killed_one.execute("SELECT saga_id, seq, append_id, type, at, CAST(data AS BLOB) FROM saga_events")
        events = found.fetchall()
        now = time.time()
        sagas = [
            (saga_id, "four", "pending", version, 1, "dead", now, now)
            for saga_id, version in killed_one.execute("SELECT id, version FROM sagas")
        ]
        floor.execute("BEGIN")
        floor.executemany("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?)", events)
        floor.executemany("INSERT INTO saga VALUES (?, ?, ?, ?, ?, ?, ?, ?)", sagas)
        floor.execute("COMMIT")


async def _by_floor(path: Path, sagas: int) -> float:
    began = time.perf_counter()
    left = iter((await asyncio.to_thread(_take_over, path)).items())
    floor = SQLiteFloor(path)

    async def lane() -> None:
        for saga_id, events in left:
            await _resume(floor, saga_id, events)

    await asyncio.gather(*(lane() for _ in range(LANES)))
    await floor.close()
    seconds = time.perf_counter() - began
    with closing(open_database(path)) as connection:
        (done,) = connection.execute("SELECT count(*) FROM saga WHERE state = 'completed'").fetchone()
    if done != sagas:
        raise RuntimeError(f"{done} of {sagas} sagas are completed")
    return seconds


def _take_over(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Claim everything that is due and read it; the decoded events of each saga."""
    decode = msgspec.json.decode
    found: dict[str, list[dict[str, Any]]] = {}
    with closing(open_database(path)) as connection:
        connection.execute(
            "UPDATE saga SET owner = 'me', fence = fence + 1 WHERE owner = 'dead' AND due_at <= ?", (time.time(),)
        )
        rows = connection.execute(
            "SELECT e.saga_id, e.data FROM saga s JOIN event e ON e.saga_id = s.id WHERE s.owner = 'me' "
            "ORDER BY e.saga_id, e.seq"
        )
        for saga_id, data in rows:
            found.setdefault(saga_id, []).append(decode(data))
    return found


async def _resume(floor: SQLiteFloor, saga_id: str, events: list[dict[str, Any]]) -> None:
    """The last event says which call was cut short: begin it again, and go on to the end."""
    cut, data = events[-1], events[0]["data"]
    if cut["step"] != STEPS[HELD]:
        raise RuntimeError(f"{saga_id}: killed in {cut['step']}, not in {STEPS[HELD]}")
    again = {"step": cut["step"], "attempt": 1, "idempotency_key": KEY, "interruption": 1}
    version = await floor.append(saga_id, len(events), [("AttemptStarted", again)], state="pending", fence=2)
    await act(data)
    await go_on(floor, saga_id, version, HELD, data, fence=2)


if __name__ == "__main__":
    role, database, number = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    if role == "start":
        asyncio.run(_start(database, number))
    else:
        answer(seconds=asyncio.run((_by_engine if role == "engine" else _by_floor)(database, number)))
