"""The same job by DBOS, in a process of its own: ``python -m benchmarks.dbos_job URL SAGAS IN_FLIGHT FAIL``.

Four trivial steps with a result of about 200 bytes each; where the fourth fails, three compensations, which are steps
as well. DBOS has no sagas: undoing is written by hand, as its documentation does it. Its best setting is used: plain
functions (its async ones run in threads all the same), an executor of 32 threads and as many connections.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from dbos import DBOS

from .children import answer
from .floors.job import RESULT

THREADS = 32


@DBOS.step()
def act(step: str, data: dict[str, Any]) -> dict[str, Any]:
    """A trivial step."""
    if step == "confirm" and data["fail"]:
        raise ValueError("the fourth step fails")
    return RESULT


@DBOS.step()
def undo(step: str, data: dict[str, Any]) -> None:
    """A trivial compensation."""


@DBOS.workflow()
def four(data: dict[str, Any]) -> str:
    """Four steps, or three and their compensations."""
    done: list[str] = []
    try:
        for step in ("reserve", "charge", "ship", "confirm"):
            act(step, data)
            done.append(step)
    except ValueError:
        for step in reversed(done):
            undo(step, data)
        return "compensated"
    return "completed"


def run(sagas: int, in_flight: int, *, fail: bool) -> tuple[float, list[float]]:
    """Run so many, so many at a time; the seconds of it all, and of each."""
    took: list[float] = []
    expected = "compensated" if fail else "completed"
    wrong: list[object] = []
    lock = threading.Lock()

    def client(numbers: Iterator[int]) -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            began = time.perf_counter()
            outcome = DBOS.start_workflow(four, {"n": number, "fail": fail}).get_result()
            took.append(time.perf_counter() - began)
            if outcome != expected:
                wrong.append(outcome)

    numbers = iter(range(sagas))
    clients = [threading.Thread(target=client, args=(numbers,)) for _ in range(in_flight)]
    began = time.perf_counter()
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    seconds = time.perf_counter() - began
    if wrong or len(took) != sagas:
        raise RuntimeError(f"{len(took)} of {sagas} ended; outcomes that were not {expected}: {wrong[:3]}")
    return seconds, took


def main(url: str, sagas: int, in_flight: int, fail: bool) -> None:
    """Launch DBOS, run a few to warm up, run and answer."""
    logging.disable(logging.CRITICAL)
    DBOS(
        config={
            "name": "benchmark", "system_database_url": url, "log_level": "CRITICAL", "enable_otlp": False,
            "max_executor_threads": THREADS, "sys_db_pool_size": THREADS,
        }
    )  # fmt: skip
    DBOS.launch()
    try:
        run(min(sagas, 20), min(in_flight, 20), fail=fail)
        seconds, took = run(sagas, in_flight, fail=fail)
    finally:
        DBOS.destroy()
    answer(seconds=seconds, took=took)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "fail")
