"""The bank: charges cards in favour of the shop, and refunds them.

What must stay true: every entry moves one amount between a card and the shop, so that the sum of all balances is at
every moment the sum of all openings. Amounts are whole cents.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any, ClassVar

from .book import Book, Call, Refused

SHOP = "shop"
CARD_OPENING = 2_000_000
"""What a card is good for when it is first seen, in cents: more than one customer of the shipped file can spend."""

DECLINED = {"0002": "the card was reported stolen", "9995": "insufficient funds"}
"""Test cards that are always declined, by their last four digits."""


class Bank(Book):
    """Operations: ``charge`` (undone by ``refund``)."""

    schema: ClassVar[str] = """
    create table accounts (account text primary key, opening integer not null, balance integer not null);
    create table entries (
        n integer primary key, key text not null unique, order_id text not null, kind text not null,
        payment text not null, card text not null, amount integer not null check (amount > 0));
    """
    actions: ClassVar[frozenset[str]] = frozenset({"charge"})
    compensations: ClassVar[Mapping[str, str]] = {"refund": "charge"}

    def open(self, db: sqlite3.Connection) -> None:
        """Open the shop's account; a card's is opened when it is first seen."""
        db.execute("insert into accounts (account, opening, balance) values (?, 0, 0)", (SHOP,))

    def act(self, db: sqlite3.Connection, call: Call) -> Mapping[str, Any]:
        """Charge the card, or refuse with 402."""
        card, amount = call.body["card"], call.body["amount"]
        # The shipped file has ordinary cards that end in these digits too; test cards begin with 4000.
        if card.startswith("4000") and card[-4:] in DECLINED:
            raise Refused(f"card declined: {DECLINED[card[-4:]]}", status=402)
        db.execute(
            "insert or ignore into accounts (account, opening, balance) values (?, ?, ?)",
            (card, CARD_OPENING, CARD_OPENING),
        )
        (balance,) = db.execute("select balance from accounts where account = ?", (card,)).fetchone()
        if balance < amount:
            raise Refused("card declined: insufficient funds", status=402)
        payment = f"payment-{call.key[:12]}"
        self._enter(db, call, "charge", payment, card, amount)
        return {"payment": payment, "amount": amount}

    def undo(self, db: sqlite3.Connection, call: Call, result: Mapping[str, Any]) -> None:
        """Refund what the charge took."""
        card, amount = db.execute(
            "select card, amount from entries where kind = 'charge' and payment = ?", (result["payment"],)
        ).fetchone()
        self._enter(db, call, "refund", result["payment"], card, amount)

    def _enter(self, db: sqlite3.Connection, call: Call, kind: str, payment: str, card: str, amount: int) -> None:
        payer, payee = (card, SHOP) if kind == "charge" else (SHOP, card)
        db.execute("update accounts set balance = balance - ? where account = ?", (amount, payer))
        db.execute("update accounts set balance = balance + ? where account = ?", (amount, payee))
        db.execute(
            "insert into entries (key, order_id, kind, payment, card, amount) values (?, ?, ?, ?, ?, ?)",
            (call.key, call.order_id, kind, payment, card, amount),
        )


if __name__ == "__main__":
    from .participant import main

    main(Bank)
