"""Several processes share the sagas of one file: one that dies or is stopped harms nobody, nothing happens twice."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from sagafsm import Orchestrator, SagaState

from .audit import Audited, audit
from .processes import Processes, until
from .sagas_file import SagasFile
from .shapes import World, gate, shape, stands_at_the_gate
from .worker import start_worker


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    with Processes(tmp_path) as started:
        yield started


async def submit(folder: Path, name: str, count: int) -> None:
    """Store sagas for others to run; every fourth one is to fail, where its shape can."""
    definition = shape(name, World(folder))
    store = f"sqlite:///{folder / 'sagas.db'}?timeout=20"
    async with Orchestrator(store, sagas=[definition], worker=False) as orchestrator:
        for number in range(count):
            data = {"item": "unicorn" if number % 4 == 3 else "book"}
            await orchestrator.start(definition, data, saga_id=f"saga-{number}")


def check(folder: Path, name: str) -> dict[str, Audited]:
    return audit(folder, shape(name, World(folder)))


async def test_the_sagas_of_a_killed_worker_are_taken_over_at_once(processes: Processes, tmp_path: Path) -> None:
    file = SagasFile(tmp_path)
    workers = [start_worker(processes, tmp_path, "busy", lease=30, concurrency=20) for _ in range(3)]
    await submit(tmp_path, "busy", 200)
    victim = workers[1]
    until(lambda: file.count("finished_at IS NOT NULL") >= 40 and len(file.owned_by(victim.pid)) >= 5, "busy workers")
    victim.kill()
    orphans = file.owned_by(victim.pid)
    assert orphans
    seconds = until(lambda: not file.owned_by(victim.pid), "its sagas are taken over")
    assert seconds < 15  # a few looks for work; its lease of 30 s has only begun
    until(lambda: file.all_ended, "every saga ends")

    found = check(tmp_path, "busy")
    states = [audited.progress.state for audited in found.values()]
    assert (states.count(SagaState.COMPLETED), states.count(SagaState.FAILED)) == (150, 50)
    again = {saga_id for saga_id, audited in found.items() if any(audited.interruptions)}
    assert again
    assert again <= set(orphans)  # nobody else's calls were made again
    for worker in (workers[0], workers[2]):
        worker.signal(signal.SIGTERM)
        worker.hear("left")
        assert worker.wait() == 0
    assert file.rows("SELECT count(*) FROM saga_workers") == [0]


@pytest.mark.parametrize("continued", ["before the other has finished", "after the other has finished"])
async def test_a_worker_that_was_stopped_past_its_lease_can_write_nothing_any_more(
    continued: str, processes: Processes, tmp_path: Path
) -> None:
    file, names = SagasFile(tmp_path), {f"saga-{number}" for number in range(5)}
    await submit(tmp_path, "gated", 5)
    stopped = start_worker(processes, tmp_path, "gated", lease=1.5)
    until(lambda: all_at_the_gate(tmp_path, stopped.pid, names), "all its calls have begun")
    stopped.signal(signal.SIGSTOP)
    other = start_worker(processes, tmp_path, "gated", lease=30)
    until(lambda: set(file.owned_by(other.pid)) == names, "the other takes them over")
    until(lambda: all_at_the_gate(tmp_path, other.pid, names), "the other is at the gate")

    if continued.startswith("before"):
        stopped.signal(signal.SIGCONT)
        gate(tmp_path).touch()
        until(lambda: file.all_ended, "every saga ends")
    else:
        gate(tmp_path).touch()
        until(lambda: file.all_ended, "every saga ends")
        stopped.signal(signal.SIGCONT)
    assert {stopped.line() for _ in names} == {f"refused {name}" for name in names}

    stopped.signal(signal.SIGTERM)
    stopped.hear("left")
    found = check(tmp_path, "gated")
    assert {audited.progress.state for audited in found.values()} == {SagaState.COMPLETED}
    assert {sum(audited.interruptions) for audited in found.values()} == {1}


async def test_who_only_submits_can_execute_the_saga_of_a_killed_worker_at_once(
    processes: Processes, tmp_path: Path
) -> None:
    """It waited for the next heartbeat, a third of the lease, to see that the owner was gone."""
    await submit(tmp_path, "gated", 1)
    file, worker = SagasFile(tmp_path), start_worker(processes, tmp_path, "gated", lease=30)
    until(lambda: file.owned_by(worker.pid), "the worker has it")
    definition = shape("gated", World(tmp_path))
    async with Orchestrator(f"sqlite:///{tmp_path / 'sagas.db'}", sagas=[definition], worker=False) as orchestrator:
        with pytest.raises(TimeoutError):
            await orchestrator.execute("saga-0", timeout=0.5)  # it is the worker's
        worker.kill()
        gate(tmp_path).touch()
        assert (await orchestrator.execute("saga-0", timeout=6)).state is SagaState.COMPLETED
    check(tmp_path, "gated")


def all_at_the_gate(folder: Path, pid: int, saga_ids: set[str]) -> bool:
    """Whether a process has begun the gated call of each of these sagas."""
    return all(stands_at_the_gate(folder, pid, saga_id).exists() for saga_id in saga_ids)
