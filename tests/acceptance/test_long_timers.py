"""Timers that ran out while no process was there: the next one goes on at its start, and none is early."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .audit import audit
from .nursery import SAGA_ID, Nursery
from .processes import Processes
from .sagas_file import SagasFile
from .shapes import World
from .timers import HOUR, WAITS


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with Processes(tmp_path_factory.mktemp("nursery")) as processes:
        yield Nursery.open(processes)


@pytest.mark.parametrize("leave", ["in peace", "killed"])
@pytest.mark.parametrize("name", sorted(WAITS))
def test_a_wait_that_is_over_when_a_process_starts_is_over(
    name: str, leave: str, nursery: Nursery, tmp_path: Path
) -> None:
    make, _, end = WAITS[name]
    file = SagasFile(tmp_path)
    nursery.wait(name, tmp_path, leave=leave, later=0)
    before = file.log()
    if name != "nap":
        nursery.wait(name, tmp_path, leave=leave, later=HOUR - 60)
        assert file.log() == before  # a look at it a minute too early changes nothing
    nursery.wait(name, tmp_path, leave=None, later=0 if name == "nap" else HOUR + 60)
    saga = audit(tmp_path, make(World(tmp_path)))[SAGA_ID]
    assert saga.progress.state is end
    assert not any(saga.interruptions)
