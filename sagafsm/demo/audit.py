"""The audit: do the three books, the orders and the sagas say the same?

What must stay true: every check is a function of what was read, finds a wrong on its own evidence, and says which
order, article or account is wrong and how. The sagas' word is never taken for what a participant did. Their logs are
judged by the checker that judges the library's simulations.

``python -m sagafsm.demo.audit FOLDER`` audits the folder that a demo with ``--keep FOLDER`` left; it exits with 1 if
anything is wrong.
"""

from __future__ import annotations

import sqlite3
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import attrs
import msgspec

from .bank import CARD_OPENING, SHOP
from .books import Account, Books, Shelf
from .catalogue import CATALOGUE
from .logs import Kept, judged, read_logs
from .orders import Order, load_orders
from .outcome import Outcome

Line = TypeVar("Line")


@attrs.frozen
class Finding:
    """One wrong: the check that found it, what it is about (order, article, account), and what is wrong."""

    check: str
    subject: str
    message: str

    def __str__(self) -> str:
        return f"{self.check}: {self.subject}: {self.message}"


@attrs.frozen(kw_only=True)
class Evidence:
    """What the audit goes by.

    ``reports``: how the orders ended, in the order in which the job said so; after a kill it says so again. ``sagas``:
    their sagas, as the store has them.
    """

    orders: Sequence[Order]
    reports: Sequence[Outcome]
    books: Books
    sagas: Sequence[Kept]

    @property
    def outcomes(self) -> Mapping[str, Outcome]:
        """The last word on each order, by its id; an order that is missing was never run to an end."""
        return {report.order_id: report for report in self.reports}

    def fulfilled(self) -> list[Order]:
        """The orders whose saga says that they happened."""
        completed = {order_id for order_id, outcome in self.outcomes.items() if outcome.state == "completed"}
        return [order for order in self.orders if order.order_id in completed]


@attrs.frozen(kw_only=True)
class Report:
    """What the audit came to: the checks that were made, and everything they found."""

    checks: Sequence[str]
    findings: Sequence[Finding]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


def every_saga_ended(evidence: Evidence) -> Iterator[Finding]:
    """Every order has a saga, which is completed or failed, and none is stuck."""
    outcomes = evidence.outcomes
    for order in evidence.orders:
        outcome = outcomes.get(order.order_id)
        if outcome is None:
            yield Finding("every saga ended", order.order_id, "has no saga")
        elif outcome.stuck or outcome.state not in {"completed", "failed"}:
            state = f"{outcome.state}, stuck" if outcome.stuck else outcome.state
            yield Finding("every saga ended", order.order_id, f"is {state}")


def nothing_forgotten(evidence: Evidence) -> Iterator[Finding]:
    """What was once reported as ended is still so, kill or no kill."""
    outcomes = evidence.outcomes
    for report in evidence.reports:
        last = outcomes[report.order_id]
        if (report.state, report.outcome) != (last.state, last.outcome):
            message = f"was reported as {report.state}, and later as {last.state}"
            yield Finding("nothing forgotten", report.order_id, message)


def whole_or_nothing(evidence: Evidence) -> Iterator[Finding]:
    """What a completed order says it got is exactly what stands in the books; of a failed one nothing stands."""
    books = evidence.books
    fulfilled = {order.order_id for order in evidence.fulfilled()}
    movements = _grouped(books.movements, lambda line: line.order_id)
    entries = _grouped(books.entries, lambda line: line.order_id)
    shipments = _grouped(books.shipments, lambda line: line.order_id)
    for order in evidence.orders:
        expected_goods = {item.sku: item.quantity for item in order.items} if order.order_id in fulfilled else {}
        expected_money = {order.card: order.total} if order.order_id in fulfilled else {}
        lines = movements[order.order_id]
        held = _sums(
            lines, lambda line: line.sku, lambda line: {"reserve": 1, "release": -1}.get(line.kind, 0) * line.quantity
        )
        gone = _sums(lines, lambda line: line.sku, lambda line: line.quantity if line.kind == "dispatch" else 0)
        paid = _sums(
            entries[order.order_id],
            lambda entry: entry.card,
            lambda entry: entry.amount if entry.kind == "charge" else -entry.amount,
        )
        parcels = len(shipments[order.order_id])
        for what, expected, found in (
            ("reserved and not released", expected_goods, held),
            ("dispatched", expected_goods, gone),
            ("charged and not refunded (cents)", expected_money, paid),
            ("parcels", int(order.order_id in fulfilled), parcels),
        ):
            if found != expected:
                kind = "fulfilled" if order.order_id in fulfilled else "undone"
                message = f"the order is {kind}; {what}: expected {expected or 'none'}, found {found or 'none'}"
                yield Finding("whole or nothing", order.order_id, message)


def nothing_twice(evidence: Evidence) -> Iterator[Finding]:
    """No effect stands twice in a ledger for one order, whether or not it was undone later."""
    books = evidence.books
    effects = Counter(
        [(line.order_id, f"{line.kind} of {line.sku}") for line in books.movements]
        + [(entry.order_id, entry.kind) for entry in books.entries]
        + [(shipment.order_id, "shipment") for shipment in books.shipments]
    )
    for (order_id, effect), count in effects.items():
        if count > 1:
            yield Finding("nothing twice", order_id, f"{effect} happened {count} times")


def nothing_undone_before_it_was_done(evidence: Evidence) -> Iterator[Finding]:
    """Every release comes after its reservation and every refund after its charge; none stands alone."""
    done: set[tuple[str, str]] = set()
    for line in evidence.books.movements:
        if line.kind == "reserve":
            done.add((line.order_id, line.sku))
        elif (line.order_id, line.sku) not in done:
            message = f"{line.kind} of {line.sku} without a reservation before it"
            yield Finding("nothing undone before it was done", line.order_id, message)
    charged: set[str] = set()
    for entry in evidence.books.entries:
        if entry.kind == "charge":
            charged.add(entry.order_id)
        elif entry.order_id not in charged:
            yield Finding("nothing undone before it was done", entry.order_id, "refund without a charge before it")


def no_strangers(evidence: Evidence) -> Iterator[Finding]:
    """Every line of every ledger belongs to an order that was placed."""
    placed = {order.order_id for order in evidence.orders}
    books = evidence.books
    written = {line.order_id for line in books.movements}
    written |= {entry.order_id for entry in books.entries}
    written |= {shipment.order_id for shipment in books.shipments}
    for order_id in sorted(written - placed):
        yield Finding("no strangers", order_id, "stands in a ledger, and no such order was placed")


def stock_adds_up(evidence: Evidence) -> Iterator[Finding]:
    """Per article: the shelf agrees with its ledger, and with what the fulfilled orders took."""
    taken = _sums(
        (item for order in evidence.fulfilled() for item in order.items),
        lambda item: item.sku,
        lambda item: item.quantity,
    )
    lines = _grouped(evidence.books.movements, lambda line: line.sku)
    stocked = {article.sku: article.stock for article in CATALOGUE}
    for sku in sorted({*evidence.books.shelves, *stocked, *lines, *taken}):
        shelf = evidence.books.shelves.get(sku, Shelf(0, 0, 0))
        sums = _sums(lines[sku], lambda line: line.kind, lambda line: line.quantity)
        reserved, released, dispatched = (sums.get(kind, 0) for kind in ("reserve", "release", "dispatch"))
        for what, expected, found in (
            ("on the shelf at the beginning", stocked.get(sku, 0), shelf.opening),
            ("on the shelf, by the ledger", shelf.opening - reserved + released, shelf.available),
            ("on the shelf, by the orders", shelf.opening - taken.get(sku, 0), shelf.available),
            ("held back, by the ledger", reserved - released - dispatched, shelf.reserved),
            ("held back, now that all is over", 0, shelf.reserved),
        ):
            if found != expected:
                yield Finding("stock adds up", sku, f"{what}: expected {expected}, found {found}")


def money_adds_up(evidence: Evidence) -> Iterator[Finding]:
    """Per account, to the cent: the balance agrees with the ledger, and with the totals of the fulfilled orders."""
    by_ledger: Counter[str] = Counter()
    by_orders: Counter[str] = Counter()
    for entry in evidence.books.entries:
        signed = entry.amount if entry.kind == "charge" else -entry.amount
        by_ledger.update({SHOP: signed, entry.card: -signed})
    for order in evidence.fulfilled():
        by_orders.update({SHOP: order.total, order.card: -order.total})
    for account in sorted({*evidence.books.accounts, *by_ledger, *by_orders}):
        opening, balance = evidence.books.accounts.get(account, Account(0, 0))
        for what, expected, found in (
            ("at the beginning", 0 if account == SHOP else CARD_OPENING, opening),
            ("by the ledger", opening + by_ledger[account], balance),
            ("by the orders", opening + by_orders[account], balance),
        ):
            if found != expected:
                message = f"balance {what}: expected {expected} cents, found {found}"
                yield Finding("money adds up", account, message)


def no_invariant_broken(evidence: Evidence) -> Iterator[Finding]:
    """The library's checker, which judges its simulations, finds nothing wrong with the log of any saga."""
    kept = {one.order_id for one in evidence.sagas}
    for order_id in evidence.outcomes:
        if order_id not in kept:
            yield Finding("no invariant broken", order_id, "its saga is not in the store")
    for order_id, problem in judged(evidence.sagas, evidence.books):
        yield Finding("no invariant broken", order_id, problem)


CHECKS: tuple[Callable[[Evidence], Iterator[Finding]], ...] = (
    every_saga_ended,
    nothing_forgotten,
    whole_or_nothing,
    nothing_twice,
    nothing_undone_before_it_was_done,
    no_strangers,
    stock_adds_up,
    money_adds_up,
    no_invariant_broken,
)


def audit(evidence: Evidence) -> Report:
    """Make every check."""
    findings = [finding for check in CHECKS for finding in check(evidence)]
    return Report(checks=[check.__name__.replace("_", " ") for check in CHECKS], findings=findings)


def _grouped(lines: Iterable[Line], key: Callable[[Line], str]) -> defaultdict[str, list[Line]]:
    groups: defaultdict[str, list[Line]] = defaultdict(list)
    for line in lines:
        groups[key(line)].append(line)
    return groups


def _sums(lines: Iterable[Line], key: Callable[[Line], str], amount: Callable[[Line], int]) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for line in lines:
        sums[key(line)] += amount(line)
    return {name: total for name, total in sums.items() if total}


OUTCOMES = "outcomes.jsonl"
ORDERS = "orders.jsonl"


def read_evidence(folder: Path) -> Evidence:
    """Read what a demo left in its folder. Raises OSError, ``sqlite3.Error`` or ValueError where it cannot be read."""
    return Evidence(
        orders=load_orders(folder / ORDERS),
        reports=[msgspec.json.decode(line, type=Outcome) for line in (folder / OUTCOMES).read_bytes().splitlines()],
        books=Books.read(folder),
        sagas=read_logs(folder),
    )


def main(arguments: Sequence[str]) -> int:
    """Audit a demo's folder; 0: nothing is wrong, 1: something is, 2: it cannot be read."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m sagafsm.demo.audit FOLDER\n")
        return 2
    try:
        evidence = read_evidence(Path(arguments[0]))
    except (OSError, ValueError, sqlite3.Error) as exc:
        sys.stderr.write(f"cannot audit {arguments[0]}: {exc}\n")
        return 2
    report = audit(evidence)
    for finding in report.findings:
        sys.stdout.write(f"{finding}\n")
    sys.stdout.write(f"{len(evidence.orders)} orders, {len(report.checks)} checks, {len(report.findings)} wrongs\n")
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
