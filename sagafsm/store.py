"""The store protocol: what a database must do for sagafsm, in few verbs and strong words.

What must stay true of every store:

* An append is atomic: its events and the saga's record appear together or not at all, in every reader's view.
* An append is accepted only if ``expected_version`` and ``fence`` both match; of two racers exactly one wins.
* Appends of one batch succeed or fail each on its own; one that the database refuses (``Refused``) never harms its
  neighbours.
* ``commit`` of an append whose ``append_id`` already stands at the expected place answers ``Duplicate``.
* Leases are judged by the store's clock, and by nothing else. Fences only grow, also across restarts and purges.
* Only ``expected_version=0`` inserts; nothing upserts: a late write never brings a purged saga back.
* Driver errors never leak: ``StoreUnavailable`` (certainly not applied) or ``OutcomeUnknown`` (maybe applied),
  chained from the driver's error. A batch for which one of these is raised may be handed in again as it is.

Times are seconds since the epoch by the store's clock. ``docs/how-to/write-a-store.md`` walks through one.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, Protocol, runtime_checkable
from urllib.parse import urlsplit

import msgspec

from .core.errors import InvalidInput, SettingsError
from .core.secrets import holds_secret, is_cut_off, redact

ID_PATTERN = re.compile(r"[A-Za-z0-9._:-]{1,200}")


class StoredEvent(msgspec.Struct, frozen=True, gc=False):
    """One event as it lies in the store. ``data`` is JSON text, which a store keeps byte for byte."""

    seq: int
    type: str
    at: float
    data: bytes


class NewEvent(msgspec.Struct, frozen=True, gc=False):
    """One event to be stored; the store numbers it: the append's expected version + 1, + 2, …"""

    type: str
    at: float
    data: bytes


class Birth(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is written once, when a saga is created. ``digest`` is a hash of its definition and input."""

    saga_type: str
    kind: str
    correlation_id: str
    digest: str
    created_at: float
    parent_id: str | None = None
    tags: Mapping[str, str] = {}


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The fold of a saga's first ``version`` events, so that a long log need not be read whole."""

    version: int
    data: bytes


class Append(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One atomic write to one saga: events to add, and the record as it is after them.

    ``expected_version`` 0 creates the saga (then ``birth`` is given and ``fence`` is the fence it starts with), else
    both must match what is stored. No events: only the record changes. ``owner`` None releases the saga; an owner
    other than None keeps or (at creation) takes it. ``due_at`` None: nobody takes it up by itself. ``attention``
    tells the owner to read the saga again: it is set by writers who do not own the saga. ``snapshot`` None leaves the
    stored one as it is. ``problem`` says why a saga that cannot be read was parked. ``steady``: of the record, only
    the version and ``updated_at`` differ from what the last append left there, so no index need be touched.
    """

    saga_id: str
    append_id: str
    expected_version: int
    fence: int
    events: Sequence[NewEvent] = ()
    state: str
    outcome: str | None = None
    stuck: bool = False
    suspended: bool = False
    owner: str | None = None
    due_at: float | None = None
    attention: bool = False
    updated_at: float
    finished_at: float | None = None
    problem: str | None = None
    steady: bool = False
    birth: Birth | None = None
    snapshot: Snapshot | None = None


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The row that stands for a saga: written in the same atomic step as its events."""

    saga_id: str
    saga_type: str
    kind: str
    state: str
    outcome: str | None
    stuck: bool
    suspended: bool
    version: int
    fence: int
    owner: str | None
    due_at: float | None
    attention: bool
    correlation_id: str
    digest: str
    created_at: float
    updated_at: float
    finished_at: float | None = None
    parent_id: str | None = None
    tags: Mapping[str, str] = {}
    problem: str | None = None


class StoredSaga(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A saga as stored, in one consistent view: the record, the snapshot if any, and the events after it."""

    record: Record
    snapshot: Snapshot | None
    events: Sequence[StoredEvent]


# --- what an append came to ---


class Committed(msgspec.Struct, frozen=True, gc=False):
    """Accepted; the saga's version is now ``version``."""

    version: int


class Duplicate(msgspec.Struct, frozen=True, gc=False):
    """This very append was accepted before (its ``append_id`` is in the log); the saga's version is ``version``."""

    version: int


class Conflict(msgspec.Struct, frozen=True, gc=False):
    """Refused: the saga is at ``version``, not at the expected one (0: there is no such saga)."""

    version: int


class Fenced(msgspec.Struct, frozen=True, gc=False):
    """Refused: somebody claimed the saga since; its fence is now ``fence``."""

    fence: int


class Exists(msgspec.Struct, frozen=True, gc=False):
    """A creation was refused: the id is taken, by a saga with the ``same`` digest or by another.

    ``purged``: that saga is gone already, but its id is kept from being used again for a while.
    """

    same: bool
    purged: bool = False


class Refused(msgspec.Struct, frozen=True, gc=False):
    """The database will not take what this append holds (too large, a constraint), now or later: nothing is written."""

    reason: str


AppendResult = Committed | Duplicate | Conflict | Fenced | Exists | Refused


# --- questions and answers ---


class Filter(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Which records to find; None does not filter. ``older_than``: created before this time. ``due``: claimable now.

    ``tags``: every pair must match. ``live`` true: not yet terminal. ``finished_before``: terminal since before this
    time.
    """

    state: str | None = None
    saga_type: str | None = None
    stuck: bool | None = None
    suspended: bool | None = None
    live: bool | None = None
    tags: Mapping[str, str] = {}
    correlation_id: str | None = None
    parent_id: str | None = None
    older_than: float | None = None
    finished_before: float | None = None


class Page(msgspec.Struct, frozen=True, gc=False):
    """Records ordered by creation (then id), and where the next page begins (None: this was the last)."""

    records: Sequence[Record]
    cursor: str | None


class Claim(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a worker got: sagas now owned by it, with their fences raised by one.

    ``attention``: ids of sagas the worker already owned that somebody else has written to. ``next_due``: seconds
    until the next saga of these kinds falls due (None: none is in sight). ``now``: the store's clock.
    """

    sagas: Sequence[StoredSaga]
    attention: Sequence[str]
    next_due: float | None
    now: float


class Worker(msgspec.Struct, frozen=True, gc=False):
    """A worker's lease: alive until ``until`` by the store's clock."""

    worker_id: str
    until: float


class Count(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How many sagas of one kind are in one state."""

    kind: str
    saga_type: str
    state: str
    stuck: bool
    suspended: bool
    count: int


class Durability(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How durable an acknowledged append is. ``synced``: it survives the loss of power. ``warnings``: what to mend."""

    synced: bool
    description: str
    warnings: Sequence[str] = ()


@runtime_checkable
class Store(Protocol):
    """One database, or one namespace of it. See the head of this file for what every store must keep.

    Opened by :meth:`setup`; used from one event loop; closed by :meth:`close`.
    """

    batches: int
    """How many ``commit`` calls the journal may have under way at once (1 or 2)."""

    async def setup(self, *, migrate: bool = True) -> None:
        """Open the store; create the schema or bring it up to date (``migrate=False``: raise if it is not).

        Raises StoreTooNew where a newer sagafsm wrote it, StoreUnavailable where it cannot be reached.
        """
        ...

    async def close(self) -> None:
        """Give back every connection and thread. Closing twice does nothing."""
        ...

    async def check(self) -> Durability:
        """Look at the server's settings and say how durable an acknowledged append is."""
        ...

    def commit(self, batch: Sequence[Append]) -> Awaitable[Sequence[AppendResult]]:
        """Write a batch of appends of different sagas; one result per append, in order.

        An ``async`` method will do. One that begins the work when it is called, and returns a future, lets the store
        write while the event loop goes on.
        """
        ...

    async def load(self, saga_ids: Sequence[str]) -> Mapping[str, StoredSaga]:
        """Read sagas whole, each in one view; ids that do not exist are missing from the answer."""
        ...

    async def events(self, saga_id: str, after: int = 0) -> Sequence[StoredEvent]:
        """Read a saga's events with a number above ``after``, in order (its whole log, whatever the snapshot)."""
        ...

    async def find(self, where: Filter, *, cursor: str | None = None, limit: int = 100) -> Page:
        """Find records, oldest first, page by page."""
        ...

    async def claim(
        self, worker_id: str, kinds: Sequence[str], *, limit: int, saga_ids: Sequence[str] | None = None
    ) -> Claim:
        """Take sagas that nobody alive owns, and raise each one's fence by one.

        Takes sagas of these kinds that are due, in the order of their due times; or, with ``saga_ids``, those sagas
        whether due or not (terminal ones excepted). A worker never claims what it owns already. A worker whose own
        record is missing or has expired claims nothing.
        """
        ...

    async def release(self, saga_id: str, *, worker_id: str, fence: int) -> bool:
        """Give a saga back as it is. False where the fence or the owner has changed: then nothing happens."""
        ...

    async def heartbeat(self, worker_id: str, ttl: float) -> Worker:
        """Register the worker or renew its lease for ``ttl`` seconds from now, by the store's clock."""
        ...

    async def workers(self) -> Sequence[Worker]:
        """Every worker record, expired ones included."""
        ...

    async def retire(self, worker_id: str) -> None:
        """Forget a worker: what it owns can be claimed at once. Heartbeats of a retired id register it anew."""
        ...

    async def now(self) -> float:
        """The store's clock."""
        ...

    async def counts(self) -> Sequence[Count]:
        """How many sagas there are, by kind, state and flags."""
        ...

    async def purge(
        self, finished_before: float, *, limit: int = 500, keep_ids: float = 0.0, saga_ids: Sequence[str] | None = None
    ) -> int:
        """Delete up to ``limit`` terminal sagas that finished before, each whole; return how many.

        Their ids stay taken for ``keep_ids`` seconds by the store's clock (a creation then answers ``Exists`` with
        ``purged``), so that a late duplicate of a start does not run a saga again. With ``saga_ids``, only those of
        them that are terminal and finished before.
        """
        ...

    async def save_definition(self, kind: str, shape: bytes) -> None:
        """Remember a definition's shape (JSON) under its kind; a kind's shape never changes."""
        ...

    async def definitions(self) -> Mapping[str, bytes]:
        """Every shape remembered, by kind."""
        ...


def check_id(value: str, what: str = "saga id") -> str:
    """Return ``value`` if it can be an id everywhere: 1 to 200 of ``A-Z a-z 0-9 . _ : -``; else raise InvalidInput."""
    if not isinstance(value, str) or not ID_PATTERN.fullmatch(value):
        shown = repr(value)
        raise InvalidInput(
            f"{what} {shown if len(shown) < 80 else shown[:77] + '…'} cannot be used: "
            "1 to 200 characters out of A-Z a-z 0-9 . _ : - are allowed"
        )
    return value


def open_store(url: str, **options: Any) -> Store:
    """The store for a URL such as ``sqlite:///sagas.db`` or ``memory://``; it is not connected yet.

    Schemes come from the entry-point group ``sagafsm.stores``. ``options`` go to the store's ``from_url``. Raises
    SettingsError for a scheme that nobody registered, or whose driver is not installed.
    """
    try:
        scheme = urlsplit(url).scheme if isinstance(url, str) else ""
    except ValueError:
        scheme = ""
    if not scheme:
        shown = redact(repr(url))
        raise SettingsError(f"{shown} is no store URL; write for example 'sqlite:///sagas.db' or 'memory://'")
    if is_cut_off(url):
        raise SettingsError(
            f"{redact(url)!r}: a / ? or # in the user name or the password is to be escaped: p/w is written p%2Fw"
        )
    found = {entry.name: entry for entry in entry_points(group="sagafsm.stores")}
    if scheme not in found:
        known = ", ".join(sorted(found)) or "none"
        raise SettingsError(f"no store for '{scheme}://' is installed (installed: {known})")
    try:
        factory = found[scheme].load()
    except ImportError as exc:
        dist = found[scheme].dist
        extras = dist.metadata.get_all("Provides-Extra", []) if dist else []
        extra = next((f"[{each}]" for each in extras if scheme.startswith(each)), "")
        raise SettingsError(
            f"the store for '{scheme}://' cannot be loaded: {exc}; install its driver: "
            f"pip install '{dist and dist.name}{extra}'"
        ) from exc
    store: Store
    try:
        store = factory.from_url(url, **options)
    except SettingsError as exc:
        if not holds_secret(url):
            raise
        refused = redact(str(exc))
    else:
        return store
    # What a store or a parser says of a URL that it refuses may repeat it: outside the handler nothing is chained.
    raise SettingsError(refused)
