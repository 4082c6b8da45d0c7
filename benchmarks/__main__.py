"""``python -m benchmarks``: measures, prints tables, and writes them down when told to."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from . import growth, machine, memory, peers, recovery, startup, throughput
from .children import ROOT
from .floors.base import STORES
from .options import Options
from .result import Table, show, write

QUESTIONS: dict[str, Callable[[Options], list[Table]]] = {
    throughput.QUESTION: throughput.measure,
    recovery.QUESTION: recovery.measure,
    memory.QUESTION: memory.measure,
    growth.QUESTION: growth.measure,
    startup.QUESTION: startup.measure,
    peers.QUESTION: peers.measure,
}
OF_EVERY_STORE = (throughput.QUESTION,)
ON_REQUEST = (peers.QUESTION,)
"""Of those stores for which it can be had; measured only where it is named."""
RESULTS = ROOT / "benchmarks" / "results"
WIDTH = 140  # columns where nobody looks


def main(arguments: Sequence[str] | None = None, *, console: Console | None = None) -> int:
    """Measure what is asked, one question after the other."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.store != "sqlite" and (other := set(options.question) - {*OF_EVERY_STORE, *ON_REQUEST}):
        parser.error(f"{min(other)!r} is measured on sqlite only")
    console = console or Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="benchmarks-") as scratch:
        facts = machine.look(Path(scratch))
        console.print(
            f"sagafsm {facts.sagafsm} ({facts.commit or 'no commit'}), Python {facts.python}, SQLite {facts.sqlite}, "
            f"{facts.cores} cores, {facts.system}, load {facts.load:.2f}, fdatasync {facts.sync_ms:.3f} ms"
        )
        for warning in facts.warnings():
            console.print(f"warning: {warning}", style="yellow")
        if options.quick:
            console.print("quick: the counts are tiny, and the figures mean nothing", style="yellow")
        everything = [name for name in QUESTIONS if name not in ON_REQUEST]
        for question in options.question or (everything if options.store == "sqlite" else OF_EVERY_STORE):
            work = Path(scratch) / question
            work.mkdir()
            tables = QUESTIONS[question](
                Options(
                    folder=work,
                    pairs=1 if options.quick else options.pairs,
                    quick=options.quick,
                    million=options.million,
                    store=options.store,
                )
            )
            for table in tables:
                console.print()
                show(console, table)
            if options.write:
                for path in write(options.results, facts, tables):
                    console.print(f"written to {path}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure sagafsm. benchmarks/README.md says how, and how to read it."
    )
    # Not `choices`: with it, argparse refuses to be given none.
    every = f"any of {', '.join(QUESTIONS)}; default: all but {', '.join(ON_REQUEST)}"
    parser.add_argument("question", nargs="*", type=_question, help=every)
    parser.add_argument("--store", choices=STORES, default="sqlite", help="which store is measured")
    parser.add_argument("--pairs", type=int, default=5, help="how often each pair of runs is repeated")
    parser.add_argument("--quick", action="store_true", help="a smoke test with tiny counts; its figures mean nothing")
    parser.add_argument("--million", action="store_true", help="growth: with a million finished sagas (takes 4 GB)")
    parser.add_argument(
        "--folder",
        type=Path,
        default=ROOT / "build",
        help="where the databases lie meanwhile: on the disk in question, never in memory",
    )
    parser.add_argument("--write", action="store_true", help="write the rows as JSON lines as well")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where to, if not benchmarks/results")
    return parser


def _question(name: str) -> str:
    if name not in QUESTIONS:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(QUESTIONS)}")
    return name


if __name__ == "__main__":
    raise SystemExit(main())
