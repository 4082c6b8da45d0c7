"""The participants of the demo: one key, one answer; a compensation that comes first; faults that can be repeated."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from sagafsm.demo.bank import Bank
from sagafsm.demo.book import Book
from sagafsm.demo.carrier import Carrier
from sagafsm.demo.faults import HANGS, Fault, FaultPlan
from sagafsm.demo.participant import ANNOUNCEMENT, Participant
from sagafsm.demo.warehouse import Warehouse

ITEMS = [{"sku": "KTL-001", "quantity": 2}, {"sku": "MUG-006", "quantity": 1}]
ADDRESS = {"postcode": "1010", "country": "AT"}
SURE = FaultPlan()

Serve = Callable[[type[Book], FaultPlan], httpx.Client]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start participants that end with the test; the book of each is `tmp_path/<name>.db`."""
    running: list[tuple[Participant, threading.Thread, httpx.Client]] = []

    def start(kind: type[Book], plan: FaultPlan = SURE) -> httpx.Client:
        participant = Participant(kind(tmp_path / f"{kind.__name__.lower()}.db"), plan)
        thread = threading.Thread(target=participant.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        client = httpx.Client(base_url=participant.url, timeout=5, trust_env=False)
        running.append((participant, thread, client))
        return client

    yield start
    for participant, thread, client in running:
        client.close()
        participant.shutdown()
        thread.join(5)
        participant.drain(5)


def post(
    client: httpx.Client, operation: str, key: str, *, order_id: str = "order-1", attempt: int = 1, **body: Any
) -> httpx.Response:
    return client.post(
        f"/{operation}",
        json={"order_id": order_id, **body},
        headers={"Idempotency-Key": key, "Attempt": str(attempt)},
    )


def rows(book: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(book)) as db:
        return db.execute(query).fetchall()


# --- one key, one answer ---


def test_the_same_key_gets_the_same_answer_and_one_effect(serve: Serve, tmp_path: Path) -> None:
    bank = serve(Bank, SURE)
    first = post(bank, "charge", "k1", card="4242", amount=500)
    again = post(bank, "charge", "k1", card="4242", amount=500, attempt=2)
    assert first.status_code == again.status_code == 200
    assert first.json() == again.json() == {"payment": "payment-k1", "amount": 500}
    assert rows(tmp_path / "bank.db", "select kind, amount from entries") == [("charge", 500)]


def test_a_refusal_of_business_is_remembered_too(serve: Serve, tmp_path: Path) -> None:
    warehouse = serve(Warehouse, SURE)
    items = [{"sku": "KTL-001", "quantity": 1}, {"sku": "ESP-100", "quantity": 1}]
    for _ in range(2):
        answer = post(warehouse, "reserve", "k1", items=items)
        assert (answer.status_code, answer.json()) == (409, {"error": "out of stock (ESP-100)"})
    assert rows(tmp_path / "warehouse.db", "select * from movements") == []
    assert rows(tmp_path / "warehouse.db", "select available from shelves where sku = 'KTL-001'") == [(800,)]


def test_a_key_cannot_be_used_for_another_request(serve: Serve, tmp_path: Path) -> None:
    bank = serve(Bank, SURE)
    post(bank, "charge", "k1", card="4242", amount=500)
    answer = post(bank, "charge", "k1", card="4242", amount=900)
    assert answer.status_code == 422
    assert rows(tmp_path / "bank.db", "select amount from entries") == [(500,)]


def test_racing_calls_with_one_key_have_one_effect(serve: Serve, tmp_path: Path) -> None:
    bank = serve(Bank, SURE)
    answers: list[httpx.Response] = []
    racers = [
        threading.Thread(target=lambda: answers.append(post(bank, "charge", "k1", card="4242", amount=500)))
        for _ in range(8)
    ]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert [answer.status_code for answer in answers] == [200] * 8
    assert rows(tmp_path / "bank.db", "select count(*) from entries") == [(1,)]


# --- compensation ---


def test_a_compensation_undoes_its_action_once(serve: Serve, tmp_path: Path) -> None:
    warehouse = serve(Warehouse, SURE)
    post(warehouse, "reserve", "k1", items=ITEMS)
    assert post(warehouse, "release", "c1", cancels="k1").json() == {"undone": True}
    assert post(warehouse, "release", "c1", cancels="k1", attempt=2).json() == {"undone": True}
    assert post(warehouse, "release", "c2", cancels="k1").json() == {"undone": False}
    assert rows(tmp_path / "warehouse.db", "select kind, sku, quantity from movements order by n") == [
        ("reserve", "KTL-001", 2), ("reserve", "MUG-006", 1), ("release", "KTL-001", 2), ("release", "MUG-006", 1),
    ]  # fmt: skip
    assert rows(tmp_path / "warehouse.db", "select * from shelves where available != opening or reserved != 0") == []


def test_a_compensation_before_its_action_does_nothing_and_the_late_action_is_refused(
    serve: Serve, tmp_path: Path
) -> None:
    bank = serve(Bank, SURE)
    assert post(bank, "refund", "c1", cancels="k1").json() == {"undone": False}
    late = post(bank, "charge", "k1", card="4242", amount=500)
    assert (late.status_code, late.json()) == (409, {"error": "cancelled by refund before it came"})
    assert rows(tmp_path / "bank.db", "select * from entries") == []


def test_a_refused_action_has_nothing_to_undo(serve: Serve, tmp_path: Path) -> None:
    bank = serve(Bank, SURE)
    assert post(bank, "charge", "k1", card="4000000000000002", amount=500).status_code == 402
    assert post(bank, "refund", "c1", cancels="k1").json() == {"undone": False}
    assert rows(tmp_path / "bank.db", "select * from entries") == []


def test_settling_says_whether_it_happened_and_makes_a_no_final(serve: Serve, tmp_path: Path) -> None:
    carrier = serve(Carrier, SURE)
    shipped = post(carrier, "ship", "k1", address=ADDRESS).json()
    for _ in range(2):  # a probe asks under the key of its action
        assert post(carrier, "settle", "k1", cancels="k1").json() == {"happened": True, "result": shipped}
        assert post(carrier, "settle", "k2", cancels="k2").json() == {"happened": False}
    assert post(carrier, "ship", "k2", address=ADDRESS).status_code == 409
    assert rows(tmp_path / "carrier.db", "select key from shipments") == [("k1",)]


def test_stock_that_was_released_cannot_be_dispatched(serve: Serve) -> None:
    warehouse = serve(Warehouse, SURE)
    reservation = post(warehouse, "reserve", "k1", items=ITEMS).json()["reservation"]
    post(warehouse, "release", "c1", cancels="k1")
    assert post(warehouse, "dispatch", "k2", reservation=reservation).status_code == 409


# --- bad requests ---


@pytest.mark.parametrize(
    ("path", "headers", "content", "status"),
    [
        ("/charge", {}, '{"order_id": "o"}', 400),
        ("/charge", {"Idempotency-Key": "k"}, "not json", 400),
        ("/charge", {"Idempotency-Key": "k"}, "[]", 400),
        ("/charge", {"Idempotency-Key": "k", "Attempt": "x"}, '{"order_id": "o"}', 400),
        ("/steal", {"Idempotency-Key": "k"}, '{"order_id": "o"}', 404),
        ("/refund", {"Idempotency-Key": "k"}, '{"order_id": "o"}', 422),
    ],
)
def test_a_bad_request_is_answered_and_not_remembered(
    serve: Serve, tmp_path: Path, path: str, headers: dict[str, str], content: str, status: int
) -> None:
    bank = serve(Bank, SURE)
    answer = bank.post(path, headers=headers, content=content)
    assert answer.status_code == status
    assert answer.json()["error"]
    assert rows(tmp_path / "bank.db", "select * from receipts") == []


def test_a_release_cannot_name_a_dispatch(serve: Serve) -> None:
    warehouse = serve(Warehouse, SURE)
    reservation = post(warehouse, "reserve", "k1", items=ITEMS).json()["reservation"]
    post(warehouse, "dispatch", "k2", reservation=reservation)
    assert post(warehouse, "release", "c1", cancels="k2").status_code == 422


# --- faults ---


def order_that_meets(fault: Fault, plan: FaultPlan, operation: str = "charge") -> str:
    """An order id whose first call of the operation meets this fault, and whose second meets none."""
    for number in range(10_000):
        order_id = f"order-{number}"
        if (plan.draw(order_id, operation, 1), plan.draw(order_id, operation, 2)) == (fault, Fault.NONE):
            return order_id
    raise AssertionError(f"no order meets {fault}")


HALF = {
    Fault.REFUSE: FaultPlan(refuse=0.5),
    Fault.LOSE_REPLY: FaultPlan(lose_reply=0.5),
    Fault.SLOW: FaultPlan(slow=0.5, slow_seconds=0.01),
    **{fault: FaultPlan(hang=0.5, hang_seconds=0.02) for fault in HANGS},
}
DONE = {Fault.LOSE_REPLY, Fault.SLOW, Fault.HANG_BEFORE, Fault.HANG_AFTER}


@pytest.mark.parametrize("fault", HALF, ids=lambda fault: fault.name.lower())
def test_a_faulty_call_can_be_made_again_and_happens_once(serve: Serve, tmp_path: Path, fault: Fault) -> None:
    plan = HALF[fault]
    order_id = order_that_meets(fault, plan)
    bank = serve(Bank, plan)

    if fault in {Fault.REFUSE, Fault.SLOW}:
        answer = post(bank, "charge", "k1", order_id=order_id, card="4242", amount=500)
        assert answer.status_code == (503 if fault is Fault.REFUSE else 200)
    else:
        with pytest.raises(httpx.RemoteProtocolError):
            post(bank, "charge", "k1", order_id=order_id, card="4242", amount=500)
    assert len(rows(tmp_path / "bank.db", "select * from entries")) == (fault in DONE)

    again = post(bank, "charge", "k1", order_id=order_id, attempt=2, card="4242", amount=500)
    assert again.status_code == 200
    assert rows(tmp_path / "bank.db", "select kind, amount from entries") == [("charge", 500)]
    assert rows(tmp_path / "bank.db", "select fault from calls order by n") == [(fault.value,), (Fault.NONE.value,)]


def test_a_draw_depends_on_the_call_alone() -> None:
    calls = [
        (f"order-{n}", operation, attempt) for n in range(50) for operation in ("ship", "charge") for attempt in (1, 2)
    ]
    plan = FaultPlan.spread(7, 0.3)
    draws = {call: plan.draw(*call) for call in calls}
    assert {call: FaultPlan.spread(7, 0.3).draw(*call) for call in reversed(calls)} == draws
    assert {call: FaultPlan.spread(8, 0.3).draw(*call) for call in calls} != draws


def test_the_share_of_faults_is_what_was_asked_for() -> None:
    plan = FaultPlan.spread(1, 0.2)
    draws = [plan.draw(f"order-{n}", "charge", 1) for n in range(4_000)]
    assert 0.17 < sum(draw is not Fault.NONE for draw in draws) / len(draws) < 0.23
    assert set(draws) == set(Fault)


@pytest.mark.parametrize("rate", [-0.1, 0.51, float("nan")])
def test_a_fail_rate_out_of_range_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match=r"from 0 to 0\.5"):
        FaultPlan.spread(1, rate)


# --- the process ---


@pytest.mark.parametrize("end", ["sigterm", "parent"])
def test_a_participant_runs_as_a_process_and_ends_when_told_or_left(tmp_path: Path, end: str) -> None:
    book = tmp_path / "carrier.db"
    process = subprocess.Popen(
        [sys.executable, "-m", "sagafsm.demo.carrier", "--book", str(book)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        url = process.stdout.readline().removeprefix(ANNOUNCEMENT).strip()
        with httpx.Client(base_url=url, trust_env=False) as client:
            assert post(client, "ship", "k1", address=ADDRESS).status_code == 200
            # The connection is still open, and so is nothing that would keep the process up.
            if end == "sigterm":
                process.send_signal(signal.SIGTERM)
            else:
                process.stdin.close()
            assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait(10)
        process.stdin.close()
        process.stdout.close()
    assert rows(book, "select key from shipments") == [("k1",)]
