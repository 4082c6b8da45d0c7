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


async def work(folder: Path, store_url: str, shapes: Sequence[str], concurrency: int, **options: Any) -> None:
    """Work until SIGTERM."""
    world, stop = World(folder), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    store = cast(Store, TellingStore(open_store(store_url)))
    sagas = [shape(name, world) for name in shapes]
    async with Orchestrator(store, sagas=sagas, settings=Settings(concurrency=concurrency), **options):
        print("ready", flush=True)
        await stop.wait()
    print("left", flush=True)


def start_worker(
    processes: Processes,
    folder: Path,
    *shapes: str,
    lease: float,
    poll_interval: float = 0.2,
    concurrency: int = 1000,
    store_url: str | None = None,
    wait: bool = True,
) -> Process:
    """The tests' end of it: one more worker, ready to work (``wait`` false: perhaps not yet).

    ``store_url`` None: the sagas' file in the folder.
    """
    options = {
        "folder": str(folder),
        "store_url": store_url or f"sqlite:///{folder / 'sagas.db'}?timeout=20",
        "shapes": shapes,
        "concurrency": concurrency,
        "lease": lease,
        "poll_interval": poll_interval,
    }
    process = processes.start("-m", "tests.acceptance.worker", json.dumps(options))
    if wait:
        process.hear("ready")
    return process


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    asyncio.run(work(Path(given.pop("folder")), **given))
