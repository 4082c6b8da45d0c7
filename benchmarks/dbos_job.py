"""The same job by DBOS, in a process of its own: ``python -m benchmarks.dbos_job ROLE URL SAGAS IN_FLIGHT``.

Four trivial steps with a result of about 200 bytes each; where the fourth fails, three compensations, which are steps
as well. DBOS has no sagas: undoing is written by hand, as its documentation does it. Its best setting is used: plain
functions (its async ones run in threads all the same), an executor of 32 threads and as many connections. Only the
process that is to be killed has a thread for each workflow, so that each can have its second step under way.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from dbos import DBOS

from .children import READY, answer
from .floors.job import RESULT

THREADS = 32
UNDER_WAY = ["PENDING", "ENQUEUED"]  # what is recovered is put into a queue first
LOOK = 0.05  # seconds between two looks at whether all have ended: one small read

gate: threading.Semaphore | None = None
"""None: no workflow is held in its second step."""


@DBOS.step()
def act(step: str, data: dict[str, Any]) -> dict[str, Any]:
    """A trivial step."""
    if gate is not None and step == "charge":
        gate.release()
        threading.Event().wait()
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


def measure(url: str, sagas: int, in_flight: int, *, fail: bool) -> None:
    """Run a few to warm up, run and answer."""
    _launch(url, THREADS)
    try:
        run(min(sagas, 20), min(in_flight, 20), fail=fail)
        seconds, took = run(sagas, in_flight, fail=fail)
    finally:
        DBOS.destroy()
    answer(seconds=seconds, took=took)


def start(url: str, sagas: int) -> None:
    """Start so many, and be killed when each is in its second step."""
    global gate
    gate = threading.Semaphore(0)
    _launch(url, sagas)
    for number in range(sagas):
        DBOS.start_workflow(four, {"n": number, "fail": False})
    for _ in range(sagas):
        gate.acquire()
    print(READY, flush=True)
    threading.Event().wait()


def recover(url: str, sagas: int) -> None:
    """Go on with what the killed one left: DBOS does it when it is launched."""
    began = time.perf_counter()
    _launch(url, THREADS)
    while DBOS.list_workflows(status=UNDER_WAY, limit=1, load_input=False, load_output=False):
        time.sleep(LOOK)
    seconds = time.perf_counter() - began
    ended = len(DBOS.list_workflows(status="SUCCESS", load_input=False, load_output=False))
    DBOS.destroy()
    if ended != sagas:
        raise RuntimeError(f"{ended} of {sagas} ended")
    answer(seconds=seconds)


def _launch(url: str, threads: int) -> None:
    logging.disable(logging.CRITICAL)
    DBOS(
        config={
            "name": "benchmark", "system_database_url": url, "log_level": "CRITICAL", "enable_otlp": False,
            "max_executor_threads": threads, "sys_db_pool_size": THREADS, "application_version": "1",
        }
    )  # fmt: skip
    DBOS.launch()


def _main(role: str, url: str, sagas: int, in_flight: int) -> None:
    if role == "start":
        start(url, sagas)
    elif role == "recover":
        recover(url, sagas)
    else:
        measure(url, sagas, in_flight, fail=role == "fail")


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
