"""``python -m benchmarks``: measures, prints tables, and writes them down when told to."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from tests.servers.install import NotHere

from . import growth, machine, memory, peers, recovery, startup, throughput, workers
from .children import ROOT
from .floors.base import STORES, open_place
from .options import FINISHED, Options
from .result import Skipped, Table, show, write

QUESTIONS: dict[str, Callable[[Options], list[Table]]] = {
    throughput.QUESTION: throughput.measure,
    workers.QUESTION: workers.measure,
    recovery.QUESTION: recovery.measure,
    peers.QUESTION: peers.measure,
    growth.QUESTION: growth.measure,
    memory.QUESTION: memory.measure,
    startup.QUESTION: startup.measure,
}
ONLY_ON = {memory.QUESTION: ("sqlite",), startup.QUESTION: ("sqlite",), peers.QUESTION: ("sqlite", "postgresql")}
"""The others are asked of every store."""
ALL = "all"
RESULTS = ROOT / "benchmarks" / "results"
WIDTH = 140  # columns where nobody looks


def main(arguments: Sequence[str] | None = None, *, console: Console | None = None) -> int:
    """Measure what is asked, one question after the other. 1: one of them was not answered."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    if asked.quick and asked.write and asked.results == RESULTS:
        parser.error("--quick: its figures mean nothing; name another folder for them with --results")
    console = console or Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    if asked.quick:
        console.print("quick: the counts are tiny, and the figures mean nothing", style="yellow")
    asked.folder.mkdir(parents=True, exist_ok=True)
    unanswered = 0
    with tempfile.TemporaryDirectory(dir=asked.folder, prefix="benchmarks-") as scratch:
        for question, store in _plan(asked, parser):
            work = Path(scratch) / f"{store}-{question}"
            work.mkdir()
            try:
                _measure(question, store, work, asked, console)
            except (Skipped, NotHere) as exc:
                console.print(f"\nskipped: {question} on {store}: {exc}", style="yellow")
                unanswered += ALL not in asked.question
            except Exception:  # the others are still worth having
                console.print(f"\nfailed: {question} on {store}", style="red")
                console.print(traceback.format_exc(), markup=False)
                unanswered += 1
    return 1 if unanswered else 0


def _plan(asked: argparse.Namespace, parser: argparse.ArgumentParser) -> list[tuple[str, str]]:
    """Which question is asked of which store."""
    if not asked.question or ALL in asked.question:
        stores = [asked.store] if asked.store else STORES if asked.question else STORES[:1]
        return [(question, store) for question in QUESTIONS for store in stores if store in _stores(question)]
    store = asked.store or STORES[0]
    for question in asked.question:
        if store not in _stores(question):
            parser.error(f"{question!r} is measured on {' and '.join(_stores(question))} only")
    return [(question, store) for question in dict.fromkeys(asked.question)]


def _stores(question: str) -> Sequence[str]:
    return ONLY_ON.get(question, STORES)


def _measure(question: str, store: str, work: Path, asked: argparse.Namespace, console: Console) -> None:
    began = time.monotonic()
    with open_place(store, work) as place:
        facts = machine.look(place.folder, place.about)
        console.print(
            f"\n{question} on {facts.server}: sagafsm {facts.sagafsm} ({facts.commit or 'no commit'}), "
            f"Python {facts.python}, {facts.cores} cores, {facts.system}, others busy on {facts.busy:.2f}, "
            f"fdatasync {facts.sync_ms:.3f} ms"
        )
        for warning in facts.warnings():
            console.print(f"warning: {warning}", style="yellow")
        options = Options(
            place=place,
            store=store,
            pairs=1 if asked.quick else asked.pairs,
            quick=asked.quick,
            finished=asked.finished or FINISHED.get(store, 1_000_000),
        )
        tables = QUESTIONS[question](options)
    for table in tables:
        console.print()
        show(console, table)
    console.print(f"{time.monotonic() - began:.0f} s", style="dim")
    if asked.write:
        for path in write(asked.results, store, facts, tables):
            console.print(f"written to {path}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure sagafsm. benchmarks/README.md says how, and how to read it."
    )
    # Not `choices`: with it, argparse refuses to be given none.
    every = f"any of {', '.join(QUESTIONS)}; {ALL}: each of them on every store; default: each of them on one store"
    parser.add_argument("question", nargs="*", type=_question, help=every)
    parser.add_argument("--store", choices=STORES, help="which store is measured; default: sqlite")
    parser.add_argument("--pairs", type=int, default=3, help="how often each pair of runs is repeated; default: 3")
    parser.add_argument("--quick", action="store_true", help="a smoke test with tiny counts; its figures mean nothing")
    parser.add_argument(
        "--finished", type=int, help="growth: with so many finished sagas; default: 1,000,000 (MongoDB: 10,000)"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=ROOT / "build",
        help="where the databases lie meanwhile: on the disk in question, never in memory "
        "(PostgreSQL and MongoDB: in the folder that TMPDIR names)",
    )
    parser.add_argument("--write", action="store_true", help="write the rows as JSON lines as well")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where to, if not benchmarks/results")
    return parser


def _question(name: str) -> str:
    if name not in QUESTIONS and name != ALL:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(QUESTIONS)}, {ALL}")
    return name


if __name__ == "__main__":
    raise SystemExit(main())
