"""What the runs have to reach: a test of an unwinding that never unwinds would pass.

The list is held against what a whole campaign reached; a state that no run reaches fails it.
"""

from sagafsm.core.events import EVENT_TYPES
from sagafsm.testing.simulation.faults import SITES

SOMETIMES = (
    "takeover during an action", "takeover during a compensation", "a crash during a call",
    "an interrupted call was made again", "a stale owner was fenced off", "version conflict",
    "an append was handed in again", "a late effect after compensation began", "a call while an older one still runs",
    "an abort was accepted", "an abort was refused: PastPivot", "a saga was stuck and led on",
    "a crash and a lost lease in one run", "reply: LATE", "reply: DUPLICATE", "signal: DUPLICATE",
    "start other: SagaConflict", "a saga was purged", "thaw", "stopped", "clock jump", "tampered",
    "calm", "gone for good",
    "an effect was undone", "completed", "failed compensated", "failed aborted", "failed forced",
)  # fmt: skip
DOUBTFUL = (
    "SagaStarted", "AttemptStarted", "StepSucceeded", "AttemptFailed", "StepUnknown", "CompensationStarted",
    "CompensationAttemptStarted", "StepCompensated", "SagaCompleted", "SagaFailed", "AbortRequested", "SagaStuck",
    "SagaUnstuck",
)  # fmt: skip
EVERYTHING = (*SOMETIMES, *(f"ambiguous {event}" for event in DOUBTFUL), *EVENT_TYPES, *SITES)
