"""A saga that somebody lays hands on behind the engine's back, as with a database's console.

What must stay true: such a saga is judged only by what it does to the others, and by being let alone in the end.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ..laws import Broken
from ..trace import Entry, Purged
from .server import TERMINAL, Server

WAYS = 3
FOR_GOOD = 1e12


def tamper(server: Server, saga_id: str, way: int) -> None:
    """Garble its last event, delete it, or lose its last event, as a database does that was restored."""
    saga = server.memory._sagas.get(saga_id)
    if saga is None:
        return
    if way == 0:
        saga.events[-1] = msgspec.structs.replace(saga.events[-1], data=b'{"step":')
        saga.snapshot = None
    elif way == 1:
        del server.memory._sagas[saga_id]
        server.memory._purged[saga_id] = saga.record.digest, FOR_GOOD  # else a late birth would bring it back
        server.births.pop(saga_id, None)
    elif len(saga.events) > 1:
        del saga.events[-1], saga.append_ids[-1]
        saga.record = msgspec.structs.replace(saga.record, version=len(saga.events))


def is_left_alone(server: Server, saga_id: str) -> bool:
    """Whether nobody is to go on with a saga by himself: it has ended, waits for a person, or is gone."""
    saga = server.memory._sagas.get(saga_id)
    return saga is None or saga.record.state in TERMINAL or saga.record.stuck or saga.record.suspended


def unharmed(entries: Sequence[Entry], victim: str) -> list[Entry]:
    """What happened to the sagas that nobody laid hands on."""
    found: list[Entry] = []
    for entry in entries:
        if isinstance(entry, Purged):
            found.append(msgspec.structs.replace(entry, sagas=tuple(saga for saga in entry.sagas if saga != victim)))
        elif getattr(entry, "saga", None) != victim:
            found.append(entry)
    return found


def check_set_aside(server: Server, saga_id: str) -> None:
    """What nobody can read is set aside, says why, and is left as it was. Raises Broken."""
    stored = server.now_holds([saga_id])[saga_id]
    if not stored.record.stuck or not stored.record.problem or stored.record.owner is not None:
        raise Broken("D2 one that cannot be read harms no other", f"it was not set aside: {stored.record}")
    if [event.data for event in stored.events] != [b'{"saga_id":']:
        raise Broken("D2 one that cannot be read harms no other", f"it was changed: {stored.events}")
