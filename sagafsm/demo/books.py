"""The three books, read for the audit.

What must stay true: read-only; nothing of the participants' code runs here, so that a wrong in it cannot hide itself.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import attrs

PARTICIPANTS = ("warehouse", "bank", "carrier")


class Movement(NamedTuple):
    """One line of the warehouse's ledger; ``kind``: reserve, release or dispatch."""

    n: int
    order_id: str
    kind: str
    sku: str
    quantity: int


class Shelf(NamedTuple):
    """What the warehouse says it has of one article."""

    opening: int
    available: int
    reserved: int


class Entry(NamedTuple):
    """One line of the bank's ledger; ``kind``: charge or refund; ``amount`` in cents."""

    n: int
    order_id: str
    kind: str
    card: str
    amount: int


class Account(NamedTuple):
    """What the bank says an account has, in cents."""

    opening: int
    balance: int


class Shipment(NamedTuple):
    """One line of the carrier's ledger."""

    n: int
    order_id: str
    tracking: str


@attrs.frozen(kw_only=True)
class Books:
    """Everything that the three participants have written down.

    ``faults`` and ``verdicts``: how many calls met which fault, and how they were answered.
    """

    movements: Sequence[Movement]
    shelves: Mapping[str, Shelf]
    entries: Sequence[Entry]
    accounts: Mapping[str, Account]
    shipments: Sequence[Shipment]
    faults: Mapping[str, int]
    verdicts: Mapping[str, int]

    @classmethod
    def read(cls, folder: Path) -> Books:
        """Read ``warehouse.db``, ``bank.db`` and ``carrier.db``.

        Raises FileNotFoundError where one is missing, ``sqlite3.Error`` where one cannot be read.
        """
        faults: Counter[str] = Counter()
        verdicts: Counter[str] = Counter()
        with closing(_open(folder / "warehouse.db")) as db:
            movements = [
                Movement(*row)
                for row in db.execute("select n, order_id, kind, sku, quantity from movements order by n")
            ]
            shelves = {
                sku: Shelf(*row) for sku, *row in db.execute("select sku, opening, available, reserved from shelves")
            }
            _count_calls(db, faults, verdicts)
        with closing(_open(folder / "bank.db")) as db:
            entries = [
                Entry(*row) for row in db.execute("select n, order_id, kind, card, amount from entries order by n")
            ]
            accounts = {
                account: Account(*row) for account, *row in db.execute("select account, opening, balance from accounts")
            }
            _count_calls(db, faults, verdicts)
        with closing(_open(folder / "carrier.db")) as db:
            shipments = [Shipment(*row) for row in db.execute("select n, order_id, tracking from shipments order by n")]
            _count_calls(db, faults, verdicts)
        return cls(
            movements=movements,
            shelves=shelves,
            entries=entries,
            accounts=accounts,
            shipments=shipments,
            faults=faults,
            verdicts=verdicts,
        )


def _open(path: Path) -> sqlite3.Connection:
    if not path.exists():
        raise FileNotFoundError(f"no book at {path}; keep a demo's folder with --keep and name it here")
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)


def _count_calls(db: sqlite3.Connection, faults: Counter[str], verdicts: Counter[str]) -> None:
    for fault, verdict, count in db.execute("select fault, verdict, count(*) from calls group by fault, verdict"):
        faults[fault] += count
        verdicts[verdict] += count
