"""Copying sagas from one store to another, by URL.

What must stay true: whatever was opened here is closed, and what was handed in open stays open. Names of stores go
into marks and reports without a password.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from ..core.errors import InvalidInput
from ..core.secrets import redact
from ..moving import CopyReport, Ends, Wishes, copy_between, undo_moves
from ..store import Store, open_store
from .environment import Environment

PROBE = 10.0
"""Seconds for which a copier registers to see whether both stores are one, should it be killed at that moment."""


async def copy_sagas(
    source: str | Store,
    target: str | Store,
    *,
    finished_only: bool = False,
    keep: bool = False,
    wait: float = 30.0,
    verify: bool = True,
    progress: Callable[[CopyReport], None] | None = None,
    source_name: str | None = None,
    target_name: str | None = None,
) -> CopyReport:
    """Copy the sagas of one store into another: definitions, records, whole logs; what became of it.

    ``source`` and ``target``: URLs, or stores that are set up already. The target is made where it does not exist.

    Sagas that have ended stay at the source as well. A live one moves: it goes on at the target, and stays at the
    source marked as moved, where everything that is said to it raises SagaMoved. One that a worker of the source is
    busy with is tried again for ``wait`` seconds, then left alone. ``finished_only`` leaves all live ones alone.
    ``keep`` leaves them alive at the source: their copies are set aside at the target until a later run without it.

    Run it again after an interruption: what is there is recognised. ``verify`` reads both stores at the end and
    compares the logs. ``progress`` is called now and then. ``source_name`` and ``target_name``: what the stores are
    called in marks, the same in each run (default: their URLs, without passwords). Raises InvalidInput where both are
    the same store, and what the stores raise.
    """
    ends_names = _names(source, target, source_name, target_name)
    if not wait >= 0:
        raise InvalidInput(f"wait is in seconds and not negative, got {wait!r}")
    environment = Environment()
    async with _opened(source, migrate=False) as first, _opened(target, migrate=True) as second:
        for store in (first, second):
            await _bury_the_dead(store, environment)
        ends = Ends(
            source=first,
            target=second,
            source_name=ends_names[0],
            target_name=ends_names[1],
            worker_id=environment.worker_id(),
        )
        if not (finished_only or keep):  # else the source is only read, and the copier may be allowed no more
            await _refuse_one_database(ends)
        wishes = Wishes(finished_only=finished_only, keep=keep, wait=wait, verify=verify)
        return await copy_between(ends, wishes, progress or (lambda report: None))


async def undo_copy(source: str | Store, target_name: str) -> int:
    """Free what was marked at ``source`` as moved to a target that is lost for good; return how many sagas.

    They go on at the source from where they were when they were moved. Never do this while the target can still run
    them: then bring them back with a copy in the other direction.
    """
    async with _opened(source, migrate=False) as store:
        return await undo_moves(store, _shown(target_name))


def _names(
    source: str | Store, target: str | Store, source_name: str | None, target_name: str | None
) -> tuple[str, str]:
    first, second = _shown(source_name or source), _shown(target_name or target)
    if source is target or first == second:
        raise InvalidInput(
            f"{first} cannot be copied to itself; where two stores only look the same, give source_name and target_name"
        )
    return first, second


def _shown(store: str | Store) -> str:
    """A store's name for marks: it must not hold what separates the parts of one."""
    name = redact(store) if isinstance(store, str) else type(store).__name__
    return name.replace(";", ",")[:500]


@asynccontextmanager
async def _opened(store: str | Store, *, migrate: bool) -> AsyncIterator[Store]:
    if not isinstance(store, str):
        yield store
        return
    made = open_store(store)
    try:
        await made.setup(migrate=migrate)
        yield made
    finally:
        await made.close()


async def _refuse_one_database(ends: Ends) -> None:
    """Two URLs can name one database: what registers in one of two does not show in the other."""
    await ends.source.heartbeat(ends.worker_id, PROBE)
    try:
        known = {worker.worker_id for worker in await ends.target.workers()}
    finally:
        await ends.source.retire(ends.worker_id)
    if ends.worker_id in known:
        raise InvalidInput(
            f"{ends.source_name} and {ends.target_name} are the same database; it cannot be copied to itself"
        )


async def _bury_the_dead(store: Store, environment: Environment) -> None:
    """What a process of this host held that is gone need not be waited for."""
    for worker in await store.workers():
        if environment.is_dead(worker.worker_id):
            await store.retire(worker.worker_id)
