"""What the core tells the runtime to do, and what the runtime tells the core has happened.

What must stay true: plain data in both directions. A command is only carried out once the events that were decided
with it are stored.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Final, Literal, cast

import msgspec

from .events import NULL, Failure


class Role(enum.Enum):
    """Which of a step's functions a call is for."""

    FORWARD = "forward"  # the action, or the fallback
    PROBE = "probe"
    BACKWARD = "backward"  # the compensation


# As names of the module, too: see lifecycle.
ROLE_FORWARD: Final = Role.FORWARD
ROLE_PROBE: Final = Role.PROBE
ROLE_BACKWARD: Final = Role.BACKWARD


class Struct(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The base of commands and inputs."""


# --- commands: the core to the runtime ---


class Call(Struct, frozen=True, kw_only=True):
    """Call a function of the user, once. ``attempt`` and ``interruption`` together name the call."""

    step: str
    role: Role
    via: str
    attempt: int
    interruption: int
    idempotency_key: str


class CancelCall(Struct, frozen=True, kw_only=True):
    """Cut a running call short; what it still returns is of no interest."""

    step: str


class AbortChild(Struct, frozen=True, kw_only=True):
    """Ask a running sub-saga to stop and undo itself; asking again does nothing."""

    child_id: str
    reason: str


Command = Call | CancelCall | AbortChild


def calls_among(commands: Sequence[Command]) -> Sequence[Call]:
    """Those of the commands that are calls."""
    for command in commands:
        if type(command) is not Call:
            return [command for command in commands if type(command) is Call]
    return cast("Sequence[Call]", commands)  # as nearly always: all of them


class Held(Struct, frozen=True, kw_only=True):
    """A call that was due and did not begin, because its limit has no permit for it. Nothing is recorded of it.

    ``interrupted``: the log shows it as running; it died with its process, and waits to be made again.
    """

    step: str
    role: Role
    via: str
    interrupted: bool = False


# --- inputs: the runtime to the core ---


class OutcomeKind(enum.Enum):
    """How a call came to an end."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"  # it did not happen this time
    REJECTED = "rejected"  # it did not happen and will not
    UNKNOWN = "unknown"  # it may have happened
    IMPOSSIBLE = "impossible"  # it could not even be tried: no handler, unreadable data


# Likewise, and for the same reason.
OUTCOME_SUCCEEDED: Final = OutcomeKind.SUCCEEDED
OUTCOME_FAILED: Final = OutcomeKind.FAILED
OUTCOME_REJECTED: Final = OutcomeKind.REJECTED
OUTCOME_UNKNOWN: Final = OutcomeKind.UNKNOWN
OUTCOME_IMPOSSIBLE: Final = OutcomeKind.IMPOSSIBLE


class Begin(Struct, frozen=True, kw_only=True):
    """The saga is to run: start what is ready."""


class Tick(Struct, frozen=True, kw_only=True):
    """Time has passed."""


class TakenOver(Struct, frozen=True, kw_only=True):
    """A worker took the saga up; calls that the log shows as running died with their process.

    ``steps``: only the calls of these steps died, and have waited until now to be made again (None: all of them).
    """

    steps: tuple[str, ...] | None = None


class CallEnded(Struct, frozen=True, kw_only=True):
    """A call came to an end. A probe that succeeded says ``happened`` or not; one that cannot tell is UNKNOWN.

    ``final``: calling again would tell no more.
    """

    call: Call
    kind: OutcomeKind
    result: msgspec.Raw = NULL
    error: Failure | None = None
    happened: bool = True
    final: bool = False


class ReplyArrived(Struct, frozen=True, kw_only=True):
    """The reply to a step, or to its compensation, that awaits one; ``attempt`` None: the current one."""

    step: str
    kind: OutcomeKind
    backward: bool = False
    attempt: int | None = None
    result: msgspec.Raw = NULL
    error: Failure | None = None
    message_id: str | None = None
    by: str = "reply"


class SignalArrived(Struct, frozen=True, kw_only=True):
    """An outside event for the saga."""

    name: str
    payload: msgspec.Raw = NULL
    message_id: str | None = None


class AbortAsked(Struct, frozen=True, kw_only=True):
    """Somebody wants the saga to stop. ``outcome``: aborted, or compensated."""

    reason: str
    actor: str | None = None
    cut: bool = False
    compensate: bool = True
    outcome: Literal["aborted", "compensated"] = "aborted"


class RetryAsked(Struct, frozen=True, kw_only=True):
    """A person grants new attempts to what is stuck."""

    actor: str
    reason: str


class SkipAsked(Struct, frozen=True, kw_only=True):
    """A person waives a stuck compensation or passes over a stuck step."""

    step: str
    actor: str
    reason: str


class SuspendAsked(Struct, frozen=True, kw_only=True):
    """A person pauses the saga."""

    actor: str
    reason: str


class ResumeAsked(Struct, frozen=True, kw_only=True):
    """A person lifts the pause."""

    actor: str | None = None
    reason: str | None = None


class ChildStuck(Struct, frozen=True, kw_only=True):
    """A sub-saga waits for a person, so its parent does."""

    step: str
    child_id: str
    reason: str


class ChildUnstuck(Struct, frozen=True, kw_only=True):
    """The sub-saga that held its parent up goes on."""

    step: str
    child_id: str


class UndoAsked(Struct, frozen=True, kw_only=True):
    """The parent undoes this sub-saga, also when it is completed."""

    cause: Failure


Input = (
    Begin
    | Tick
    | TakenOver
    | CallEnded
    | ReplyArrived
    | SignalArrived
    | AbortAsked
    | RetryAsked
    | SkipAsked
    | SuspendAsked
    | ResumeAsked
    | ChildStuck
    | ChildUnstuck
    | UndoAsked
)


class Delivery(enum.Enum):
    """What became of a message to a saga."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"  # its message id was seen before
    LATE = "late"  # the step or the saga has moved on
    UNEXPECTED = "unexpected"  # no step of the definition waits for that


# Likewise: it is in every decision.
DELIVERY_ACCEPTED: Final = Delivery.ACCEPTED
