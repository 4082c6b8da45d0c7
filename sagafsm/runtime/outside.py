"""Writing to a saga from outside its driver: replies, signals, operators' verbs, parents and children.

What must stay true: the answer is decided in the log. Where the saga is driven in this process its driver decides and
goes on at once; where it is not, the event alone is appended, under the version and the fence that were read, and
whoever owns the saga (or claims it next) acts on it. A lost race is read and decided again, never overwritten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from ..core import commands as c
from ..core import events as e
from ..core.decider import decide
from ..core.decision import Decision
from ..core.definition import SagaDefinition
from ..core.errors import OutcomeUnknown, SagaNotFound, StoreCorrupt, StoreError
from ..core.instance import SagaInstance
from ..core.progress import Progress
from ..core.shape import definition_from_shape
from ..store import Append, Committed, Duplicate, Record, Refused, StoredSaga
from .appending import append_for
from .driver import LostOwnership

if TYPE_CHECKING:
    from .engine import Engine


async def tell(engine: Engine, saga_id: str, given: c.Input) -> tuple[c.Delivery, SagaInstance]:
    """Give a saga an input, wherever it is driven; what became of it, and the saga as it is then.

    Raises SagaNotFound, and what the decider raises for what cannot be.
    """
    return await engine.to_the_end(_tell(engine, saga_id, given))


async def _tell(engine: Engine, saga_id: str, given: c.Input) -> tuple[c.Delivery, SagaInstance]:
    while True:
        driver = engine.drivers.get(saga_id)
        if driver is not None and not driver.let_go:
            try:
                delivery, after = await driver.apply(given)
            except LostOwnership:
                continue
            except OutcomeUnknown as exc:
                engine.orphaned(driver, exc)  # the log may name calls of which its driver knows nothing
                raise
            return delivery, engine.instance(after)
        stored = await read(engine, saga_id)
        progress = engine.progress_of(stored)
        definition = await definition_for(engine, progress)
        now = engine.clock() if engine.lease_holds() else await engine.store.now()
        decision = decide(definition, progress, given, now, engine.surroundings, advance=False)
        problem = None if _gives_up(decision) else stored.record.problem
        if not decision.events:
            return decision.delivery, engine.instance(progress, problem)
        if await _append(engine, stored.record, given, decision, now):
            engine.wake_at(now)
            instance = engine.instance(decision.progress, problem)
            await engine.heard(instance, decision.events)
            return decision.delivery, instance


async def _append(engine: Engine, record: Record, given: c.Input, decision: Decision, now: float) -> bool:
    """Append what was decided; False where somebody else wrote in the meantime."""
    progress = decision.progress
    # A saga that was only created waits for somebody to start it, whatever else it is told meanwhile. (One that is
    # stuck was started: the limit of its first call had a bad key.)
    asleep = _asleep(record) and not (record.stuck or progress.abort or isinstance(given, c.ResumeAsked))
    # One that is stuck waits for a person; one whose sub-saga is, goes on looking at that.
    held = progress.stuck and progress.stuck_child is None
    # One that was set aside waits for a person too, who may also give it up.
    aside = record.problem is not None and not _gives_up(decision)
    append = append_for(
        engine,
        progress,
        decision.events,
        fence=record.fence,
        owner=record.owner,
        due_at=None if asleep or progress.suspended or held or aside else now,
        now=now,
        attention=record.owner is not None,
    )
    if aside:
        append = replace(append, stuck=True, problem=record.problem)
    result = await engine.journal.commit(append)
    if isinstance(result, Refused):
        raise StoreError(f"saga {record.saga_id}: the store refuses this: {result.reason}")
    return isinstance(result, (Committed, Duplicate))


def _gives_up(decision: Decision) -> bool:
    return any(isinstance(event, e.AbortRequested) for event in decision.events)


def _asleep(record: Record) -> bool:
    return record.state == "started" and record.due_at is None


async def awaken(engine: Engine, saga_id: str) -> None:
    """A saga that was only created is to run, here or wherever a worker is; any other stays as it is."""
    while True:
        record = (await read(engine, saga_id)).record
        if not _asleep(record) or record.suspended or record.stuck or record.owner is not None:
            return
        now = await engine.store.now()
        append = _record_only(engine, record, stuck=False, due_at=now, problem=None)
        result = await engine.journal.commit(append)
        if isinstance(result, Refused):
            raise StoreError(f"saga {saga_id}: the store refuses to have it started: {result.reason}")
        if isinstance(result, Committed):
            engine.wake_at(now)
            return


async def read(engine: Engine, saga_id: str) -> StoredSaga:
    """A saga as stored. Raises SagaNotFound."""
    stored = (await engine.store.load([saga_id])).get(saga_id)
    if stored is None:
        raise SagaNotFound(saga_id)
    return stored


async def definition_for(engine: Engine, progress: Progress) -> SagaDefinition:
    """The saga's definition: this process's own, else one made of the shape that the store remembers."""
    known = engine.definitions.get(progress.kind)
    if known is not None:
        return known
    shapes = await engine.store.definitions()
    if progress.kind not in shapes:
        raise StoreCorrupt(
            f"saga {progress.saga_id} needs the definition {progress.kind}, "
            "which neither this process nor the store has"
        )
    try:
        return definition_from_shape(msgspec.json.decode(shapes[progress.kind]))
    except Exception as exc:  # no JSON, something missing in it, or something that only a newer version knows
        raise StoreCorrupt(f"the definition {progress.kind}, as the store remembers it, cannot be read: {exc}") from exc


async def park_unreadable(engine: Engine, record: Record, problem: StoreError) -> bool:
    """Take a saga that cannot be read out of everybody's way, and leave its log as it is; false: somebody wrote."""
    append = _record_only(engine, record, stuck=True, due_at=None, problem=str(problem)[:2000])
    return isinstance(await engine.journal.commit(append), (Committed, Duplicate))


async def unpark(engine: Engine, record: Record) -> bool:
    """A saga that was set aside can be read: let it go on; false: somebody wrote to it meanwhile."""
    now = await engine.store.now()
    append = _record_only(engine, record, stuck=False, due_at=now, problem=None)
    result = await engine.journal.commit(append)
    if isinstance(result, Refused):
        raise StoreError(f"saga {record.saga_id}: the store refuses to let it go on: {result.reason}")
    engine.wake_at(now)
    return isinstance(result, Committed)


def _record_only(engine: Engine, record: Record, *, stuck: bool, due_at: float | None, problem: str | None) -> Append:
    return Append(
        saga_id=record.saga_id,
        append_id=engine.environment.append_id(),
        expected_version=record.version,
        fence=record.fence,
        state=record.state,
        outcome=record.outcome,
        stuck=stuck,
        suspended=record.suspended,
        owner=None,
        due_at=due_at,
        updated_at=record.updated_at,
        finished_at=record.finished_at,
        problem=problem,
    )
