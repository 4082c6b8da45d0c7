"""The sagas' own logs, read for the audit and held against the books by the library's checker.

What must stay true: the checker is the one that judges simulated runs; nothing is left out for the demo.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from sagafsm import Orchestrator
from sagafsm.declare import definition_of
from sagafsm.store import Record, Store, StoredEvent
from sagafsm.testing.checker import Effect
from sagafsm.testing.judging import Evidence, Log, judge
from sagafsm.testing.laws import Broken

from .books import Books
from .saga import OrderFulfillment

LOGS = "sagas.jsonl"
AT_ONCE = 200
THOROUGH_EVERY = 16  # the dearest checks are made of every so-many-th saga

DONE = {"reserve": "reserve_stock", "dispatch": "confirm", "charge": "charge_card"}
UNDONE = {"release": "reserve_stock", "refund": "charge_card"}


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """One saga as the store has it: one line of the file."""

    order_id: str
    record: Record
    events: Sequence[tuple[int, str, float, str]]

    def log(self) -> Log:
        """The same, as the checker reads it."""
        events = [StoredEvent(seq, kind, at, data.encode()) for seq, kind, at, data in self.events]
        definition = definition_of(OrderFulfillment)
        return Log(saga_id=self.record.saga_id, definition=definition, events=events, record=self.record)


async def keep_logs(folder: Path, store: str, order_ids: Sequence[str], prefix: str) -> None:
    """Write the logs of these orders' sagas into the demo's folder."""
    async with Orchestrator(store, sagas=[OrderFulfillment], worker=False) as orchestrator:
        with (folder / LOGS).open("wb") as file:
            for first in range(0, len(order_ids), AT_ONCE):
                ids = {prefix + order_id: order_id for order_id in order_ids[first : first + AT_ONCE]}
                for kept in await fetch(orchestrator.store, ids):
                    file.write(msgspec.json.encode(kept) + b"\n")


async def fetch(store: Store, ids: Mapping[str, str]) -> Sequence[Kept]:
    """Read sagas from a store. ``ids``: their orders, by the sagas' ids."""
    found: list[Kept] = []
    for saga_id, stored in (await store.load(list(ids))).items():
        events = [(event.seq, event.type, event.at, event.data.decode()) for event in await store.events(saga_id)]
        found.append(Kept(order_id=ids[saga_id], record=stored.record, events=events))
    return found


def read_logs(folder: Path) -> Sequence[Kept]:
    """The logs that a demo left in its folder. Raises OSError or ValueError where they cannot be read."""
    return msgspec.json.decode(b"[" + b",".join((folder / LOGS).read_bytes().splitlines()) + b"]", type=list[Kept])


def judged(kept: Sequence[Kept], books: Books) -> Iterator[tuple[str, str]]:
    """The orders whose sagas break an invariant, and which."""
    effects = effects_of(books)
    for number, one in enumerate(kept):
        log = one.log()
        evidence = Evidence(
            logs={log.saga_id: log},
            effects={log.saga_id: effects.get(one.order_id, ())},
            thorough=number % THOROUGH_EVERY == 0,
        )
        try:
            judge(evidence)
        except Broken as broken:
            yield one.order_id, str(broken)


def effects_of(books: Books) -> Mapping[str, Sequence[Effect]]:
    """What the participants did for each order, step by step, by their own books.

    A reservation has a line for each article: the first article of an order stands for all.
    """
    found: dict[str, list[Effect]] = {}
    first: dict[str, str] = {}
    lines = [
        *(
            (line.order_id, line.kind)
            for line in books.movements
            if first.setdefault(line.order_id, line.sku) == line.sku
        ),
        *((entry.order_id, entry.kind) for entry in books.entries),
    ]
    for order_id, kind in lines:
        effect = Effect(step=DONE[kind]) if kind in DONE else Effect(step=UNDONE[kind], undo=True)
        found.setdefault(order_id, []).append(effect)
    for shipment in books.shipments:
        found.setdefault(shipment.order_id, []).append(Effect(step="create_shipment"))
    return found
