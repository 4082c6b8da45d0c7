"""The straight way: a step has succeeded where nothing is amiss, and the one step after it begins, or the saga ends.

What must stay true: it decides what the decider would decide without it, or nothing; a property holds the two against
each other. Nearly every decision is one of these, and to find out each time that there is nothing else to be done took
an eighth of all the instructions of a saga (docs/adr/0014).
"""

from __future__ import annotations

from . import events as e
from .commands import DELIVERY_ACCEPTED, OUTCOME_SUCCEEDED, ROLE_FORWARD, Call, CallEnded
from .decision import Decision
from .definition import SagaDefinition
from .fold import FOLDS, succeeded_and_started
from .keys import derived_key
from .lifecycle import SAGA_PENDING, STEP_RUNNING
from .progress import WAITING_STEP, Progress


def straight_on(
    definition: SagaDefinition, progress: Progress, ended: CallEnded, now: float, namespace: str
) -> Decision | None:
    """What follows from the end of a call, where that is plain to see; else None."""
    call, steps, ways = ended.call, progress.steps, definition.straight
    name = call.step
    step = steps[name]
    if (
        name not in ways
        or ended.kind is not OUTCOME_SUCCEEDED
        or call.role is not ROLE_FORWARD
        or step.state is not STEP_RUNNING
        or not step.calling
        or step.attempts != call.attempt
        or step.interruptions != call.interruption
        or progress.state is not SAGA_PENDING
        or progress.stuck
        or progress.suspended
        or progress.troubled
        or progress.abort is not None
        or progress.deadline is not None
    ):
        return None
    following = ways[name]
    succeeded = e.StepSucceeded(step=name, result=ended.result, attempt=call.attempt)
    if following is None:
        if progress.done + 1 < len(steps):
            return None
        completed = e.SagaCompleted()
        after = FOLDS[e.StepSucceeded](progress, succeeded, now)
        after = FOLDS[e.SagaCompleted](after, completed, now)
        return Decision((succeeded, completed), after, (), DELIVERY_ACCEPTED)
    if steps[following] is not WAITING_STEP:
        return None  # read from a snapshot, it is equal and yet another object
    key = derived_key(namespace, progress.saga_id, following, "action")
    started = e.AttemptStarted(step=following, attempt=1, idempotency_key=key)
    after = succeeded_and_started(progress, succeeded, started, now)
    begun = Call(step=following, role=ROLE_FORWARD, via="action", attempt=1, interruption=0, idempotency_key=key)
    return Decision((succeeded, started), after, (begun,), DELIVERY_ACCEPTED)
