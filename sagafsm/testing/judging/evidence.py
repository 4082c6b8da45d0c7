"""What the judge is shown: the logs, and as much as is known of grants, calls, effects, answers and faults.

What must stay true: evidence says only what was seen. What is missing (a killed process keeps no record of its calls)
is None or empty, and then nothing is judged by it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from ...core.codec import decode_event
from ...core.definition import SagaDefinition
from ...core.progress import Progress
from ...store import Record, Snapshot, StoredEvent, StoredSaga
from ..account import Entry
from ..checker import Effect
from ..trace import Entry as TraceEntry


@attrs.frozen(kw_only=True)
class Log:
    """A saga as it is stored at the end. ``record`` None: only its events are known."""

    saga_id: str
    definition: SagaDefinition
    events: Sequence[StoredEvent]
    record: Record | None = None
    snapshot: Snapshot | None = None

    @classmethod
    def of(cls, stored: StoredSaga, events: Sequence[StoredEvent], definition: SagaDefinition) -> Log:
        """A saga as a store gives it, with its whole log."""
        return cls(
            saga_id=stored.record.saga_id,
            definition=definition,
            events=events,
            record=stored.record,
            snapshot=stored.snapshot,
        )

    def entries(self) -> list[Entry]:
        """The events, decoded."""
        return [Entry(stored.seq, stored.at, decode_event(self.saga_id, stored)) for stored in self.events]


@attrs.frozen
class Made:
    """One call as its participant noted it. ``announced``: how many the log had announced then (None: unknown)."""

    saga_id: str
    key: str
    announced: int | None = None


@attrs.frozen(kw_only=True)
class Evidence:
    """Everything that is known.

    ``effects``: what took effect in the world, in order, by saga (None: nobody kept a book). ``trace``: grants,
    appends, calls, questions and faults, in the order in which they happened (None: unknown). ``made``: calls, as
    those noted them who were called. ``views``: what readers were shown. ``knows``: the kinds that each process has,
    by the beginning of its id. ``quiescent``: nothing is under way any more. ``thorough``: make the dear checks too.
    """

    logs: Mapping[str, Log]
    effects: Mapping[str, Sequence[Effect]] | None = None
    trace: Sequence[TraceEntry] | None = None
    made: Sequence[Made] = ()
    views: Sequence[tuple[str, Progress]] = ()
    knows: Mapping[str, frozenset[str]] = {}
    quiescent: bool = True
    thorough: bool = True
