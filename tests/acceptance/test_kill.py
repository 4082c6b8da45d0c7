"""kill -9 at every boundary: around each append and around each effect; then a restart, and an audit."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from .audit import audit
from .failpoints import ALL_PLACES, PLACES
from .ledger import Ledger
from .nursery import SAGA_ID, Nursery
from .processes import Processes
from .shapes import ENDS, World, shape

LIMIT = 100  # boundaries; no saga here has as many


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with Processes(tmp_path_factory.mktemp("nursery")) as processes:
        yield Nursery.open(processes)


def check(name: str, folder: Path, *, kills: int) -> int:
    """Audit a folder; how many calls were made again because their process had died."""
    found = audit(folder, shape(name, World(folder)))
    assert found[SAGA_ID].progress.state is ENDS[name]
    assert Ledger(folder).replies() == []
    again = [interruption for audited in found.values() for interruption in audited.interruptions]
    assert max(again) <= kills, "a call was taken for one that had died"
    return sum(again)


def fresh(folder: Path) -> Path:
    folder.mkdir()
    return folder


def survive(nursery: Nursery, name: str, tmp_path: Path, places: Sequence[str]) -> None:
    """Kill a process at the first, second, … of each kind of place; the next one must bring the saga to its end."""
    again = 0
    for place in places:
        for kill_at in range(1, LIMIT):
            folder = fresh(tmp_path / f"{place} {kill_at}")
            if nursery.run(name, folder, kill_at=kill_at, places=[place]) is None:
                check(name, folder, kills=0)
                assert kill_at > 1
                break
            assert nursery.run(name, folder) is None
            again += check(name, folder, kills=1)
        else:
            pytest.fail(f"it passes more than {LIMIT} of {place!r}")
    assert again > 0


@pytest.mark.parametrize("name", ["happy", "undone", "pivot", "parallel", "reply", "family"])
def test_a_process_killed_at_any_boundary_is_followed_by_one_that_ends_the_saga(
    name: str, nursery: Nursery, tmp_path: Path
) -> None:
    survive(nursery, name, tmp_path, PLACES)


def test_so_it_is_around_claims_and_leases(nursery: Nursery, tmp_path: Path) -> None:
    survive(nursery, "small", tmp_path, ALL_PLACES)


@pytest.mark.parametrize("part", range(4))
def test_a_process_killed_while_it_recovers_is_followed_by_one_that_ends_the_saga(
    part: int, nursery: Nursery, tmp_path: Path
) -> None:
    """Every pair of boundaries: the first of one life, the second of the next."""
    pairs = 0
    for first in itertools.count(1 + part, 4):
        before = fresh(tmp_path / str(first))
        if nursery.run("small", before, kill_at=first) is None:
            break
        for second in range(1, LIMIT):
            folder = tmp_path / f"{first}-{second}"
            shutil.copytree(before, folder)
            if nursery.run("small", folder, kill_at=second) is None:
                check("small", folder, kills=1)
                break
            pairs += 1
            assert nursery.run("small", folder) is None
            check("small", folder, kills=2)
    assert pairs >= 20
