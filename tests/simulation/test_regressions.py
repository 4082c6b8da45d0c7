"""Runs that once broke something, kept as files: they are played again, always."""

import pytest

from sagafsm.testing.simulation.campaign import play
from sagafsm.testing.simulation.case import Case
from sagafsm.testing.simulation.regressions import keep, kept
from tests.simulation.gate import REGRESSIONS
from tests.simulation.shapes import PAIRED, SHAPES

KEPT = list(kept(REGRESSIONS))


@pytest.mark.parametrize("regression", KEPT, ids=lambda one: f"{one.plan}-{one.case[:24]}")
def test_what_once_broke_is_whole(regression):
    played = play(({**SHAPES, **PAIRED})[regression.plan](), Case.parse(regression.case))
    assert played.broken is None, f"{played.broken}\n{played.run.trace.timeline()}"


def test_there_are_some():
    assert KEPT


def test_a_run_is_kept_and_found_again(tmp_path):
    path = keep(tmp_path, "sequence", Case(tape=b"\x01\x02"), "C1 net effect")
    assert path.name == "sequence-C1-0-0102.json"
    assert [one.case for one in kept(tmp_path, "sequence")] == ["0:0102"]
    assert list(kept(tmp_path, "another")) == []


def test_a_file_that_cannot_be_read_is_an_error(tmp_path):
    (tmp_path / "torn.json").write_text('{"plan":')
    with pytest.raises(ValueError, match=r"torn\.json is no run that was kept"):
        list(kept(tmp_path))
