"""The carrier: takes parcels. A shipment is final; whether there is one can be asked, bindingly.

What must stay true: after ``settle`` has said that a shipment did not happen, it never will.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any, ClassVar

from .book import Book, Call, Refused

SERVED = frozenset({"AT", "BE", "DE", "DK", "FR", "NL"})


class Carrier(Book):
    """Operations: ``ship`` (final) and ``settle`` (did that shipment happen? if not, it never will)."""

    schema: ClassVar[str] = """
    create table shipments (
        n integer primary key, key text not null unique, order_id text not null, tracking text not null unique,
        postcode text not null, country text not null);
    """
    actions: ClassVar[frozenset[str]] = frozenset({"ship"})
    settlements: ClassVar[Mapping[str, str]] = {"settle": "ship"}

    def open(self, db: sqlite3.Connection) -> None:
        """A carrier begins with an empty book."""

    def act(self, db: sqlite3.Connection, call: Call) -> Mapping[str, Any]:
        """Take the parcel, or refuse it where nobody delivers."""
        address = call.body["address"]
        if address["country"] not in SERVED:
            raise Refused(f"no service to {address['country']}")
        tracking = f"parcel-{call.key[:12]}"
        db.execute(
            "insert into shipments (key, order_id, tracking, postcode, country) values (?, ?, ?, ?, ?)",
            (call.key, call.order_id, tracking, address["postcode"], address["country"]),
        )
        return {"tracking": tracking}


if __name__ == "__main__":
    from .participant import main

    main(Carrier)
