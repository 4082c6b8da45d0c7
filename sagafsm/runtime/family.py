"""Parents and children: a sub-saga as a step of another saga.

What must stay true: a child is created, stopped and undone by asking again as often as needed, because each of these
is the same when done twice. A child tells its parent when it ends or gets stuck; a parent that was not told finds out
by looking. A child that was never created but is to be undone is created as an aborted one, so that a late creation
finds its id taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from ..core import commands as c
from ..core import events as e
from ..core.errors import (
    InvalidInput,
    PastPivot,
    ResultNotStorable,
    SagaConflict,
    SagaNotFound,
    StoreCorrupt,
    StoreError,
    StoreTooNew,
)
from ..core.lifecycle import SagaState, StepState
from ..core.payload import NotStorable, encode
from ..core.progress import Progress
from ..core.step import StepDefinition
from .invoke import arguments_for, failure_of
from .outside import tell

if TYPE_CHECKING:
    from .driver import Driver
    from .engine import Engine


class Family:
    """What passes between the sagas of one orchestrator and their sub-sagas."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    # --- from parent to child ---

    async def call(self, driver: Driver, call: c.Call, spec: StepDefinition) -> c.CallEnded:
        """Create the child, or ask for its undoing; its end comes as a reply."""
        try:
            if call.role is c.Role.BACKWARD:
                return await self._undo(driver, call, spec)
            await self._create(driver.progress, spec)
        except (StoreCorrupt, StoreTooNew) as exc:  # a person must see to the child; asking again would find the same
            error = failure_of(exc, spec.name, self._engine.clock())
            return c.CallEnded(call=call, kind=c.OutcomeKind.IMPOSSIBLE, error=error)
        except StoreError:
            raise
        except (SagaConflict, InvalidInput, ResultNotStorable, PastPivot) as exc:
            error = failure_of(exc, spec.name, self._engine.clock())
            return c.CallEnded(call=call, kind=c.OutcomeKind.REJECTED, error=error)
        except Exception as exc:
            error = failure_of(exc, spec.name, self._engine.clock())
            return c.CallEnded(call=call, kind=c.OutcomeKind.FAILED, error=error)
        return c.CallEnded(call=call, kind=c.OutcomeKind.SUCCEEDED)

    async def _create(self, parent: Progress, spec: StepDefinition, abort: e.AbortRequested | None = None) -> None:
        from .birth import create_saga

        child = spec.child
        if child is None:
            raise InvalidInput(f"the definition of sub-saga {spec.name} is not at hand")
        engine = self._engine
        data = parent.data
        if spec.child_data is not None and spec.child_data.function is not None:
            definition = engine.definitions[parent.kind]
            positional, keywords = arguments_for(spec.child_data, definition, parent)
            value = spec.child_data.function(*positional, **keywords)
            try:
                data = encode(value, what=f"the input of sub-saga {spec.name}", limit=engine.settings.payload_limit)
            except NotStorable as exc:
                raise ResultNotStorable(str(exc)) from exc
        await create_saga(
            engine,
            engine.definitions[child.kind],
            data,
            saga_id=f"{parent.saga_id}:{spec.name}",
            correlation_id=parent.correlation_id,
            tags=parent.tags,
            parent=(parent.saga_id, spec.name),
            begin=True,
            run_here=engine.lease_holds() and not engine.draining,
            abort=abort,
        )

    async def _undo(self, driver: Driver, call: c.Call, spec: StepDefinition) -> c.CallEnded:
        child = f"{driver.saga_id}:{spec.name}"
        cause = driver.progress.cause or e.Failure(type="Undone", message="its parent undoes it")
        try:
            _, instance = await tell(self._engine, child, c.UndoAsked(cause=cause))
        except SagaNotFound:
            await self._create(driver.progress, spec, e.AbortRequested(reason=str(cause), outcome="compensated"))
            return c.CallEnded(call=call, kind=c.OutcomeKind.SUCCEEDED)
        if instance.state is SagaState.FAILED:
            self._engine.background(self._tell_parent(instance.progress))
        return c.CallEnded(call=call, kind=c.OutcomeKind.SUCCEEDED)

    async def abort(self, child: str, reason: str) -> None:
        """Stop a running child; one that cannot be stopped any more goes on and is undone later."""
        try:
            await tell(self._engine, child, c.AbortAsked(reason=reason, outcome="compensated"))
        except (SagaNotFound, PastPivot, InvalidInput):
            return
        except Exception as exc:
            if type(exc).__name__ != "SagaFinished":
                raise

    # --- from child to parent ---

    def report(self, child: Progress, events: Sequence[e.SagaEvent]) -> None:
        """Events of a child were stored: pass on what its parent must know."""
        if any(isinstance(event, (e.SagaCompleted, e.SagaFailed, e.SagaStuck, e.SagaUnstuck)) for event in events):
            self._engine.background(self._tell_parent(child))

    async def _tell_parent(self, child: Progress) -> None:
        if child.parent_id is None or child.parent_step is None:
            return
        engine = self._engine
        driver = engine.drivers.get(child.parent_id)
        if driver is not None:
            parent = driver.progress
        else:
            stored = (await engine.store.load([child.parent_id])).get(child.parent_id)
            if stored is None:
                return
            parent = engine.progress_of(stored)
        told = news_of(child, parent)
        if told is not None:
            await tell(engine, child.parent_id, told)

    async def look_at_children(self, parent: Progress) -> None:
        """Ask how the children are that this saga waits for: their news may have been lost."""
        engine = self._engine
        ids = {step.waiting_name for step in parent.steps.values() if step.waiting == "child"}
        children = await engine.store.load([name for name in ids if name is not None])
        for stored in children.values():
            try:
                told = news_of(engine.progress_of(stored), parent)
            except (StoreCorrupt, StoreTooNew):
                continue  # whoever claims the child sets it aside and says so; its parent must not suffer
            if told is not None:
                await tell(engine, parent.saga_id, told)


def news_of(child: Progress, parent: Progress) -> c.Input | None:
    """What a parent must be told of its child, given where both stand; None where there is nothing new."""
    name = child.parent_step or ""
    step = parent.steps.get(name)
    if step is None or not (step.waiting == "child" or step.calling):
        return None
    backward = step.state is StepState.COMPENSATING
    if child.state is SagaState.FAILED:
        if backward:
            return c.ReplyArrived(step=name, kind=c.OutcomeKind.SUCCEEDED, backward=True, by="child")
        cause = child.cause or e.Failure(type="SagaFailed")
        error = e.Failure(type=cause.type, message=f"sub-saga {child.saga_id}: {cause.message}", step=name)
        return c.ReplyArrived(step=name, kind=c.OutcomeKind.REJECTED, error=error, by="child")
    if child.state is SagaState.COMPLETED and not backward:
        return c.ReplyArrived(step=name, kind=c.OutcomeKind.SUCCEEDED, result=results_of(child), by="child")
    if child.stuck and not parent.stuck:
        return c.ChildStuck(step=name, child_id=child.saga_id, reason=child.stuck_reason or "")
    if not child.stuck and parent.stuck_child == child.saga_id:
        return c.ChildUnstuck(step=name, child_id=child.saga_id)
    return None


def results_of(child: Progress) -> msgspec.Raw:
    """What a sub-saga's step results in: the results of its own steps, by name."""
    return msgspec.Raw(
        msgspec.json.encode({name: step.result for name, step in child.steps.items() if step.result is not None})
    )
