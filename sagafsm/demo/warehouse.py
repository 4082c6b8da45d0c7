"""The warehouse: reserves stock, releases it, and dispatches what was reserved.

What must stay true: per article, opening = available + reserved + dispatched, at every moment.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar

from .book import Book, Call, Refused
from .catalogue import CATALOGUE


class Warehouse(Book):
    """Operations: ``reserve`` (undone by ``release``) and ``dispatch`` (final)."""

    schema: ClassVar[str] = """
    create table shelves (
        sku text primary key, opening integer not null, available integer not null check (available >= 0),
        reserved integer not null default 0 check (reserved >= 0));
    create table movements (
        n integer primary key, key text not null, order_id text not null, kind text not null,
        reservation text not null, sku text not null, quantity integer not null check (quantity > 0),
        unique (key, sku));
    """
    actions: ClassVar[frozenset[str]] = frozenset({"reserve", "dispatch"})
    compensations: ClassVar[Mapping[str, str]] = {"release": "reserve"}

    def open(self, db: sqlite3.Connection) -> None:
        """Fill the shelves."""
        db.executemany(
            "insert into shelves (sku, opening, available) values (?, ?, ?)",
            [(article.sku, article.stock, article.stock) for article in CATALOGUE],
        )

    def act(self, db: sqlite3.Connection, call: Call) -> Mapping[str, Any]:
        """Reserve all items of an order, or none; or dispatch what is reserved."""
        return self._dispatch(db, call) if call.operation == "dispatch" else self._reserve(db, call)

    def _reserve(self, db: sqlite3.Connection, call: Call) -> Mapping[str, Any]:
        reservation = f"reservation-{call.key[:12]}"
        wanted: Counter[str] = Counter()
        for item in call.body["items"]:
            wanted[item["sku"]] += item["quantity"]
        for sku, quantity in wanted.items():
            taken = db.execute(
                "update shelves set available = available - ?, reserved = reserved + ?"
                " where sku = ? and available >= ?",
                (quantity, quantity, sku, quantity),
            )
            if taken.rowcount != 1:
                raise Refused(f"out of stock ({sku})")
            self._move(db, call, "reserve", reservation, sku, quantity)
        return {"reservation": reservation}

    def undo(self, db: sqlite3.Connection, call: Call, result: Mapping[str, Any]) -> None:
        """Put what is held under the reservation back on the shelf."""
        for sku, quantity in self._held(db, result["reservation"]):
            db.execute(
                "update shelves set available = available + ?, reserved = reserved - ? where sku = ?",
                (quantity, quantity, sku),
            )
            self._move(db, call, "release", result["reservation"], sku, quantity)

    def _dispatch(self, db: sqlite3.Connection, call: Call) -> Mapping[str, Any]:
        reservation = call.body["reservation"]
        held = self._held(db, reservation)
        if not held:
            raise Refused(f"nothing is held under {reservation}")
        for sku, quantity in held:
            db.execute("update shelves set reserved = reserved - ? where sku = ?", (quantity, sku))
            self._move(db, call, "dispatch", reservation, sku, quantity)
        return {"dispatched": sum(quantity for _, quantity in held)}

    def _held(self, db: sqlite3.Connection, reservation: str) -> list[tuple[str, int]]:
        return db.execute(
            "select sku, sum(case kind when 'reserve' then quantity else -quantity end) as held from movements"
            " where reservation = ? group by sku having held > 0",
            (reservation,),
        ).fetchall()

    def _move(self, db: sqlite3.Connection, call: Call, kind: str, reservation: str, sku: str, quantity: int) -> None:
        db.execute(
            "insert into movements (key, order_id, kind, reservation, sku, quantity) values (?, ?, ?, ?, ?, ?)",
            (call.key, call.order_id, kind, reservation, sku, quantity),
        )


if __name__ == "__main__":
    from .participant import main

    main(Warehouse)
