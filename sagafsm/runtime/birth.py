"""How a saga comes into being: one append, which also begins its first steps where it is to run here.

What must stay true: the same id with the same definition and input is the same saga, never a second run; another
input under the same id is a conflict. Of several creators exactly one creates.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from ..core import commands as c
from ..core import events as e
from ..core.decider import decide, next_wake
from ..core.definition import SagaDefinition
from ..core.errors import InvalidInput, OutcomeUnknown, SagaConflict, SagaPurged, StoreError
from ..core.fold import evolve
from ..core.progress import Progress
from ..store import Append, AppendResult, Birth, Committed, Duplicate, Exists, check_id
from .appending import append_for
from .driver import Driver

if TYPE_CHECKING:
    from .engine import Engine

MAX_TAGS = 50
BIRTH_FENCE = 1  # of a saga that is created by who runs it


def _adopt(engine: Engine, append: Append, result: AppendResult) -> None:
    """The answer came long after its caller was cancelled: the saga is ours all the same."""
    if isinstance(result, (Committed, Duplicate)):
        engine.orphan(append.saga_id, append.fence)


def digest_of(definition: SagaDefinition, data: msgspec.Raw) -> str:
    """A hash of what makes two starts the same: the definition's name and version, and the input."""
    material = f"{definition.name}@{definition.version}\0".encode() + bytes(data)
    return hashlib.blake2b(material, digest_size=16).hexdigest()


def check_tags(tags: Mapping[str, str] | None) -> Mapping[str, str]:
    """Tags as they can be stored everywhere: up to 50, names like ids, values text of up to 200 characters."""
    if tags is None:
        return {}
    given: object = tags
    if not isinstance(given, Mapping):
        raise InvalidInput(f"tags are names with values, such as {{'country': 'CH'}}; got {given!r}")
    for name, value in tags.items():
        check_id(name, "tag name")
        if not isinstance(value, str) or len(value) > 200 or not value.isprintable():
            raise InvalidInput(f"tag {name}: its value must be printable text of at most 200 characters")
    if len(tags) > MAX_TAGS:
        raise InvalidInput(f"{len(tags)} tags are too many; at most {MAX_TAGS} are allowed")
    return dict(tags)


async def create_saga(
    engine: Engine,
    definition: SagaDefinition,
    data: msgspec.Raw,
    *,
    saga_id: str,
    correlation_id: str | None = None,
    tags: Mapping[str, str] | None = None,
    parent: tuple[str, str] | None = None,
    begin: bool,
    run_here: bool = False,
    abort: e.AbortRequested | None = None,
) -> tuple[Progress, bool]:
    """Store a new saga; where it stands, and whether it is new (False: the very same one existed already).

    ``begin``: it is to run, here (``run_here``: the first calls begin with this append) or wherever a worker is.
    Raises SagaConflict where the id belongs to another, SagaPurged where it belonged to one that is gone.
    """
    now = engine.clock() if engine.lease_holds() else await engine.store.now()
    started = e.SagaStarted(
        saga_id=saga_id,
        saga_type=definition.name,
        definition_version=definition.version,
        fingerprint=definition.fingerprint,
        steps=definition.step_names,
        data=data,
        correlation_id=correlation_id or saga_id,
        parent_id=parent[0] if parent else None,
        parent_step=parent[1] if parent else None,
        tags={} if tags is None else tags,
        deadline=None if definition.deadline is None else now + definition.deadline,
    )
    progress = evolve(None, started, now)
    events: list[e.SagaEvent] = [started]
    if abort is not None:
        progress = evolve(progress, abort, now)
        events.append(abort)
    calls: Sequence[c.Call] = ()
    held = False
    if run_here:
        decision = decide(definition, progress, c.Begin(), now, engine.surroundings)
        held = bool(decision.held)  # whoever takes it up asks for the permits
        if not held:
            progress = decision.progress
            events.extend(decision.events)
            calls = c.calls_among(decision.commands)
        del decision
    stays = bool(calls)
    birth = Birth(
        saga_type=definition.name,
        kind=definition.kind,
        correlation_id=started.correlation_id,
        digest=digest_of(definition, data),
        created_at=now,
        parent_id=started.parent_id,
        tags=started.tags,
    )
    due_at: float | None = None
    if begin and not progress.state.terminal:
        due_at = now if stays or held or not run_here else next_wake(definition, progress, now)
    append = append_for(
        engine,
        progress,
        events,
        fence=BIRTH_FENCE if stays else 0,
        owner=engine.worker_id if stays else None,
        due_at=due_at,
        now=now,
        birth=birth,
    )
    told = engine.listens or parent is not None or progress.state.terminal
    news: Sequence[e.SagaEvent] = events if told else ()
    del started, events  # what is kept while an append is written is kept a thousand times
    lapses = engine.lapses
    if stays:
        engine.unborn.add(saga_id)
    stored = engine.journal.commit(append)
    try:
        result = await stored
    except (OutcomeUnknown, asyncio.CancelledError):
        if stays:
            engine.orphan(saga_id, append.fence)  # if it was applied, it is ours and its calls have to be made
            if stored.cancelled():
                engine.journal.hear_late(append, partial(_adopt, engine, append))
        raise
    finally:
        engine.unborn.discard(saga_id)
    if isinstance(result, Exists):
        if result.purged:
            raise SagaPurged(saga_id, result.same)
        if result.same:
            return progress, False
        raise SagaConflict(
            f"saga id {saga_id!r} is taken by a saga of another definition or with another input; "
            "use another id, or look at the one that exists"
        )
    if not isinstance(result, (Committed, Duplicate)):
        raise StoreError(f"saga {saga_id} could not be created: {result}")
    driver = Driver(engine, definition, progress, BIRTH_FENCE)
    if stays:
        driver.born(calls, lapses)  # before anybody can ask something of it: it is not idle
        engine.drivers.setdefault(saga_id, driver)  # while the answer took its time it may have been claimed anew
    try:
        if told:
            await engine.stored(driver, news)
    finally:  # a caller that is cancelled in the middle of a hook leaves a saga that runs
        if stays and engine.draining:
            driver.abandon()  # nothing begins any more: whoever takes it over makes its calls
        elif stays:
            driver.begin(calls, now)
        elif progress.state.terminal:
            engine.waiters.tell(saga_id, driver.instance)
        elif due_at is not None:
            engine.wake_at(due_at)
    return progress, True
