"""A process that works until it is told to stop: ``python -m tests.acceptance.worker '{"folder": …}'``.

Says ``ready`` when it works, ``refused ID`` when the store refuses an append because the saga is another's now,
and ``left`` when it has given everything back.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from sagafsm import Orchestrator, Settings
from sagafsm.store import Append, AppendResult, Conflict, Fenced, Store, open_store

from .processes import Process, Processes
from .shapes import World, shape


class TellingStore:
    """Any store; says which appends are refused because somebody else took the saga."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def wait_for_change(self, timeout: float) -> bool:
        return await self._store.wait_for_change(timeout)  # type: ignore[attr-defined,no-any-return]

    async def commit(self, batch: Sequence[Append]) -> Sequence[AppendResult]:
        results = await self._store.commit(batch)
        for append, result in zip(batch, results, strict=True):
            if isinstance(result, (Conflict, Fenced)):
                print("refused", append.saga_id, flush=True)
        return results


async def work(folder: Path, shapes: Sequence[str], concurrency: int, **options: Any) -> None:
    """Work until SIGTERM."""
    world, stop = World(folder), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    store = cast(Store, TellingStore(open_store(f"sqlite:///{folder / 'sagas.db'}?timeout=20")))
    sagas = [shape(name, world) for name in shapes]
    async with Orchestrator(store, sagas=sagas, settings=Settings(concurrency=concurrency), **options):
        print("ready", flush=True)
        await stop.wait()
    print("left", flush=True)


def start_worker(
    processes: Processes, folder: Path, *shapes: str, lease: float, poll_interval: float = 0.2, concurrency: int = 1000
) -> Process:
    """The tests' end of it: one more worker, ready to work."""
    options = {
        "folder": str(folder),
        "shapes": shapes,
        "concurrency": concurrency,
        "lease": lease,
        "poll_interval": poll_interval,
    }
    process = processes.start("-m", "tests.acceptance.worker", json.dumps(options))
    process.hear("ready")
    return process


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    asyncio.run(work(Path(given.pop("folder")), **given))
