"""How long a fresh process takes over sagas whose process was killed, until all of them have ended.

A child process starts the sagas and is killed with SIGKILL while each has its second step's call in flight. The floor
is given the same event rows in its own tables. Then floor and engine, each in a process of its own, go on from there;
by hand it takes over every saga, reads and decodes its events, and appends what the engine appends: the call begun
anew, and the rest of the saga.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sagafsm import Orchestrator, Settings, open_store

from .children import READY, answer, ask, killed
from .engine import Four, all_ended, close_gate
from .files import same_rows
from .floors.base import Database, Event, Floor, find
from .floors.job import KEY, STEPS, act, go_on
from .options import Options
from .result import Row, Table, ratios, spread

QUESTION = "recovery"
SAGAS = 2_000
LANES = 1_000  # how many the floor takes up at once: what the engine does unless told otherwise
AT_ONCE = 250
HELD = 1  # the step that was under way


def measure(options: Options) -> list[Table]:
    """Kill, recover by hand and by the engine; again and again."""
    sagas = options.count(SAGAS, 20)
    samples: dict[str, list[float]] = {"floor": [], "engine": []}
    for _ in range(options.pairs):
        with options.place.fresh("engine") as left, options.place.fresh("floor") as copy:
            with killed(QUESTION, "start", options.store, left.url, sagas):
                pass
            asyncio.run(_give(copy, asyncio.run(_read(left.url, sagas))))
            copy.settle()
            for role, database in (("floor", copy), ("engine", left)):
                samples[role].append(ask(QUESTION, role, options.store, database.url, sagas)["seconds"])
            same_rows(copy.count_floor(), left.count_engine())
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


async def _start(url: str, sagas: int) -> None:
    gate = close_gate(sagas)
    async with Orchestrator(url, sagas=[Four], settings=Settings(concurrency=sagas)) as orchestrator:
        for first in range(0, sagas, AT_ONCE):
            numbers = range(first, min(first + AT_ONCE, sagas))
            await asyncio.gather(
                *(orchestrator.start(Four, {"n": n, "fail": False}, saga_id=f"saga-{n}") for n in numbers)
            )
        await gate.full.wait()
        print(READY, flush=True)
        await gate.opened.wait()


# --- between the two ---


async def _read(url: str, sagas: int) -> Mapping[str, Sequence[Event]]:
    """What the killed process left."""
    store, left = open_store(url), {}
    await store.setup()
    try:
        for first in range(0, sagas, AT_ONCE):
            found = await store.load([f"saga-{n}" for n in range(first, min(first + AT_ONCE, sagas))])
            left |= {name: [(e.type, msgspec.json.decode(e.data)) for e in saga.events] for name, saga in found.items()}
    finally:
        await store.close()
    if len(left) != sagas:
        raise RuntimeError(f"{len(left)} of {sagas} sagas were left")
    return left


async def _give(database: Database, left: Mapping[str, Sequence[Event]]) -> None:
    """The same rows for the floor."""
    floor = await database.open_floor()
    names = iter(left)

    async def lane() -> None:
        for name in names:
            await floor.append(name, 0, left[name], state="pending")

    await asyncio.gather(*(lane() for _ in range(AT_ONCE)))
    await floor.close()


# --- in the processes that recover ---


async def _by_engine(url: str, sagas: int) -> float:
    open_store(url)  # imports it and its driver, and connects to nothing
    began = time.perf_counter()
    async with Orchestrator(url, sagas=[Four]) as orchestrator:
        await all_ended(orchestrator, sagas)
        return time.perf_counter() - began


async def _by_floor(store: str, url: str, sagas: int) -> float:
    began = time.perf_counter()
    floor = await find(store, url).open_floor()
    left = await floor.take_over()
    if len(left) != sagas:
        raise RuntimeError(f"{len(left)} of {sagas} sagas were left")
    names = iter(left)

    async def lane() -> None:
        for name in names:
            await _resume(floor, name, left[name])

    await asyncio.gather(*(lane() for _ in range(LANES)))
    await floor.close()
    return time.perf_counter() - began


async def _resume(floor: Floor, saga_id: str, events: Sequence[dict[str, Any]]) -> None:
    """The last event says which call was cut short: begin it again, and go on to the end."""
    cut, data = events[-1], events[0]["data"]
    if cut["step"] != STEPS[HELD]:
        raise RuntimeError(f"{saga_id}: killed in {cut['step']}, not in {STEPS[HELD]}")
    again = {"step": cut["step"], "attempt": 1, "idempotency_key": KEY, "interruption": 1}
    version = await floor.append(saga_id, len(events), [("AttemptStarted", again)], state="pending", fence=2)
    await act(data)
    await go_on(floor, saga_id, version, HELD, data, fence=2)


def _main(role: str, store: str, url: str, sagas: int) -> None:
    if role == "start":
        asyncio.run(_start(url, sagas))
    else:
        answer(seconds=asyncio.run(_by_engine(url, sagas) if role == "engine" else _by_floor(store, url, sagas)))


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
