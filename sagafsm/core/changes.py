"""The small changes that the fold is made of.

What must stay true: each event raises ``version`` by one, and nothing else does; a state changes only by its table.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec.structs import replace

from . import events as e
from .errors import StoreCorrupt
from .legality import check_step
from .lifecycle import (
    SAGA_STARTED,
    STEP_FAILED,
    STEP_RUNNING,
    STEP_UNKNOWN,
    STEP_WAITING,
    SagaState,
    StepState,
    move_saga,
    move_step,
)
from .progress import Progress, StepProgress


def step_of(progress: Progress, name: str) -> StepProgress:
    """The step of that name. Raises StoreCorrupt."""
    try:
        return progress.steps[name]
    except KeyError:
        raise StoreCorrupt(f"saga {progress.saga_id}: its log names an unknown step {name!r}") from None


def checked_step(progress: Progress, name: str, event: e.SagaEvent) -> StepProgress:
    """The step, which must stand where an event that moves it nowhere is possible."""
    step = step_of(progress, name)
    check_step(progress, name, step, event)
    return step


FIRST_STARTED: Final = move_step(STEP_WAITING, "start", "", "")
CALL_SUCCEEDED: Final = move_step(STEP_RUNNING, "succeed", "", "")


def first_started(event: e.AttemptStarted, at: float, version: int) -> StepProgress:
    """A step whose action is attempted for the first time, by event ``version`` of its saga."""
    return StepProgress(
        state=FIRST_STARTED,
        attempts=event.attempt,
        interruptions=event.interruption,
        calling=True,
        started_at=at,
        began=version,
    )


def with_result(step: StepProgress, state: StepState, event: e.StepSucceeded, version: int) -> StepProgress:
    """The step once it has succeeded, by event ``version`` of its saga."""
    return replace(
        step,
        state=state,
        calling=False,
        probing=False,
        waiting=None,
        due_at=None,
        stored=event.result,
        error=None,
        ended=version,
        again=False,
        halted=False,
    )


def with_step(
    progress: Progress, at: float, name: str, step: StepProgress, message_id: str | None = None, **changes: Any
) -> Progress:
    """The progress after an event about a step, which came with a message if that has an id."""
    if message_id is not None:
        changes["message_ids"] = progress.message_ids | {message_id}
    steps = {**progress.steps, name: step}
    if changes:
        return replace(progress, steps=steps, version=progress.version + 1, updated_at=at, **changes)
    return replace(progress, steps=steps, version=progress.version + 1, updated_at=at)


def changed(progress: Progress, at: float, **changes: Any) -> Progress:
    """The progress after an event about the saga."""
    return replace(progress, version=progress.version + 1, updated_at=at, **changes)


def moved(progress: Progress, name: str, step: StepProgress, trigger: str) -> StepState:
    """The step's next state, by its table."""
    return move_step(step.state, trigger, progress.saga_id, name)


def saga_moved(progress: Progress, trigger: str) -> SagaState:
    """The saga's next state, by its table."""
    return move_saga(progress.state, trigger, progress.saga_id)


def begun(progress: Progress) -> SagaState:
    """The saga's state once a step has moved."""
    state = progress.state
    return saga_moved(progress, "begin") if state is SAGA_STARTED else state


def troubled_by(before: StepState, after: StepState) -> int:
    """By how much a step's move changes the number of troubled ones."""
    bad = (STEP_FAILED, STEP_UNKNOWN)
    return (after in bad) - (before in bad)


def remembered(progress: Progress, message_id: str | None) -> frozenset[str]:
    """The message ids seen, with this one."""
    return progress.message_ids if message_id is None else progress.message_ids | {message_id}
