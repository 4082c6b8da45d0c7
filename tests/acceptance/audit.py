"""What must be true of a folder when its sagas have ended, whatever happened to their processes."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import attrs

from sagafsm import SagaDefinition
from sagafsm.core import events as e
from sagafsm.core.codec import decode_event
from sagafsm.core.progress import Progress
from sagafsm.core.step import StepKind
from sagafsm.store import Filter, Store, StoredEvent
from sagafsm.testing.checker import Effect, Entry, check_log, check_net_effect, check_replay

from .ledger import Ledger


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
    """Check the sagas' file and the participants' book against each other; every saga found, by its id."""
    known = {definition.kind: definition for definition in _with_children(definitions)}
    found = {}
    with closing(sqlite3.connect(folder / "sagas.db")) as db:
        check_file(db)
        for saga_id, kind, version, state, owner, due_at in db.execute(
            "SELECT id, kind, version, state, owner, due_at FROM sagas"
        ).fetchall():
            audited = _read(db, saga_id, known[kind])
            assert version == audited.progress.version == len(audited.entries)
            assert state == audited.progress.state.value
            assert not audited.progress.state.terminal or (owner, due_at) == (None, None)
            found[saga_id] = audited
    check_effects(folder, known, found)
    check_write_ahead(folder)
    return found


async def audit_store(store: Store, folder: Path, *definitions: SagaDefinition) -> dict[str, Audited]:
    """As :func:`audit`, of any store, through the protocol."""
    known = {definition.kind: definition for definition in _with_children(definitions)}
    found: dict[str, Audited] = {}
    cursor: str | None = None
    while True:
        page = await store.find(Filter(), cursor=cursor, limit=500)
        for record in page.records:
            audited = _check(record.saga_id, known[record.kind], await store.events(record.saga_id))
            assert record.version == audited.progress.version == len(audited.entries)
            assert record.state == audited.progress.state.value
            assert not audited.progress.state.terminal or (record.owner, record.due_at) == (None, None)
            found[record.saga_id] = audited
        cursor = page.cursor
        if cursor is None:
            break
    counted = Counter[str]()
    for count in await store.counts():
        counted[count.state] += count.count
    assert +counted == Counter(audited.progress.state.value for audited in found.values())
    check_effects(folder, known, found)
    check_announced(folder, found)
    return found


def _with_children(definitions: tuple[SagaDefinition, ...]) -> list[SagaDefinition]:
    found = list(definitions)
    for definition in found:  # grows
        found.extend(step.child for step in definition.steps.values() if step.child is not None)
    return found


def check_file(db: sqlite3.Connection) -> None:
    """The file is whole, and what is counted beside the sagas is what is there."""
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    counted = db.execute("SELECT state, sum(count) FROM saga_counts GROUP BY state HAVING sum(count) > 0").fetchall()
    assert sorted(counted) == sorted(db.execute("SELECT state, count(*) FROM sagas GROUP BY state").fetchall())


def _read(db: sqlite3.Connection, saga_id: str, definition: SagaDefinition) -> Audited:
    rows = db.execute("SELECT seq, type, at, data FROM saga_events WHERE saga_id = ? ORDER BY seq", (saga_id,))
    return _check(saga_id, definition, [StoredEvent(seq, kind, at, data.encode()) for seq, kind, at, data in rows])


def _check(saga_id: str, definition: SagaDefinition, log: Sequence[StoredEvent]) -> Audited:
    """A saga's log, held against every law of a log."""
    entries = [Entry(event.seq, event.at, decode_event(saga_id, event)) for event in log]
    progress = check_log(definition, entries)
    check_replay(entries)
    return Audited(progress, entries)


def check_effects(folder: Path, known: dict[str, SagaDefinition], found: dict[str, Audited]) -> None:
    """What participants did is what the log says: kept once, or undone once after it was done once."""
    effects: dict[str, list[Effect]] = {saga_id: [] for saga_id in found}
    for entry in Ledger(folder).entries():
        effects[entry.saga_id].append(Effect(step=entry.step, via=entry.via, undo=entry.undo))
    for saga_id, audited in found.items():
        definition = known[audited.progress.kind]
        for name, spec in definition.steps.items():
            child = found.get(f"{saga_id}:{name}")
            if spec.kind is StepKind.CHILD and child is not None and child.progress.state.value == "completed":
                effects[saga_id].append(Effect(step=name))
        check_net_effect(definition, audited.progress, effects[saga_id])


def check_write_ahead(folder: Path) -> None:
    """When the n-th call under a key came in, its log announced at least n of them."""
    made: Counter[tuple[str, str]] = Counter()
    for call in Ledger(folder).calls():
        made[call.saga_id, call.key] += 1
        assert call.announced >= made[call.saga_id, call.key], f"{call} was not announced"


def check_announced(folder: Path, found: dict[str, Audited]) -> None:
    """No participant was called more often than the logs say; when each call was announced, this does not see."""
    announced: Counter[tuple[str, str]] = Counter()
    for saga_id, audited in found.items():
        for entry in audited.entries:
            if isinstance(entry.event, (e.AttemptStarted, e.CompensationAttemptStarted)):
                announced[saga_id, entry.event.idempotency_key] += 1
    made = Counter((call.saga_id, call.key) for call in Ledger(folder).calls())
    assert made <= announced, f"called and not announced: {made - announced}"
