"""A process that has everything imported and forks the processes that are to be killed: a start costs milliseconds.

Reads one job (JSON) per line, forks, waits for the child, and answers with its exit code (negative: the signal that
killed it). What must stay true: at a fork nothing is open and no other thread runs.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
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
from .timers import WAITS

SAGA_ID = "saga-1"
DATA = {"item": "book"}


async def run(job: dict[str, Any]) -> None:
    """One life of a process: start the saga (or find it started), and see it to its end, or until it waits."""
    folder = Path(job["folder"])
    failpoints = Failpoints(folder, kill_at=job["kill_at"], places=job["places"])
    world = World(folder, failpoints)
    name: str = job["shape"]
    definition = WAITS[name][0](world) if name in WAITS else shape(name, world)
    store = open_store(f"sqlite:///{folder / 'sagas.db'}", clock=lambda: time.time() + job["later"])
    wrapped = cast(Store, FailpointStore(store, failpoints))
    orchestrator = Orchestrator(wrapped, sagas=[definition], poll_interval=0.1)
    async with orchestrator:
        world.orchestrator = orchestrator
        await orchestrator.start(definition, DATA, saga_id=SAGA_ID)
        world.deliver_what_is_left()
        if job["leave"] is None:
            await orchestrator.wait(SAGA_ID, timeout=20)
            return
        await orchestrator.resume_all()  # it would go on now, if it could
        async with asyncio.timeout(20):
            while not await waits(orchestrator, WAITS[name][1]):  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)
        if job["leave"] == "killed":
            os.kill(os.getpid(), signal.SIGKILL)


async def waits(orchestrator: Orchestrator, kind: str) -> bool:
    """Whether the saga does nothing but wait, in this way."""
    saga = await orchestrator.get(SAGA_ID)
    return [waiting.kind for waiting in saga.waiting] == [kind]


def warm_up() -> None:
    """Live one life here: what is only imported, compiled or looked up at first use is there for all children."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run({"folder": folder, "shape": "small", "kill_at": 0, "places": (), "later": 0, "leave": None}))
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

    def run(self, shape: str, folder: Path, *, kill_at: int = 0, places: Sequence[str] = PLACES) -> str | None:
        """Live one life in ``folder``; the name of the place where it was killed, None where it came to its end."""
        code = self._live(folder, shape, kill_at=kill_at, places=list(places))
        return (folder / "died-at").read_text() if code == -signal.SIGKILL else None

    def wait(self, name: str, folder: Path, *, leave: str | None, later: float) -> None:
        """Live until the saga waits, then leave in peace or ``killed``; ``leave`` None: live until the saga ends.

        ``later``: seconds by which the store's clock is ahead.
        """
        assert self._live(folder, name, leave=leave, later=later) == (-signal.SIGKILL if leave == "killed" else 0)

    def _live(self, folder: Path, name: str, **given: object) -> int:
        job = {"folder": str(folder), "shape": name, "kill_at": 0, "places": [], "later": 0, "leave": None}
        self.process.say(json.dumps(job | given))
        code = int(self.process.line() or 1)
        assert code in (0, -signal.SIGKILL), f"exit code {code}; {self.process.errors[-3000:]}"
        return code


if __name__ == "__main__":
    main()
