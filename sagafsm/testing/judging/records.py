"""What the store decided, followed entry by entry: grants, leases, appends.

What must stay true: this keeps its own books of owners, fences, versions and leases, and asks no store.
"""

from __future__ import annotations

from typing import NoReturn

import attrs

from ...store import NewEvent
from ..laws import Broken
from ..trace import Appended, Beat, Fault, Granted, Purged, Released, Retired

TERMINAL = frozenset({"completed", "failed"})
IDLE_GRANTS = 12  # of a saga in a row, more often than every so many seconds: it goes round in circles
IDLE_SECONDS = 0.4


@attrs.define(eq=False)
class Held:
    """What the books say of one saga."""

    fence: int = 0
    owner: str | None = None
    process: str = ""  # of the last grant
    version: int = 0
    state: str = ""
    ended: float = 0.0
    idle_grants: int = 0
    idle_since: float = 0.0
    events: list[NewEvent] = attrs.Factory(list[NewEvent])
    running: dict[str, str] = attrs.Factory(dict[str, str])  # step -> role of a call announced and not ended

    @property
    def terminal(self) -> bool:
        """Whether it has ended."""
        return self.state in TERMINAL


class Records:
    """The books. ``reached``: what of interest was seen, by name."""

    def __init__(self, reached: set[str]) -> None:
        self.reached = reached
        self.sagas: dict[str, Held] = {}
        self.leases: dict[str, float] = {}
        self.asked: dict[str, tuple[float, float]] = {}  # process -> when it asked for its lease, for how long
        self.processes: dict[str, str] = {}  # worker -> process
        self.applied: dict[str, str] = {}
        self.purged_as: dict[str, str] = {}  # the states of sagas that are gone
        self.faults = 0
        self.clock_jumped_back = False

    def held(self, saga: str) -> Held:
        """The page of a saga."""
        found = self.sagas.get(saga)
        if found is None:
            found = self.sagas[saga] = Held()
        return found

    def worker_of(self, worker: str, process: str) -> None:
        """A worker's id belongs to one process."""
        if self.processes.setdefault(worker, process) != process:
            _broken("F7 owner ids are never shared", f"{worker} is {self.processes[worker]} and {process}")

    def beat(self, entry: Beat) -> None:
        """A lease was set."""
        self.worker_of(entry.worker, entry.process)
        self.leases[entry.worker] = entry.until
        before = self.asked.get(entry.process, (-1.0, 0.0))
        if entry.asked > before[0]:
            self.asked[entry.process] = (entry.asked, entry.ttl)

    def retired(self, entry: Retired) -> None:
        """A lease was taken back."""
        self.leases.pop(entry.worker, None)

    def granted(self, entry: Granted) -> None:
        """A saga was given to a worker."""
        self.worker_of(entry.worker, entry.process)
        held = self.held(entry.saga)
        if entry.birth:
            held.process = entry.process
            return
        if self.leases.get(entry.worker, 0.0) <= entry.now:
            _broken("F1 one owner at a time", f"{entry}, whose lease ran out at {self.leases.get(entry.worker)}")
        if held.terminal:
            _broken("S1 a saga that has ended is not claimed", f"{entry}")
        if entry.fence <= held.fence:
            _broken("F3 fences only grow", f"{entry}, after fence {held.fence}")
        if held.owner is not None and held.owner != entry.worker:
            until = self.leases.get(held.owner)
            if until is not None and until > entry.now:
                _broken("F1 one owner at a time", f"{entry}, but {held.owner} owns it until {until}")
            self._note_takeover(held)
        elif held.owner == entry.worker:
            _broken("F1 one owner at a time", f"{entry}, which owns it already")
        held.fence, held.owner, held.process = entry.fence, entry.worker, entry.process
        if not held.idle_grants:
            held.idle_since = entry.at
        held.idle_grants += 1
        often = entry.at - held.idle_since < held.idle_grants * IDLE_SECONDS
        if held.idle_grants > IDLE_GRANTS + self.faults and often:
            _broken("V-L4 no hot loop", f"{entry.saga} was claimed {held.idle_grants} times, and nothing came of it")

    def _note_takeover(self, held: Held) -> None:
        self.reached.add("takeover")
        for role in held.running.values():
            self.reached.add("takeover during a compensation" if role == "backward" else "takeover during an action")

    def appended(self, entry: Appended) -> None:
        """The store decided on an append."""
        held = self.held(entry.saga)
        if entry.verdict != "Committed":
            self._refused(entry, held)
            return
        if entry.append_id in self.applied and entry.events:  # one that only changes the record does no harm twice
            _broken(
                "L4 an append is applied once",
                f"{entry.append_id} was applied before, to {self.applied[entry.append_id]}",
            )
        self.applied[entry.append_id] = entry.saga
        if held.version and entry.fence != held.fence:
            _broken(
                "F2 fencing",
                f"{entry.append_id} was accepted under fence {entry.fence}; the last granted is {held.fence}",
            )
        if entry.expected != held.version:
            _broken(
                "L1 gap-free", f"{entry.append_id} was accepted at version {entry.expected}; {held.version} were stored"
            )
        if not held.version:
            held.fence = entry.fence
        held.version += len(entry.events)
        held.events.extend(entry.events)
        if entry.events:
            held.idle_grants = 0
            if held.terminal and entry.events[0].type != "CompensationStarted":
                _broken("S1 one terminal event, last", f"{entry.append_id} was accepted after it")
        held.state = entry.state
        if held.terminal and entry.events:
            held.ended = entry.events[-1].at  # as its worker saw the clock: that of the store may be seconds further
        if not entry.steady:
            held.owner = entry.owner
        if not self.clock_jumped_back:
            for event in entry.events:
                if event.at > entry.now + 1.0:
                    _broken("CL1 the store's clock", f"{event} is of the future: it is {entry.now}")

    def _refused(self, entry: Appended, held: Held) -> None:
        if entry.verdict == "Duplicate":
            if entry.append_id not in self.applied:
                _broken("L4 a duplicate was applied before", f"{entry.append_id} never was")
            self.reached.add("an append was handed in again")
            for event in entry.events:
                self.reached.add(f"ambiguous {event.type}")
        elif entry.verdict == "Conflict":
            self.reached.add("version conflict")
        elif entry.verdict == "Fenced":
            self.reached.add("a stale owner was fenced off")

    def released(self, entry: Released) -> None:
        """Somebody asked to give a saga back."""
        held = self.held(entry.saga)
        mine = held.owner == entry.worker and held.fence == entry.fence
        if entry.given != mine:
            _broken("F8 release under the fence", f"{entry}; it is {held.owner}'s at fence {held.fence}")
        if mine:
            held.owner = None

    def purge(self, entry: Purged) -> None:
        """Sagas were deleted."""
        for saga in entry.sagas:
            held = self.held(saga)
            if not held.terminal or held.ended >= entry.before:
                _broken(
                    "R1 purge",
                    f"{saga} was purged; terminal {held.terminal}, since {held.ended}, before {entry.before}",
                )
            self.purged_as[saga] = held.state
            del self.sagas[saga]
            self.reached.add("a saga was purged")

    def fault(self, entry: Fault) -> None:
        """Something was broken."""
        self.faults += 1
        self.reached.add(entry.what)
        if entry.what == "clock jump" and entry.about.startswith("-"):
            self.clock_jumped_back = True


def _broken(law: str, problem: str) -> NoReturn:
    raise Broken(law, problem)
