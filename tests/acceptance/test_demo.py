"""The demo end to end: real processes, a real kill, and an audit that finds nothing wrong."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import attrs
import pytest
from rich.console import Console

from sagafsm import InvalidInput, Orchestrator, SettingsError
from sagafsm.demo import audit as auditing
from sagafsm.demo.audit import CHECKS
from sagafsm.demo.books import PARTICIPANTS
from sagafsm.demo.demo import Result, Settings, conclude, conduct, run_demo
from sagafsm.demo.make_orders import as_lines
from sagafsm.demo.orders import load_orders
from sagafsm.demo.outcome import Outcome
from sagafsm.demo.saga import OrderFulfillment

ORDERS = 60


def run(folder: Path, *, kill: bool, seed: int = 3, fail_rate: float = 0.25) -> Result:
    folder.mkdir()
    store = f"sqlite:///{folder / 'sagas.db'}"
    return conduct(
        Settings(
            folder=folder, store=store, seed=seed, orders=ORDERS, fail_rate=fail_rate, concurrency=16, kill=kill
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """One demo with a kill, looked at by several tests."""
    return run(tmp_path_factory.mktemp("demo") / "killed", kill=True)


def test_every_order_is_fulfilled_or_undone_although_the_job_was_killed(killed: Result) -> None:
    assert killed.report.findings == []
    assert len(killed.report.checks) == len(CHECKS)
    assert killed.killed_at == ORDERS // 2
    states = {outcome.state for outcome in killed.evidence.outcomes.values()}
    assert (len(killed.evidence.outcomes), states) == (ORDERS, {"completed", "failed"})
    assert sum(killed.evidence.books.faults.values()) > ORDERS
    assert auditing.main([str(killed.settings.folder)]) == 0


async def test_the_kill_cut_calls_short_and_they_were_made_again(killed: Result) -> None:
    settings = killed.settings
    interrupted = []
    async with Orchestrator(settings.store, sagas=[OrderFulfillment], worker=False) as orchestrator:
        for order in killed.evidence.orders:
            history = await orchestrator.history(settings.prefix + order.order_id)
            interrupted += [event for event in history if event.data.get("interruption")]
    assert interrupted


def test_the_timeline_is_that_of_a_failed_order(killed: Result) -> None:
    assert killed.example is not None
    assert killed.evidence.outcomes[killed.example.saga_id].state == "failed"
    assert [event.seq for event in killed.timeline] == list(range(1, len(killed.timeline) + 1))
    assert (killed.timeline[0].type, killed.timeline[-1].type) == ("SagaStarted", "SagaFailed")


def test_the_seed_decides_every_orders_fate_and_the_kill_does_not(killed: Result, tmp_path: Path) -> None:
    def fates(result: Result) -> dict[str, Outcome]:
        # How often was tried may differ where the machine was too slow for a call's timeout.
        return {
            order_id: Outcome(order_id=order_id, state=outcome.state, outcome=outcome.outcome, step=outcome.step)
            for order_id, outcome in result.evidence.outcomes.items()
        }

    undisturbed = run(tmp_path / "undisturbed", kill=False)
    assert undisturbed.report.ok
    assert undisturbed.killed_at is None
    assert fates(undisturbed) == fates(killed)


def test_run_demo_prints_counts_timeline_and_speed_and_keeps_what_it_should(tmp_path: Path) -> None:
    output = io.StringIO()
    keep = tmp_path / ("kept" * 30)
    code = run_demo(seed=5, orders=20, keep=keep, concurrency=4, console=Console(file=output, width=120))
    text = output.getvalue()
    assert code == 0, text
    for expected in (
        "completed",
        "failed (compensated)",
        "SagaStarted",
        "sagas/s",
        "create_shipment",
        "ok  money adds up",
        "--seed 5",
    ):
        assert expected in text
    assert "wrong  " not in text
    assert f"python -m sagafsm.demo.audit {keep.resolve()} audits again." in text  # on one line, however long
    assert {"warehouse.db", "bank.db", "carrier.db", "orders.jsonl", "outcomes.jsonl", "sagas.db"} <= {
        path.name for path in keep.iterdir()
    }


def test_two_demos_on_one_store_do_not_meet(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'mine.db'}"
    for _ in range(2):
        output = io.StringIO()
        console = Console(file=output, width=120)
        assert run_demo(orders=8, store=store, concurrency=4, console=console) == 0, output.getvalue()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"orders": 0}, "orders must be at least 1"),
        ({"orders": 1001}, "the shipped file has 1000 orders"),
        ({"concurrency": 0}, "concurrency must be at least 1"),
        ({"fail_rate": 0.9}, "from 0 to 0.5"),
        ({"store": "memory://"}, "a memory store dies"),
        ({"store": "nonsense://x", "orders": 1}, "no store for 'nonsense://' is installed"),
    ],
)
def test_what_cannot_be_run_is_said(arguments: dict[str, object], message: str) -> None:
    output = io.StringIO()
    with pytest.raises((InvalidInput, SettingsError), match=message):
        run_demo(**arguments, console=Console(file=output, width=500))  # type: ignore[arg-type]


def test_a_store_that_fails_under_the_job_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "orders.jsonl").write_bytes(as_lines(load_orders(limit=3)))
    with subprocess.Popen(
        [sys.executable, "-m", "sagafsm.demo.job", "--orders", str(tmp_path / "orders.jsonl"),
         *(word for name in PARTICIPANTS for word in (f"--{name}", "http://127.0.0.1:1"))],
        stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "SAGAFSM_STORE": f"sqlite:///{tmp_path}"},
    ) as job:  # fmt: skip
        try:
            assert job.stderr is not None
            said = job.stderr.read()
            assert job.wait(30) == 1
        finally:
            job.kill()
    assert said.startswith("StoreUnavailable: ")
    assert len(said.splitlines()) == 1


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("do not touch")
    with pytest.raises(InvalidInput, match="is not empty"):
        run_demo(keep=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_wrong_in_the_books_makes_the_demo_fail(killed: Result) -> None:
    reports = [called_completed(outcome) for outcome in killed.evidence.reports]
    wrong = attrs.evolve(killed, report=auditing.audit(attrs.evolve(killed.evidence, reports=reports)))
    output = io.StringIO()
    assert conclude(Console(file=output, width=200), wrong, total_seconds=1.0) == 1
    assert "wrong  whole or nothing" in output.getvalue()


def called_completed(outcome: Outcome) -> Outcome:
    """The same report, by a job that takes every order for completed."""
    return Outcome(order_id=outcome.order_id, state="completed")


# --- ending ---

CONDUCT = """
import signal, sys
from pathlib import Path
from sagafsm.demo.demo import Settings, conduct
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets jobs in its background ignore it
folder = Path(sys.argv[1])
settings = Settings(folder=folder, store=f"sqlite:///{folder / 'sagas.db'}", orders=1000, concurrency=8)
conduct(settings, lambda done, doing: print(done, doing, flush=True))
"""


def test_ctrl_c_leaves_no_process_behind(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CONDUCT, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as conductor:
        try:
            assert conductor.stdout is not None
            assert any(line.startswith("3 running") for line in conductor.stdout)
            assert len(commands_with(tmp_path)) == 5  # its own, three participants and the job
            conductor.send_signal(signal.SIGINT)
            _, errors = conductor.communicate(timeout=30)
        finally:
            conductor.kill()
    assert "KeyboardInterrupt" in errors
    assert commands_with(tmp_path) == []


def commands_with(folder: Path) -> list[str]:
    """The command lines of all processes that name this folder."""
    if Path("/proc/self/cmdline").exists():  # a slim container has no ps
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    else:
        done = subprocess.run(["ps", "-axwwo", "command"], capture_output=True, text=True, check=True)
        found = done.stdout.splitlines()
    return [line for line in found if str(folder) in line]


def test_a_job_ends_with_its_parent(tmp_path: Path) -> None:
    (tmp_path / "orders.jsonl").write_bytes(as_lines(load_orders(limit=1)))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(30)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        job = subprocess.Popen(
            [sys.executable, "-m", "sagafsm.demo.job", "--orders", str(tmp_path / "orders.jsonl"),
             "--warehouse", url, "--bank", url, "--carrier", url],
            stdin=subprocess.PIPE, env={**os.environ, "SAGAFSM_STORE": f"sqlite:///{tmp_path / 'sagas.db'}"},
        )  # fmt: skip
        assert job.stdin is not None
        try:
            called, _ = silent.accept()
            called.close()
            job.stdin.close()
            assert job.wait(30) == 1
        finally:
            job.kill()
            job.wait()
