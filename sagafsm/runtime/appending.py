"""From decided events to the append that stores them.

What must stay true: the record in an append says the same as its events do; a snapshot goes with them now and then, so
that a long log need not be folded whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from ..core.codec import encode_event, encode_snapshot
from ..core.events import SagaEvent
from ..core.lifecycle import SagaState
from ..core.progress import Progress
from ..store import Append, Birth, NewEvent, Snapshot

if TYPE_CHECKING:
    from .engine import Engine

SNAPSHOT_EVERY = 100
STATE_NAMES = {state: state.value for state in SagaState}  # Enum's own .value is a Python function


def append_for(
    engine: Engine,
    progress: Progress,
    events: Sequence[SagaEvent],
    *,
    fence: int,
    owner: str | None,
    due_at: float | None,
    now: float,
    attention: bool = False,
    steady: bool = False,
    birth: Birth | None = None,
) -> Append:
    """The append that takes a saga to ``progress`` by these events."""
    before = progress.version - len(events)
    snapshot = None
    if progress.version // SNAPSHOT_EVERY > before // SNAPSHOT_EVERY:
        snapshot = Snapshot(version=progress.version, data=encode_snapshot(progress))
    stored: Sequence[NewEvent]
    if len(events) == 2:  # nearly all: how a call ended, and what follows
        one, two = events
        stored = (
            NewEvent(type(one).__name__, now, encode_event(one)),
            NewEvent(type(two).__name__, now, encode_event(two)),
        )
    else:
        stored = tuple([NewEvent(type(event).__name__, now, encode_event(event)) for event in events])
    append = Append(
        saga_id=progress.saga_id,
        append_id=engine.environment.append_id(),
        expected_version=before,
        fence=fence,
        events=stored,
        state=STATE_NAMES[progress.state],
        stuck=progress.stuck,
        suspended=progress.suspended,
        owner=owner,
        due_at=due_at,
        updated_at=now,
        steady=steady,
    )
    if steady and snapshot is None:
        return append  # by far the most frequent
    # Not all at once: in CPython 3.11 more than 15 keywords go through a dictionary.
    return replace(
        append,
        outcome=progress.outcome,
        attention=attention,
        finished_at=progress.finished_at,
        birth=birth,
        snapshot=snapshot,
    )
