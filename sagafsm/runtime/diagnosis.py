"""What is wrong with a store and the sagas in it, and how to mend it.

What must stay true: it only looks; every finding says what to do; a secret is never part of the answer.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Literal

import attrs

from ..core.instance import iso
from ..store import Filter, Record, Worker
from .inspection import TERMINAL

if TYPE_CHECKING:
    from .engine import Engine

PAGE, SCAN = 500, 20_000  # unfinished sagas: at once, and at most
OVERDUE = 60.0  # seconds after which somebody should have taken up what is due
PACKAGES = ("sagafsm", "msgspec", "attrs", "SQLAlchemy", "asyncpg", "redis", "pymongo", "httpx", "pydantic")


@attrs.frozen(kw_only=True)
class Finding:
    """One thing found. ``problem``: sagas do not get on or can be lost; ``warning``: they may; ``note``: to know."""

    level: Literal["problem", "warning", "note"]
    about: str
    what: str
    mend: str = ""


@attrs.frozen(kw_only=True)
class Diagnosis:
    """What was looked at (``facts``, as plain JSON values) and what was found."""

    facts: Mapping[str, Any]
    findings: Sequence[Finding]

    @property
    def ok(self) -> bool:
        """Whether there is no problem."""
        return all(finding.level != "problem" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; times are ISO 8601 in UTC."""
        return {
            "ok": self.ok,
            "facts": dict(self.facts),
            "findings": [attrs.asdict(finding) for finding in self.findings],
        }


def versions() -> dict[str, str]:
    """The versions of everything that takes part; what is not installed is missing."""
    found = {"python": ".".join(map(str, sys.version_info[:3])), "system": sys.platform}
    for package in PACKAGES:
        try:
            found[package.lower()] = version(package)
        except PackageNotFoundError:
            continue
    return found


async def diagnose(engine: Engine) -> Diagnosis:
    """Look at the engine's store and at the sagas in it."""
    store = engine.store
    now, durability = await store.now(), await store.check()
    workers, counts, shapes = await store.workers(), await store.counts(), await store.definitions()
    dead = engine.environment.is_dead  # a process of this host that was killed, whatever is left of its lease
    alive = {worker.worker_id for worker in workers if worker.until > now and not dead(worker.worker_id)}
    scan = await _scan(engine)
    owned = Counter(record.owner for record in scan)
    states: Counter[str] = Counter()
    for count in counts:
        states[count.state] += count.count
    live = {one.kind: one.count for one in counts if one.state not in TERMINAL and not one.stuck}
    findings = [
        *_durability(durability.synced, durability.warnings),
        *_flags(sum(one.count for one in counts if one.stuck), sum(one.count for one in counts if one.suspended)),
        *_definitions(engine, live, shapes),
        *_forgotten(scan, alive, now),
    ]
    if len(scan) >= SCAN:
        findings.append(Finding(level="note", about="sagas", what=f"only the oldest {SCAN} unfinished were looked at"))
    return Diagnosis(
        facts={
            "versions": versions(),
            "settings": engine.settings.shown(),
            "store": {
                "durability": durability.description,
                "synced": durability.synced,
                "schema": "up to date",
                "time": iso(now),
            },
            "workers": [_worker(worker, alive, owned[worker.worker_id]) for worker in workers],
            "sagas": dict(sorted(states.items())),
            "definitions": sorted(shapes),
        },
        findings=findings,
    )


async def _scan(engine: Engine) -> list[Record]:
    found: list[Record] = []
    cursor: str | None = None
    while len(found) < SCAN:
        page = await engine.store.find(Filter(live=True), cursor=cursor, limit=PAGE)
        found.extend(page.records)
        cursor = page.cursor
        if cursor is None:
            break
    return found


def _worker(worker: Worker, alive: set[str], sagas: int) -> dict[str, Any]:
    return {
        "worker_id": worker.worker_id,
        "alive": worker.worker_id in alive,
        "until": iso(worker.until),
        "sagas": sagas,
    }


def _durability(synced: bool, warnings: Sequence[str]) -> Iterator[Finding]:
    if not synced:
        yield Finding(
            level="problem",
            about="store",
            what="an acknowledged write can be lost when the power fails",
            mend=warnings[0] if warnings else "set the database to sync every commit",
        )
        warnings = warnings[1:]
    for warning in warnings:
        yield Finding(level="warning", about="store", what=warning)


def _flags(stuck: int, suspended: int) -> Iterator[Finding]:
    if stuck:
        yield Finding(
            level="problem",
            about="sagas",
            what=f"{stuck} {'waits' if stuck == 1 else 'wait'} for a person",
            mend="sagafsm stuck lists them, why, and what would mend each",
        )
    if suspended:
        yield Finding(
            level="note",
            about="sagas",
            what=f"{suspended} {'is' if suspended == 1 else 'are'} suspended",
            mend="sagafsm ls --suspended lists them, sagafsm resume ID lets one go on",
        )


def _definitions(engine: Engine, live: Mapping[str, int], shapes: Mapping[str, bytes]) -> Iterator[Finding]:
    for kind, count in live.items():
        if kind not in shapes and kind not in engine.definitions:
            yield Finding(
                level="problem",
                about="definitions",
                what=f"{count} unfinished of {kind}, a definition that the store does not remember",
                mend="run a process that has this definition once: it stores what operators need",
            )
        if not engine.definitions or kind in engine.definitions:
            continue
        known = next((one for one in engine.definitions if one.rpartition("#")[0] == kind.rpartition("#")[0]), None)
        if known is not None:
            what = f"{count} unfinished of {kind}, whose steps changed but not its version (your code has {known})"
            mend = "raise the version of the changed definition, and register the old one beside it until they ended"
        else:
            what = f"{count} unfinished of {kind}, which your code does not have"
            mend = f"register that definition: Orchestrator(…, sagas=[…, {kind.partition('@')[0]}])"
        yield Finding(level="problem", about="definitions", what=what, mend=mend)


def _forgotten(scan: Sequence[Record], alive: set[str], now: float) -> Iterator[Finding]:
    moving = [record for record in scan if not record.stuck and not record.suspended]
    orphans = Counter(record.kind for record in moving if record.owner is not None and record.owner not in alive)
    due = [
        record.kind
        for record in moving
        if record.due_at is not None
        and record.due_at < now - OVERDUE
        and (record.owner is None or record.owner not in alive)
    ]
    for kind, count in Counter(due).items():
        yield Finding(
            level="problem",
            about="workers",
            what=f"{count} of {kind} should have gone on {OVERDUE:.0f} s ago or earlier, and nobody takes them up",
            mend="start a process that has this definition"
            + ("; those that are alive do not have it, or are overloaded" if alive else ": no worker is alive"),
        )
    for kind, count in orphans.items():
        if kind not in due:
            yield Finding(
                level="warning" if alive else "problem",
                about="workers",
                what=f"{count} of {kind} belong to a worker that is gone",
                mend="the next worker with this definition takes them up"
                + ("" if alive else "; none is alive: start one"),
            )
    idle = sum(record.state == "started" and record.due_at is None and record.owner is None for record in moving)
    if idle:
        yield Finding(
            level="note",
            about="sagas",
            what=f"{idle} {'was' if idle == 1 else 'were'} created and never started",
            mend="start or execute them, or abort them",
        )
