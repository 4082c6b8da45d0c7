"""A process that has everything imported and forks the processes that are to be killed: a start costs milliseconds.

Reads one job (JSON) per line, forks, waits for the child, and answers with its exit code (negative: the signal that
killed it). What must stay true: at a fork nothing is open and no other thread runs.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import attrs

from sagafsm import Orchestrator
from sagafsm.store import Store, open_store

from .failpoints import PLACES, Failpoints, FailpointStore
from .processes import Process, Processes
from .shapes import World, shape

SAGA_ID = "saga-1"
DATA = {"item": "book"}


async def run(job: dict[str, Any]) -> None:
    """One life of a process: start the saga (or find it started), and see it to its end."""
    folder = Path(job["folder"])
    failpoints = Failpoints(folder, kill_at=job["kill_at"], places=job["places"])
    world = World(folder, failpoints)
    definition = shape(job["shape"], world)
    store = open_store(f"sqlite:///{folder / 'sagas.db'}", clock=lambda: time.time() + job["later"])
    wrapped = cast(Store, FailpointStore(store, failpoints))
    orchestrator = Orchestrator(wrapped, sagas=[definition], poll_interval=0.1)
    async with orchestrator:
        world.orchestrator = orchestrator
        await orchestrator.start(definition, DATA, saga_id=SAGA_ID)
        world.deliver_what_is_left()
        await orchestrator.wait(SAGA_ID, timeout=20)


def warm_up() -> None:
    """Live one life here: what is only imported, compiled or looked up at first use is there for all children."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run({"folder": folder, "shape": "small", "kill_at": 0, "places": (), "later": 0}))
    assert threading.active_count() == 1


def main() -> None:
    """Fork for every job until the standard input ends."""
    warm_up()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                asyncio.run(run(json.loads(line)))
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


@attrs.frozen
class Nursery:
    """The tests' end of it."""

    process: Process

    @classmethod
    def open(cls, processes: Processes) -> Nursery:
        return cls(processes.start("-m", "tests.acceptance.nursery"))

    def run(
        self, shape: str, folder: Path, *, kill_at: int = 0, places: Sequence[str] = PLACES, later: float = 0
    ) -> str | None:
        """Live one life in ``folder``; the name of the place where it was killed, None where it came to its end.

        ``later``: seconds by which the store's clock is ahead.
        """
        job = {"folder": str(folder), "shape": shape, "kill_at": kill_at, "places": list(places), "later": later}
        self.process.say(json.dumps(job))
        code = self.process.line()
        assert code in ("0", "-9"), f"exit code {code}; {self.process.errors[-3000:]}"
        return (folder / "died-at").read_text() if code == "-9" else None


if __name__ == "__main__":
    main()
