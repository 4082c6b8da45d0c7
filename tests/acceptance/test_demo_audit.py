"""The audit of the demo: silent where all is well, and every planted wrong is found by the check that is for it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import attrs
import msgspec
import pytest

from sagafsm import Orchestrator
from sagafsm.demo import audit as auditing
from sagafsm.demo.audit import CHECKS, Evidence, audit
from sagafsm.demo.bank import Bank
from sagafsm.demo.book import Book, Call
from sagafsm.demo.books import Books
from sagafsm.demo.carrier import Carrier
from sagafsm.demo.logs import LOGS, Kept, fetch
from sagafsm.demo.make_orders import as_lines, make_orders
from sagafsm.demo.orders import Order, load_orders
from sagafsm.demo.outcome import Outcome
from sagafsm.demo.saga import OrderFulfillment, Payment, Reservation, Shipment
from sagafsm.demo.warehouse import Warehouse
from sagafsm.testing import SagaTestHarness

FULFILLED, UNDONE, UNTOUCHED = "order-0001", "order-0003", "order-0004"


def call(book: Book, operation: str, order: Order, **body: object) -> dict[str, object]:
    key = f"{order.order_id}-{operation}"
    answer = book.receive(Call(operation, key, order.order_id, {"order_id": order.order_id, **body}))
    assert answer.status == 200, answer
    return dict(answer.body)


def saga_of(order: Order, refuses: str | None = None) -> Kept:
    """The saga of an order, as the store has it, without the participants."""
    harness = SagaTestHarness(OrderFulfillment)
    harness.configure_result("reserve_stock", Reservation(reservation="r"))
    harness.configure_result("charge_card", Payment(payment="p", amount=order.total))
    harness.configure_result("create_shipment", Shipment(tracking="t"))
    for name in ("confirm", "release_stock", "refund_card"):
        harness.configure_result(name)
    if refuses is not None:
        harness.configure_failure(refuses)
    harness.run_sync(order, saga_id=order.order_id)
    found: list[Kept] = []

    async def read(orchestrator: Orchestrator) -> None:
        found.extend(await fetch(orchestrator.store, {order.order_id: order.order_id}))

    asyncio.run(harness.perform(read))
    return found[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A demo's folder with three orders: one fulfilled, one undone after its charge, one that never got anything."""
    fulfilled, undone, untouched = orders = [
        order for order in load_orders(limit=4) if order.order_id in {FULFILLED, UNDONE, UNTOUCHED}
    ]
    warehouse, bank, carrier = (
        Warehouse(tmp_path / "warehouse.db"), Bank(tmp_path / "bank.db"), Carrier(tmp_path / "carrier.db"),
    )  # fmt: skip
    for order in (fulfilled, undone):
        items = [attrs.asdict(item) for item in order.items]
        reserved = call(warehouse, "reserve", order, items=items)
        call(bank, "charge", order, card=order.card, amount=order.total)
        if order is undone:
            call(bank, "refund", order, cancels=f"{order.order_id}-charge")
            call(warehouse, "release", order, cancels=f"{order.order_id}-reserve")
        else:
            call(carrier, "ship", order, address=attrs.asdict(order.address))
            call(warehouse, "dispatch", order, reservation=reserved["reservation"])
    for book in (warehouse, bank, carrier):
        book.close()
    logs = [
        saga_of(fulfilled),
        saga_of(undone, refuses="create_shipment"),
        saga_of(untouched, refuses="reserve_stock"),
    ]
    (tmp_path / LOGS).write_bytes(b"".join(msgspec.json.encode(log) + b"\n" for log in logs))
    (tmp_path / auditing.ORDERS).write_bytes(as_lines(orders))
    states = {fulfilled: "completed", undone: "failed", untouched: "failed"}
    lines = [json.dumps({"order_id": order.order_id, "state": state}) for order, state in states.items()]
    (tmp_path / auditing.OUTCOMES).write_text("\n".join(lines))
    return tmp_path


def found(folder: Path) -> set[tuple[str, str]]:
    """The checks that found something, each with the subject."""
    return {(finding.check, finding.subject) for finding in audit(auditing.read_evidence(folder)).findings}


def plant(folder: Path, book: str, *statements: str) -> None:
    with closing(sqlite3.connect(folder / book)) as db, db:
        for statement in statements:
            changed = db.execute(statement)
            assert changed.rowcount > 0, f"nothing was planted by: {statement}"


def test_books_without_a_wrong_have_no_finding(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = audit(auditing.read_evidence(folder))
    assert report.findings == []
    assert len(report.checks) == len(CHECKS)
    assert auditing.main([str(folder)]) == 0
    assert capsys.readouterr().out == f"3 orders, {len(CHECKS)} checks, 0 wrongs\n"


def test_a_double_charge_is_found(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plant(
        folder, "bank.db",
        "insert into entries (key, order_id, kind, payment, card, amount)"
        f" select 'other key', order_id, kind, payment, card, amount from entries where order_id = '{FULFILLED}'",
    )  # fmt: skip
    assert {("nothing twice", FULFILLED), ("whole or nothing", FULFILLED), ("money adds up", "shop")} <= found(folder)
    assert auditing.main([str(folder)]) == 1
    assert "nothing twice: order-0001: charge happened 2 times" in capsys.readouterr().out


def test_a_double_charge_that_was_refunded_is_still_found(folder: Path) -> None:
    for kind in ("charge", "refund"):
        plant(
            folder, "bank.db",
            "insert into entries (key, order_id, kind, payment, card, amount)"
            f" select kind || '2', order_id, kind, payment, card, amount from entries"
            f" where order_id = '{UNDONE}' and kind = '{kind}'",
        )  # fmt: skip
    assert found(folder) == {("no invariant broken", UNDONE), ("nothing twice", UNDONE)}


def test_a_missing_refund_is_found_although_the_balances_agree(folder: Path) -> None:
    (order,) = [order for order in load_orders(limit=4) if order.order_id == UNDONE]
    plant(
        folder, "bank.db",
        f"delete from entries where order_id = '{UNDONE}' and kind = 'refund'",
        f"update accounts set balance = balance - {order.total} where account = '{order.card}'",
        f"update accounts set balance = balance + {order.total} where account = 'shop'",
    )  # fmt: skip
    assert found(folder) == {
        ("no invariant broken", UNDONE),
        ("whole or nothing", UNDONE),
        ("money adds up", "shop"),
        ("money adds up", order.card),
    }


def test_a_refund_of_a_cent_too_little_is_found(folder: Path) -> None:
    plant(folder, "bank.db", f"update entries set amount = amount - 1 where order_id = '{UNDONE}' and kind = 'refund'")
    assert ("whole or nothing", UNDONE) in found(folder)
    assert ("money adds up", "shop") in found(folder)


def test_a_refund_without_a_charge_is_found(folder: Path) -> None:
    plant(
        folder, "bank.db",
        "insert into entries (key, order_id, kind, payment, card, amount)"
        f" values ('x', '{UNTOUCHED}', 'refund', 'p', '4242', 100)",
    )  # fmt: skip
    assert ("nothing undone before it was done", UNTOUCHED) in found(folder)


def test_a_release_that_came_before_its_reservation_is_found(folder: Path) -> None:
    plant(folder, "warehouse.db", f"update movements set n = -n where order_id = '{UNDONE}' and kind = 'release'")
    assert found(folder) == {("no invariant broken", UNDONE), ("nothing undone before it was done", UNDONE)}


def test_a_wrong_stock_count_is_found(folder: Path) -> None:
    plant(folder, "warehouse.db", "update shelves set available = available + 1 where sku = 'KTL-001'")
    assert found(folder) == {("stock adds up", "KTL-001")}


def test_a_wrong_opening_stock_is_found_although_the_sums_agree(folder: Path) -> None:
    plant(
        folder, "warehouse.db",
        "update shelves set available = available + 1, opening = opening + 1 where sku = 'KTL-001'",
    )  # fmt: skip
    assert ("stock adds up", "KTL-001") in found(folder)


def test_stock_still_held_back_for_a_failed_order_is_found(folder: Path) -> None:
    plant(folder, "warehouse.db", f"delete from movements where order_id = '{UNDONE}' and kind = 'release'")
    assert ("whole or nothing", UNDONE) in found(folder)


def test_a_parcel_for_a_failed_order_is_found(folder: Path) -> None:
    plant(
        folder, "carrier.db",
        "insert into shipments (key, order_id, tracking, postcode, country)"
        f" values ('x', '{UNTOUCHED}', 't', '1010', 'AT')",
    )  # fmt: skip
    assert found(folder) == {("no invariant broken", UNTOUCHED), ("whole or nothing", UNTOUCHED)}


def test_two_parcels_for_one_order_are_found(folder: Path) -> None:
    plant(
        folder, "carrier.db",
        "insert into shipments (key, order_id, tracking, postcode, country)"
        f" values ('x', '{FULFILLED}', 't', '1010', 'AT')",
    )  # fmt: skip
    assert found(folder) == {
        ("no invariant broken", FULFILLED),
        ("whole or nothing", FULFILLED),
        ("nothing twice", FULFILLED),
    }


def test_a_completed_order_without_its_parcel_is_found(folder: Path) -> None:
    plant(folder, "carrier.db", f"delete from shipments where order_id = '{FULFILLED}'")
    assert found(folder) == {("no invariant broken", FULFILLED), ("whole or nothing", FULFILLED)}


def test_goods_that_were_reserved_and_never_dispatched_are_found(folder: Path) -> None:
    plant(folder, "warehouse.db", f"delete from movements where order_id = '{FULFILLED}' and kind = 'dispatch'")
    assert ("whole or nothing", FULFILLED) in found(folder)


def test_a_stranger_in_a_ledger_is_found(folder: Path) -> None:
    plant(
        folder, "carrier.db",
        "insert into shipments (key, order_id, tracking, postcode, country)"
        " values ('x', 'order-9999', 't', '1010', 'AT')",
    )  # fmt: skip
    assert found(folder) == {("no strangers", "order-9999")}


@pytest.mark.parametrize(
    "outcome",
    [
        None,
        Outcome(order_id=UNTOUCHED, state="pending"),
        Outcome(order_id=UNTOUCHED, state="compensating", stuck=True),
        Outcome(order_id=UNTOUCHED, state="failed", stuck=True),
    ],
)
def test_a_saga_that_has_not_ended_is_found(folder: Path, outcome: Outcome | None) -> None:
    evidence = auditing.read_evidence(folder)
    reports = [report for report in evidence.reports if report.order_id != UNTOUCHED]
    if outcome is not None:
        reports.append(outcome)
    findings = audit(attrs.evolve(evidence, reports=reports)).findings
    assert [(finding.check, finding.subject) for finding in findings] == [("every saga ended", UNTOUCHED)]


def test_a_saga_that_calls_an_undone_order_completed_is_found(folder: Path) -> None:
    evidence = auditing.read_evidence(folder)
    reports = [*evidence.reports, Outcome(order_id=UNDONE, state="completed")]
    findings = {(finding.check, finding.subject) for finding in audit(attrs.evolve(evidence, reports=reports)).findings}
    assert {("whole or nothing", UNDONE), ("nothing forgotten", UNDONE)} <= findings


def test_a_log_that_breaks_an_invariant_is_found(folder: Path) -> None:
    evidence = auditing.read_evidence(folder)
    fulfilled, *others = evidence.sagas
    torn = msgspec.structs.replace(fulfilled, events=[event for event in fulfilled.events if event[0] != 3])
    findings = audit(attrs.evolve(evidence, sagas=[torn, *others])).findings
    assert [(finding.check, finding.subject) for finding in findings] == [("no invariant broken", FULFILLED)]


def test_a_saga_that_contradicts_the_books_is_found(folder: Path) -> None:
    """The log is sound by itself, and so are the books; together they are not."""
    plant(folder, "bank.db", f"delete from entries where kind = 'refund' and order_id = '{UNDONE}'")
    problems = [finding.message for finding in audit(auditing.read_evidence(folder)).findings]
    assert any("C1 net effect: step charge_card is compensated" in problem for problem in problems)


def test_an_order_without_its_saga_is_found(folder: Path) -> None:
    evidence = auditing.read_evidence(folder)
    findings = audit(attrs.evolve(evidence, sagas=evidence.sagas[1:])).findings
    assert [(finding.check, finding.subject) for finding in findings] == [("no invariant broken", FULFILLED)]


def test_an_end_that_the_kill_made_unsaid_is_found(folder: Path) -> None:
    evidence = auditing.read_evidence(folder)
    reports = [Outcome(order_id=FULFILLED, state="failed", outcome="compensated"), *evidence.reports]
    findings = audit(attrs.evolve(evidence, reports=reports)).findings
    assert [(finding.check, finding.subject) for finding in findings] == [("nothing forgotten", FULFILLED)]


@pytest.mark.parametrize("missing", ["bank.db", auditing.ORDERS, auditing.OUTCOMES, LOGS])
def test_a_folder_that_cannot_be_read_is_said_so(
    folder: Path, missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / missing).unlink()
    assert auditing.main([str(folder)]) == 2
    assert missing in capsys.readouterr().err


def test_evidence_can_be_made_by_hand(folder: Path) -> None:
    """The checks are functions of data, so that another test can feed them what it likes."""
    books = attrs.evolve(Books.read(folder), movements=[], entries=[], shipments=[], accounts={})
    evidence = Evidence(orders=[], reports=[], books=books, sagas=[])
    assert {finding.check for finding in audit(evidence).findings} == {"stock adds up"}


# --- the shipped orders ---


def test_the_shipped_orders_are_what_the_script_makes() -> None:
    path = Path(auditing.__file__).with_name("orders.jsonl")
    assert path.read_bytes() == as_lines(make_orders())
    assert load_orders() == make_orders()


def test_about_a_tenth_of_the_orders_fails_for_a_reason_of_business() -> None:
    orders = load_orders()
    assert len({order.order_id for order in orders}) == len(orders) == 1000
    doomed = [
        order
        for order in orders
        if order.card.startswith("4000") or order.address.country in {"IS", "MT"}
        or {item.sku for item in order.items} & {"ESP-100", "RAD-001"}
    ]  # fmt: skip
    assert 70 <= len(doomed) <= 130


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"order_id": "order-1"}', "line 1: not an order"),
        ("nonsense", "line 1: not an order"),
        (as_lines(make_orders(1)).decode().replace('"total": ', '"total": 1'), "line 1: total is"),
    ],
)
def test_a_bad_line_in_the_orders_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "orders.jsonl").write_text(line)
    with pytest.raises(ValueError, match=message):
        load_orders(tmp_path / "orders.jsonl")
