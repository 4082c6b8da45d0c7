"""The child processes of the demo: listened to, ended in every case, and their last words kept."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from sagafsm.demo.children import Child, ChildFailed, Children
from sagafsm.demo.participant import ANNOUNCEMENT

CARRIER = "sagafsm.demo.carrier"


def arguments(folder: Path) -> Sequence[str]:
    return ("--book", str(folder / "carrier.db"))


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def leave_by_an_error(folder: Path, started: list[Child]) -> None:
    with Children(folder) as children:
        started.append(children.start(CARRIER, *arguments(folder)))
        assert (started[0].line(30) or "").startswith(ANNOUNCEMENT)
        raise KeyboardInterrupt


def test_children_are_gone_when_the_block_is_left_by_an_error(tmp_path: Path) -> None:
    started: list[Child] = []
    with pytest.raises(KeyboardInterrupt):
        leave_by_an_error(tmp_path, started)
    assert not is_alive(started[0].pid)


def test_a_killed_child_has_no_more_lines(tmp_path: Path) -> None:
    with Children(tmp_path) as children:
        child = children.start(CARRIER, *arguments(tmp_path))
        child.line(30)
        child.kill()
        assert not is_alive(child.pid)
        assert child.line(30) is None


def test_a_child_that_stops_by_itself_ends_well(tmp_path: Path) -> None:
    with Children(tmp_path) as children:
        child = children.start(CARRIER, *arguments(tmp_path))
        child.line(30)
        child.stop(30)
        assert child.wait(30) == 0


def test_silence_and_overtime_are_errors(tmp_path: Path) -> None:
    with Children(tmp_path) as children:
        child = children.start(CARRIER, *arguments(tmp_path))
        child.line(30)
        with pytest.raises(ChildFailed, match="the carrier has been silent for too long"):
            child.line(0)
        with pytest.raises(ChildFailed, match="the carrier does not end"):
            child.wait(0)


def test_the_last_words_of_a_child_that_could_not_start_are_kept(tmp_path: Path) -> None:
    (tmp_path / "carrier.db").write_text("this is no database, and long enough to be seen as none" * 20)
    with Children(tmp_path) as children:
        child = children.start(CARRIER, *arguments(tmp_path))
        assert child.line(30) is None
        assert child.wait(30) != 0
        assert "file is not a database" in child.last_words()
