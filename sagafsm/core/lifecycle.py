"""THE transition tables: the five states of a saga, the states of a step, and what leads from one to another.

What must stay true: every change of state in the library goes through :func:`move_saga` or :func:`move_step`; every
diagram is drawn from these tables; a pair of state and trigger that is not in the table is an error that names both,
never ignored.

Declared with `transitions`, and compiled once into a dictionary, because a shared ``Machine`` costs 6 µs a trigger
and the dictionary 0.1 µs; a test holds the two against each other for every pair.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

from transitions import Machine

from .errors import StoreCorrupt


class SagaState(enum.Enum):
    """Where a saga stands."""

    __hash__ = object.__hash__  # members are unique objects; Enum's own hash is a Python function

    STARTED = "started"  # persisted; no step has been attempted
    PENDING = "pending"  # a step is running, waiting, or between retries
    COMPENSATING = "compensating"  # what was done is being undone
    COMPLETED = "completed"  # every step succeeded or was skipped
    FAILED = "failed"  # everything due to be undone was undone, or waived by a person

    terminal: bool
    """Whether the saga has ended."""

    def __init__(self, value: object) -> None:
        self.terminal = value in ("completed", "failed")


# Members as names of the module, for what every append asks: to CPython 3.11 an attribute of an Enum class costs as
# much as six of these.
SAGA_STARTED: Final = SagaState.STARTED
SAGA_PENDING: Final = SagaState.PENDING
SAGA_COMPENSATING: Final = SagaState.COMPENSATING
SAGA_COMPLETED: Final = SagaState.COMPLETED
SAGA_FAILED: Final = SagaState.FAILED


class StepState(enum.Enum):
    """Where a step stands. ``failed``: it certainly did not happen; ``unknown``: it may have."""

    __hash__ = object.__hash__

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"
    COMPENSATING = "compensating"
    COMPENSATED = "compensated"
    COMPENSATION_FAILED = "compensation_failed"


# Likewise, and for the same reason.
STEP_WAITING: Final = StepState.WAITING
STEP_RUNNING: Final = StepState.RUNNING
STEP_SUCCEEDED: Final = StepState.SUCCEEDED
STEP_FAILED: Final = StepState.FAILED
STEP_UNKNOWN: Final = StepState.UNKNOWN
STEP_SKIPPED: Final = StepState.SKIPPED
STEP_COMPENSATING: Final = StepState.COMPENSATING
STEP_COMPENSATION_FAILED: Final = StepState.COMPENSATION_FAILED


# trigger, source, destination
SAGA_TRANSITIONS: Sequence[tuple[str, SagaState, SagaState]] = (
    ("begin", SagaState.STARTED, SagaState.PENDING),
    ("compensate", SagaState.STARTED, SagaState.COMPENSATING),
    ("compensate", SagaState.PENDING, SagaState.COMPENSATING),
    ("complete", SagaState.PENDING, SagaState.COMPLETED),
    ("fail", SagaState.COMPENSATING, SagaState.FAILED),
    ("undo", SagaState.COMPLETED, SagaState.COMPENSATING),  # only a child, and only by its parent's event
)

STEP_TRANSITIONS: Sequence[tuple[str, StepState, StepState]] = (
    ("start", StepState.WAITING, StepState.RUNNING),
    ("start", StepState.RUNNING, StepState.RUNNING),  # the next attempt
    ("start", StepState.UNKNOWN, StepState.RUNNING),  # a person asked for new attempts
    ("start", StepState.FAILED, StepState.RUNNING),  # likewise, after the pivot; or the fallback begins
    ("succeed", StepState.RUNNING, StepState.SUCCEEDED),
    ("succeed", StepState.UNKNOWN, StepState.SUCCEEDED),  # a probe, a late reply or a person settled it
    ("fail", StepState.WAITING, StepState.FAILED),  # its condition could not be worked out
    ("fail", StepState.RUNNING, StepState.FAILED),
    ("fail", StepState.FAILED, StepState.FAILED),  # tried again after the pivot, it still could not begin
    ("fail", StepState.UNKNOWN, StepState.FAILED),
    ("lose", StepState.RUNNING, StepState.UNKNOWN),
    ("skip", StepState.WAITING, StepState.SKIPPED),
    ("skip", StepState.FAILED, StepState.SKIPPED),  # passed over by a person
    ("skip", StepState.UNKNOWN, StepState.SKIPPED),
    ("undo", StepState.SUCCEEDED, StepState.COMPENSATING),
    ("undo", StepState.UNKNOWN, StepState.COMPENSATING),
    ("undo", StepState.FAILED, StepState.COMPENSATING),  # compensate_failed=True
    ("undo", StepState.COMPENSATING, StepState.COMPENSATING),  # the next attempt
    ("undo", StepState.COMPENSATION_FAILED, StepState.COMPENSATING),  # a person asked for new attempts
    ("undone", StepState.COMPENSATING, StepState.COMPENSATED),
    ("give_up", StepState.COMPENSATING, StepState.COMPENSATION_FAILED),
)


def machine(transitions: Sequence[tuple[str, Any, Any]], initial: enum.Enum) -> Machine:
    """The table as a `transitions` machine without a model: for the diagrams, and to check the compiled table by."""
    return Machine(
        model=None,
        states=type(initial),
        initial=initial,
        transitions=[{"trigger": trigger, "source": a, "dest": b} for trigger, a, b in transitions],
        auto_transitions=False,
    )


S = TypeVar("S", SagaState, StepState)


def compile_table(declared: Machine, states: type[S]) -> dict[tuple[S, str], S]:
    """Read a machine's transitions into a dictionary of (state, trigger) -> state."""
    table: dict[tuple[S, str], S] = {}
    for trigger, event in declared.events.items():
        for source, choices in event.transitions.items():
            table[states[source], trigger] = states[str(choices[0].dest)]
    return table


SAGA_MACHINE = machine(SAGA_TRANSITIONS, SagaState.STARTED)
STEP_MACHINE = machine(STEP_TRANSITIONS, StepState.WAITING)
SAGA_TABLE: Mapping[tuple[SagaState, str], SagaState] = compile_table(SAGA_MACHINE, SagaState)
STEP_TABLE: Mapping[tuple[StepState, str], StepState] = compile_table(STEP_MACHINE, StepState)


class IllegalTransition(StoreCorrupt):
    """A log holds an event that its state does not allow."""


def move_saga(state: SagaState, trigger: str, saga_id: str) -> SagaState:
    """The state that ``trigger`` leads a saga to. Raises IllegalTransition, naming both."""
    try:
        return SAGA_TABLE[state, trigger]
    except KeyError:
        raise IllegalTransition(f"saga {saga_id}: '{trigger}' is not possible in state '{state.value}'") from None


def move_step(state: StepState, trigger: str, saga_id: str, step: str) -> StepState:
    """The state that ``trigger`` leads a step to. Raises IllegalTransition, naming both."""
    try:
        return STEP_TABLE[state, trigger]
    except KeyError:
        raise IllegalTransition(
            f"saga {saga_id}, step {step}: '{trigger}' is not possible in state '{state.value}'"
        ) from None
