"""A script as users write it, which runs one saga and knows nothing of signals.

``python -m tests.acceptance.script '{"folder": …, "name": …, "sync": false}'``; prints how the saga ended. It obeys the
modes of files also where root runs it.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

from sagafsm import Orchestrator, SagaDefinition, Settings, SyncOrchestrator

from .privileges import obey_modes
from .processes import Process, Processes
from .shapes import World, shape

SAGA_ID = "saga-1"


async def run(store: str, saga: SagaDefinition, **options: Any) -> None:
    async with Orchestrator(store, sagas=[saga], **options) as orchestrator:
        ended = await orchestrator.run(saga, {"item": "book"}, saga_id=SAGA_ID)
        print(ended.state.value)


def run_sync(store: str, saga: SagaDefinition, **options: Any) -> None:
    with SyncOrchestrator(store, sagas=[saga], **options) as orchestrator:
        ended = orchestrator.run(saga, {"item": "book"}, saga_id=SAGA_ID)
        print(ended.state.value)


def main(folder: Path, name: str, *, sync: bool, wait: float = 5, patience: float = 10, **options: Any) -> None:
    obey_modes()
    # As in a terminal: a shell lets the jobs in its background ignore Ctrl-C, and their children too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    saga, store = shape(name, World(folder)), f"sqlite:///{folder / 'sagas.db'}?timeout={wait}"
    options["settings"] = Settings(store_patience=patience)
    if sync:
        run_sync(store, saga, **options)
    else:
        asyncio.run(run(store, saga, **options))


def start_script(processes: Processes, folder: Path, name: str, *, sync: bool = False, **options: Any) -> Process:
    """The tests' end of it. ``wait``: seconds for a lock; ``patience``: seconds for a failing store."""
    given = {"folder": str(folder), "name": name, "sync": sync, **options}
    return processes.start("-m", "tests.acceptance.script", json.dumps(given))


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    main(Path(given.pop("folder")), **given)
