"""The first example, as a file of its own in a fresh directory, with nothing but the built package to find."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .processes import ROOT, Processes
from .sagas_file import SagasFile

pytest.importorskip("hatchling", reason="the package cannot be built here: pip install -e '.[dev]'")

EXAMPLE = '''
import asyncio
import sys

from sagafsm import Orchestrator, Rejected, RetryPolicy, Saga, SagaFailed, StepContext, step


class OrderFulfillment(Saga[dict[str, str]]):
    """Reserve stock, charge the card, ship."""

    @step(retry=RetryPolicy(max_attempts=3), timeout=30)
    async def reserve_inventory(self, order: dict[str, str], ctx: StepContext) -> str:
        print("reserve", order["item"])
        return f"reservation of {ctx.saga_id}"

    @reserve_inventory.compensation(retry=RetryPolicy(max_attempts=10))
    async def release_inventory(self, order: dict[str, str], reservation: str | None) -> None:
        print("release", reservation)

    @step
    def charge_card(self, order: dict[str, str]) -> int:
        if order["card"] == "expired":
            raise Rejected("card declined")
        print("charge")
        return 42

    @charge_card.compensation
    async def refund(self, order: dict[str, str], payment: int | None, ctx: StepContext) -> None:
        print("refund", payment)

    @step(after="charge_card", pivot=True)
    async def ship(self, order: dict[str, str], charge_card: int) -> None:
        print("ship for", charge_card)


async def main(order_id: str, card: str) -> None:
    async with Orchestrator("sqlite:///sagas.db", sagas=[OrderFulfillment]) as orchestrator:
        handle = await orchestrator.start(OrderFulfillment, {"item": "book", "card": card}, saga_id=order_id)
        try:
            saga = await handle.result()
        except SagaFailed as exc:
            saga = exc.instance
        print(saga.saga_id, saga.state.value, saga.outcome)


asyncio.run(main(*sys.argv[1:]))
'''

WHERE = "import sagafsm, sagafsm_sql; print(sagafsm.__file__); print(sagafsm_sql.__file__)"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that holds what the wheel holds, as an installation of it does."""
    built, folder = tmp_path_factory.mktemp("built"), tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(built)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=50)
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    with Processes(tmp_path) as started:
        yield started


def lines(processes: Processes, package: Path, *arguments: str) -> list[str]:
    """What a process prints that knows the package only by its installation."""
    process = processes.start(*arguments, paths=[str(package)])
    found = []
    while (line := process.line()) is not None:
        found.append(line)
    assert process.wait() == 0, process.errors
    assert process.errors == ""
    return found


def test_the_first_example_runs_in_a_fresh_directory(processes: Processes, package: Path, tmp_path: Path) -> None:
    for file in lines(processes, package, "-c", WHERE):
        assert Path(file).is_relative_to(package)
    (tmp_path / "example.py").write_text(EXAMPLE)

    completed = ["reserve book", "charge", "ship for 42", "order-1 completed None"]
    assert lines(processes, package, "example.py", "order-1", "good") == completed
    failed = ["reserve book", "release reservation of order-2", "order-2 failed compensated"]
    assert lines(processes, package, "example.py", "order-2", "expired") == failed
    # The same order again: it is the saga that exists, and nothing is done twice.
    assert lines(processes, package, "example.py", "order-1", "good") == completed[-1:]
    assert SagasFile(tmp_path).rows("SELECT state FROM sagas ORDER BY id") == ["completed", "failed"]
