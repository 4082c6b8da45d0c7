"""Ctrl-C and SIGTERM end a script promptly and as usual; its calls are interrupted, and the next process goes on."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .audit import audit
from .processes import Processes, until
from .sagas_file import SagasFile
from .script import SAGA_ID, start_script
from .shapes import World, gate, shape

AT_THE_GATE = "SELECT 1 FROM saga_events WHERE type = 'AttemptStarted' AND data ->> 'step' = 'charge'"

NOISE = ("never retrieved", "never awaited", "is pending", "ignored in", "internal error", "Event loop is closed")


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    with Processes(tmp_path) as started:
        yield started


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
@pytest.mark.parametrize("name", ["gated", "gated-thread"])
@pytest.mark.parametrize("sync", [False, True], ids=["asyncio", "sync"])
def test_a_script_that_is_ended_during_a_call_is_followed_by_one_that_goes_on(
    sync: bool, name: str, number: int, processes: Processes, tmp_path: Path
) -> None:
    file = SagasFile(tmp_path)
    script = start_script(processes, tmp_path, name, sync=sync, drain_timeout=0.2)
    until(lambda: file.rows(AT_THE_GATE), "its call runs")
    begun = time.monotonic()
    script.signal(number)
    assert script.wait() == -number
    assert time.monotonic() - begun < 8  # the drain time that nobody shortened is 10 s
    if number == signal.SIGINT:
        assert file.rows("SELECT id FROM saga_workers") == []  # it left in good order
        assert script.errors.rstrip().endswith("KeyboardInterrupt")
        assert not any(noise in script.errors for noise in NOISE)
    assert {kind for _, _, kind, _ in file.log()} == {"SagaStarted", "AttemptStarted", "StepSucceeded"}

    gate(tmp_path).touch()
    begun = time.monotonic()
    following = start_script(processes, tmp_path, name, sync=sync)
    assert following.line() == "completed"
    assert following.wait() == 0
    assert time.monotonic() - begun < 20  # far below the lease of 30 s
    saga = audit(tmp_path, shape(name, World(tmp_path)))[SAGA_ID]
    assert sorted(saga.interruptions) == [0, 0, 0, 1]


@pytest.mark.parametrize("name", ["gated", "gated-thread"])
@pytest.mark.parametrize("sync", [False, True], ids=["asyncio", "sync"])
def test_a_second_ctrl_c_does_not_wait_for_running_calls(
    sync: bool, name: str, processes: Processes, tmp_path: Path
) -> None:
    file = SagasFile(tmp_path)
    script = start_script(processes, tmp_path, name, sync=sync, drain_timeout=3600)
    until(lambda: file.rows(AT_THE_GATE), "its call runs")
    before = file.log()
    script.signal(signal.SIGINT)
    with pytest.raises(AssertionError, match="it still runs"):
        script.wait(0.5)  # the call is given time to end
    begun = time.monotonic()
    script.signal(signal.SIGINT)
    assert script.wait() == -signal.SIGINT
    assert time.monotonic() - begun < 20
    assert not any(noise in script.errors for noise in NOISE), script.errors
    assert file.log() == before


@pytest.mark.parametrize(
    ("name", "sync"), [("interrupted", False), ("interrupted-asleep", False), ("interrupted-asleep", True)]
)
def test_ctrl_c_at_a_bad_moment_ends_the_process_like_any_other(
    name: str, sync: bool, processes: Processes, tmp_path: Path
) -> None:
    """In the middle of a step it was logged as an internal error; just before a wait it was not noticed at all."""
    script = start_script(processes, tmp_path, name, sync=sync, drain_timeout=0.2)
    assert script.wait() == -signal.SIGINT
    assert script.errors.rstrip().endswith("KeyboardInterrupt")
    assert not any(noise in script.errors for noise in NOISE), script.errors

    gate(tmp_path).touch()
    assert start_script(processes, tmp_path, name, sync=sync).line() == "completed"
    saga = audit(tmp_path, shape(name, World(tmp_path)))[SAGA_ID]
    assert sorted(saga.interruptions) == [0, 0, 0, 1]
