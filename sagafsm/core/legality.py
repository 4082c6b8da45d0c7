"""Which events are possible where: what a log may say of a saga, and of a step, that stands in a given state.

What must stay true: beside the transition tables this is all that decides whether an event is legal; a log that says
more than the decider could ever have decided is refused by the fold, never half believed.
"""

from __future__ import annotations

from collections.abc import Mapping

from . import events as e
from .lifecycle import IllegalTransition, SagaState, StepState
from .progress import Progress, StepProgress

_FORWARD = (SagaState.PENDING, SagaState.STARTED)
_BACKWARD = (SagaState.COMPENSATING,)
_LIVE = (SagaState.PENDING, SagaState.COMPENSATING, SagaState.STARTED)

SAGA_STATES: Mapping[type[e.SagaEvent], tuple[SagaState, ...]] = {
    e.AttemptStarted: _FORWARD,
    e.ReplyAwaited: _FORWARD,
    e.WaitStarted: _FORWARD,
    e.StepSucceeded: _FORWARD,
    e.AttemptFailed: _FORWARD,
    e.StepFailed: _FORWARD,
    e.StepUnknown: _FORWARD,
    e.StepSkipped: _FORWARD,
    e.ProbeStarted: _FORWARD,
    e.ProbeFailed: _FORWARD,
    e.SignalReceived: _FORWARD,
    e.AbortRequested: _FORWARD,
    e.DeadlineExpired: _FORWARD,
    e.CompensationStarted: (*_FORWARD, SagaState.COMPLETED),  # the tables say when a completed one may be undone
    e.CompensationAttemptStarted: _BACKWARD,
    e.CompensationReplyAwaited: _BACKWARD,
    e.CompensationAttemptFailed: _BACKWARD,
    e.CompensationFailed: _BACKWARD,
    e.StepCompensated: _BACKWARD,
    e.CompensationWaived: _BACKWARD,
    e.SagaStuck: _LIVE,
    e.SagaUnstuck: _LIVE,
    e.SagaSuspended: _LIVE,
    e.SagaResumed: _LIVE,
    e.SagaCompleted: _FORWARD,
    e.SagaFailed: _BACKWARD,
}

# For the events that move no step to another state, and so do not go through its table.
STEP_STATES: Mapping[type[e.SagaEvent], tuple[StepState, ...]] = {
    e.ReplyAwaited: (StepState.RUNNING,),
    e.AttemptFailed: (StepState.RUNNING,),
    e.ProbeStarted: (StepState.UNKNOWN,),
    e.ProbeFailed: (StepState.UNKNOWN,),
    e.CompensationReplyAwaited: (StepState.COMPENSATING,),
    e.CompensationAttemptFailed: (StepState.COMPENSATING,),
    e.CompensationWaived: (
        StepState.SUCCEEDED,
        StepState.UNKNOWN,
        StepState.FAILED,
        StepState.COMPENSATION_FAILED,
    ),
}


def check_saga(progress: Progress, event: e.SagaEvent) -> None:
    """Refuse an event that a saga in this state cannot have. Raises IllegalTransition, naming both."""
    if progress.state not in SAGA_STATES[type(event)]:
        raise IllegalTransition(
            f"saga {progress.saga_id}: {type(event).__name__} is not possible in state '{progress.state.value}'"
        )


def check_step(progress: Progress, name: str, step: StepProgress, event: e.SagaEvent) -> None:
    """Refuse an event that a step in this state cannot have. Raises IllegalTransition, naming both."""
    if step.state not in STEP_STATES[type(event)]:
        raise IllegalTransition(
            f"saga {progress.saga_id}, step {name}: {type(event).__name__} is not possible in state "
            f"'{step.state.value}'"
        )
