"""``make prove``: as many runs as there is time for, on all cores; and one run again, by its name.

    python -m tests.simulation.prove [SHAPE …] [--runs N] [--minutes M] [--seed S] [--workers W]
    python -m tests.simulation.prove SHAPE --replay CASE

First every single fault on every shape; then, as far as the budget goes, a thousand seeds of every shape and, every
other time, the next two thousand pairs of faults of every shape. The first run that breaks something is made smaller,
kept, and told; the exit code is then 1.
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice

import attrs

from sagafsm.testing.simulation.campaign import by_chance, pairs_of_faults, play, run_all, single_faults
from sagafsm.testing.simulation.case import Case
from tests.simulation.gate import NotReached, demand, must_reach
from tests.simulation.shapes import PAIRED, SHAPES
from tests.simulation.sometimes import EVERYTHING

ALL = {**SHAPES, **PAIRED}
CHUNK = 1_000
PAIRS_A_TURN = 2_000


@attrs.frozen
class Piece:
    """A piece of work. ``first``: the behaviour, how many pairs come before, or the seed."""

    what: str
    shape: str
    first: int = 0
    count: int = 0


@attrs.frozen
class Told:
    """What became of a piece. ``seconds``: of a processor, spent on it."""

    piece: Piece
    runs: int
    seconds: float
    reached: Counter[str]
    failed: str | None


def work(piece: Piece) -> Told:
    """Play a piece; a failing run is kept by whoever finds it."""
    began = time.process_time()
    plan = ALL[piece.shape]()
    if piece.what == "singles":
        cases: Iterator[Case] = single_faults(plan, [piece.first])
    elif piece.what == "pairs":
        cases = islice(pairs_of_faults(plan), piece.first, piece.first + piece.count)
    else:
        cases = by_chance(piece.first, piece.count)
    tally = run_all(plan, cases)
    failed = None
    try:
        demand(plan, tally)
    except AssertionError as failure:
        failed = str(failure)
    return Told(piece, tally.runs, time.process_time() - began, tally.reached, failed)


def pieces(shapes: list[str], seed: int) -> Iterator[Piece]:
    """Everything there is to do, in the order in which it pays; it never ends."""
    yield from (Piece("singles", shape, number) for shape in shapes for number in range(len(ALL[shape]().behaviours)))
    turn = 0
    while True:
        for shape in shapes:
            yield Piece("chance", shape, seed + turn * CHUNK, CHUNK)
        if turn % 2 == 0:
            for shape in shapes:
                yield Piece("pairs", shape, turn // 2 * PAIRS_A_TURN, PAIRS_A_TURN)
        turn += 1


def prove(shapes: list[str], *, runs: int, minutes: float, seed: int, workers: int) -> int:
    """Work until the budget is used up; the exit code."""
    began = said = time.monotonic()
    busy = 0.0
    counts: Counter[str] = Counter()
    reached: Counter[str] = Counter()
    with multiprocessing.get_context("fork").Pool(workers, maxtasksperchild=50) as pool:
        under_way = []
        queue = pieces(shapes, seed)
        while True:
            over = sum(counts.values()) >= runs or time.monotonic() - began > minutes * 60
            while len(under_way) < workers * 2 and not over:
                under_way.append(pool.apply_async(work, (next(queue),)))
            if not under_way:
                break
            told = under_way.pop(0).get()
            counts[told.piece.what] += told.runs
            busy += told.seconds
            reached.update(told.reached)
            if told.failed is not None:
                print(told.failed, file=sys.stderr)
                pool.terminate()
                return 1
            if time.monotonic() - said > 10:
                said = time.monotonic()
                say(counts, said - began, busy)
    say(counts, time.monotonic() - began, busy)
    if set(shapes) == set(SHAPES):
        try:
            must_reach(reached, EVERYTHING)
        except NotReached as exc:
            print(exc, file=sys.stderr)
            return 1
    return 0


def say(counts: Counter[str], seconds: float, busy: float) -> None:
    """How far it has come. ``busy``: seconds that processors have spent on it, whatever else they had to do."""
    total = sum(counts.values())
    kinds = ", ".join(f"{count:,} {what}" for what, count in counts.items())
    print(
        f"{total:,} runs ({kinds}) in {seconds:.0f} s: {total / max(busy, 0.1):.0f} in a second of one core, "
        "nothing broken",
        flush=True,
    )


def replay(shape: str, case: str) -> int:
    """Play one run again and show everything that happened; the exit code."""
    played = play(ALL[shape](), Case.parse(case))
    print(f"{shape} {case}; faults: {', '.join(played.run.faults.struck) or 'none'}")
    print(played.run.trace.timeline())
    print(f"broken: {played.broken}" if played.broken is not None else "nothing is broken")
    return 1 if played.broken is not None else 0


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.prove", description=__doc__.partition("\n")[0])
    parser.add_argument("shapes", nargs="*", metavar="SHAPE", help=f"of {', '.join(ALL)} (default: all)")
    parser.add_argument("--runs", type=int, default=2_000_000, help="so many runs (default: 2,000,000)")
    parser.add_argument("--minutes", type=float, default=600.0, help="or so many minutes, whichever is less")
    parser.add_argument("--seed", type=int, default=1_000_000, help="the first seed")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    parser.add_argument("--replay", metavar="CASE", help="play this one run of SHAPE again")
    options = parser.parse_args(arguments)
    unknown = [shape for shape in options.shapes if shape not in ALL]
    if unknown or (options.replay is not None and len(options.shapes) != 1):
        parser.error(f"no shape is called {unknown[0]}" if unknown else "--replay takes one shape")
    if options.replay is not None:
        return replay(options.shapes[0], options.replay)
    return prove(
        options.shapes or list(SHAPES),
        runs=options.runs,
        minutes=options.minutes,
        seed=options.seed,
        workers=options.workers,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
