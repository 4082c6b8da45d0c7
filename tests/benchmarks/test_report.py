"""What was measured comes into the README by itself, and the README has what was measured."""

from __future__ import annotations

from pathlib import Path

from benchmarks.__main__ import RESULTS
from benchmarks.machine import Facts
from benchmarks.report import MARKS, README, render
from benchmarks.result import Row, Table, read, write
from benchmarks.targets import TARGETS

FACTS = Facts(
    at="2026-11-21T17:00:00Z", sagafsm="0.1.0", commit="abc", python="3.11.7", server="Redis 7.0.15", system="Linux",
    cores=2, busy=0.7, sync_ms=0.1,
)  # fmt: skip


def _row(in_flight: int, ratio: float) -> Row:
    return Row({"path": "happy", "in flight": in_flight, "ratio": ratio, "p50 ratio": 1.5}, {"engine_rate": [1.0, 2.0]})


def test_what_was_written_last_is_read(tmp_path: Path) -> None:
    for ratio in (0.3, 0.7):
        tables = [Table("throughput", title, [_row(1, ratio), _row(128, ratio)], "a note") for title in ("one", "two")]
        (path,) = write(tmp_path, "redis", FACTS, tables)
    assert path.name.endswith("-redis-throughput.jsonl")
    assert read(tmp_path) == {("throughput", "redis"): (FACTS, tables)}


def test_a_table_is_written_between_its_marks_and_nowhere_else() -> None:
    text = (
        "Before.\n<!-- results: throughput redis -->\nold\n<!-- end -->\n"
        "Between.\n<!-- results: growth mongodb -->\n<!-- end -->\nAfter.\n"
    )
    found = {("throughput", "redis"): (FACTS, [Table("throughput", "sagas/s", [_row(128, 0.7)], "a note")])}
    rendered = render(text, found)
    assert rendered.startswith("Before.\n<!-- results: throughput redis -->\nRedis 7.0.15; Python 3.11.7, 2 cores, ")
    assert "**others kept 0.70 busy before**" in rendered
    assert "*Sagas/s* (a note)\n\n| path | in flight | ratio | p50 ratio |\n| --- | ---: | ---: | ---: |\n" in rendered
    assert "| happy | 128 | 0.70 | 1.50 |\n<!-- end -->\nBetween.\n" in rendered
    assert rendered.endswith("<!-- results: growth mongodb -->\nNot measured.\n<!-- end -->\nAfter.\n")
    assert "old" not in rendered
    assert render(rendered, found) == rendered


def test_a_target_that_is_missed_stands_out() -> None:
    rows = [_row(1, 0.9), _row(128, 0.596), _row(1000, 0.594)]
    found = {("throughput", "redis"): (FACTS, [Table("throughput", "sagas/s", rows)])}
    lines = render("<!-- results: targets -->\n<!-- end -->\n", found).splitlines()
    assert (
        "| happy path, 128 in flight: of the floor | ≥ 0.55 / 0.6 | not measured | not measured | 0.60 | not measured |"
        in lines
    )
    assert any(line.startswith("| happy path, 1,000 in flight") and "| **0.59** |" in line for line in lines)
    assert any(
        line.startswith("| one saga alone, p50: times that of the floor | ≤ 1.6 |") and "| 1.50 |" in line
        for line in lines
    )
    assert any(
        line.startswith("| happy path, 128 in flight: times DBOS") and line.endswith("| — | — |") for line in lines
    )
    assert len(lines) == len(TARGETS) + 4


def test_the_readme_shows_the_results_that_are_there() -> None:
    text = README.read_text()
    assert [match["what"] for match in MARKS.finditer(text)][:2] == ["targets", "throughput sqlite"]
    assert text == render(text, read(RESULTS)), "run `python -m benchmarks.report`"
