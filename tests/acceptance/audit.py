"""What must be true of a folder when its sagas have ended, whatever happened to their processes.

The judge is the one that judges simulated runs; this reads the evidence for it.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

import attrs

from sagafsm import SagaDefinition
from sagafsm.core import events as e
from sagafsm.core.progress import Progress
from sagafsm.store import Filter, Record, Store, StoredEvent
from sagafsm.testing.account import Entry
from sagafsm.testing.checker import Effect
from sagafsm.testing.judging import Evidence, Log, Made, judge

from .ledger import Ledger

COLUMNS = "id, type, kind, state, outcome, stuck, suspended, version, fence, owner, due_at, attention, correlation_id, \
digest, created_at, updated_at, finished_at, parent_id, problem"


@attrs.frozen
class Audited:
    """Where a saga stands, and its log."""

    progress: Progress
    entries: list[Entry]

    @property
    def interruptions(self) -> list[int]:
        """For each call that began, how often the same attempt had been cut short before."""
        calls = (e.AttemptStarted, e.CompensationAttemptStarted)
        return [entry.event.interruption for entry in self.entries if isinstance(entry.event, calls)]


def audit(folder: Path, *definitions: SagaDefinition) -> dict[str, Audited]:
    """Judge the sagas' file by itself and by the participants' book; every saga found, by its id."""
    with closing(sqlite3.connect(folder / "sagas.db")) as db:
        check_file(db)
        known = _by_kind(definitions)
        records = [_record(row) for row in db.execute(f"SELECT {COLUMNS} FROM sagas").fetchall()]
        logs = [_log(known, record, _events(db, record.saga_id)) for record in records]
    return _judge(folder, logs, watched=True)


async def audit_store(store: Store, folder: Path, *definitions: SagaDefinition) -> dict[str, Audited]:
    """As :func:`audit`, of any store, through the protocol."""
    known = _by_kind(definitions)
    logs: list[Log] = []
    cursor: str | None = None
    while True:
        page = await store.find(Filter(), cursor=cursor, limit=500)
        logs += [_log(known, record, await store.events(record.saga_id)) for record in page.records]
        cursor = page.cursor
        if cursor is None:
            break
    counted = Counter[str]()
    for count in await store.counts():
        counted[count.state] += count.count
    audited = _judge(folder, logs, watched=False)
    assert +counted == Counter(one.progress.state.value for one in audited.values())
    return audited


def _by_kind(definitions: tuple[SagaDefinition, ...]) -> Mapping[str, SagaDefinition]:
    found = list(definitions)
    for definition in found:  # grows
        found.extend(step.child for step in definition.steps.values() if step.child is not None)
    return {definition.kind: definition for definition in found}


def check_file(db: sqlite3.Connection) -> None:
    """The file is whole, and what is counted beside the sagas is what is there."""
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    counted = db.execute("SELECT state, sum(count) FROM saga_counts GROUP BY state HAVING sum(count) > 0").fetchall()
    assert sorted(counted) == sorted(db.execute("SELECT state, count(*) FROM sagas GROUP BY state").fetchall())


def _record(row: tuple[object, ...]) -> Record:
    names = COLUMNS.replace("id,", "saga_id,", 1).replace("type,", "saga_type,", 1).split(", ")
    return Record(**dict(zip(names, row, strict=True)))  # type: ignore[arg-type]


def _events(db: sqlite3.Connection, saga_id: str) -> list[StoredEvent]:
    rows = db.execute("SELECT seq, type, at, data FROM saga_events WHERE saga_id = ? ORDER BY seq", (saga_id,))
    return [StoredEvent(seq, kind, at, data.encode()) for seq, kind, at, data in rows]


def _log(known: Mapping[str, SagaDefinition], record: Record, events: Iterable[StoredEvent]) -> Log:
    return Log(saga_id=record.saga_id, definition=known[record.kind], events=list(events), record=record)


def _judge(folder: Path, logs: list[Log], *, watched: bool) -> dict[str, Audited]:
    """``watched``: whoever was called looked what the log had announced at that moment; else it is asked at the end."""
    ledger = Ledger(folder)
    effects: dict[str, list[Effect]] = {log.saga_id: [] for log in logs}
    for entry in ledger.entries():
        effects[entry.saga_id].append(Effect(step=entry.step, via=entry.via, undo=entry.undo))
    made = [Made(call.saga_id, call.key, call.announced if watched else None) for call in ledger.calls()]
    verdict = judge(Evidence(logs={log.saga_id: log for log in logs}, effects=effects, made=made))
    return {log.saga_id: Audited(verdict.standing[log.saga_id], log.entries()) for log in logs}
