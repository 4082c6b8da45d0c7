"""Many runs of one plan: by chance, with every single fault, with every pair of faults.

What must stay true: every run can be named by a :class:`Case` and played again; the first that breaks something ends
the campaign.
"""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

import attrs

from ..judging import Verdict
from ..laws import Broken
from .case import Case
from .chance import Chance
from .faults import PROCESS_SITES, Faults, TargetedFaults
from .outside import CannotSimulate
from .plan import Plan
from .run import Run
from .schedule import SCHEDULES

THOROUGH_EVERY = 16
COLLECT_EVERY = 250


@attrs.define(eq=False)
class Played:
    """One run that was played. ``broken``: what is wrong with it; None: nothing."""

    case: Case
    run: Run
    broken: Broken | None
    verdict: Verdict | None
    tape: bytes = b""


@attrs.define
class Tally:
    """What a campaign came to."""

    runs: int = 0
    seconds: float = 0.0
    reached: Counter[str] = attrs.Factory(Counter[str])
    failed: Played | None = None

    @property
    def rate(self) -> float:
        """Runs per second."""
        return self.runs / self.seconds if self.seconds else 0.0

    def add(self, played: Played) -> None:
        """One more."""
        self.runs += 1
        if played.verdict is not None:
            self.reached.update(played.verdict.reached)
            self.reached.update(played.run.faults.struck)
        if played.broken is not None and self.failed is None:
            self.failed = played

    def join(self, other: Tally) -> None:
        """Those of another campaign too."""
        self.runs += other.runs
        self.seconds += other.seconds
        self.reached.update(other.reached)
        self.failed = self.failed or other.failed


def play(plan: Plan, case: Case, *, record: bool = False, thorough: bool = True) -> Played:
    """Play one run and judge it."""
    run = _make(plan, case, record=record)
    broken: Broken | None = None
    verdict: Verdict | None = None
    try:
        run.play()
        verdict = run.judge(thorough=thorough)
        if plan.after is not None:
            plan.after(run)
    except Broken as exc:
        broken = exc
    except CannotSimulate:
        raise
    except Exception as exc:  # whatever went wrong, this run shows it
        broken = Broken("no error is lost", f"{type(exc).__name__}: {exc}")
        broken.__cause__ = exc
    return Played(case, run, broken, verdict, bytes(run.chance.drawn or b""))


def _make(plan: Plan, case: Case, *, record: bool) -> Run:
    chance = Chance(case.seed, case.tape, record=record)
    if case.aimed:
        steps = {site: [step for step, name in case.steps if name == site] for site in PROCESS_SITES}
        return Run(
            plan, chance, TargetedFaults(chance, dict(case.targets), steps), schedule="fifo", behaviour=case.behaviour
        )
    schedule = SCHEDULES[chance.below(len(SCHEDULES))]
    return Run(plan, chance, Faults(chance, plan.sites), schedule=schedule)


def run_all(plan: Plan, cases: Iterable[Case], *, most_seconds: float | None = None) -> Tally:
    """Play these, until one breaks something (or so many seconds have passed)."""
    tally = Tally()
    began = time.perf_counter()
    with _rare_collections():
        for number, case in enumerate(cases):
            played = play(plan, case, thorough=number % THOROUGH_EVERY == 0)
            tally.add(played)
            if tally.failed is not None:
                break
            if number % COLLECT_EVERY == COLLECT_EVERY - 1:
                gc.collect()
                if most_seconds is not None and time.perf_counter() - began > most_seconds:
                    break
    tally.seconds = time.perf_counter() - began
    return tally


@contextmanager
def _rare_collections() -> Iterator[None]:
    """A run leaves many cycles; they are collected now and then, not while it runs."""
    before = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


# --- which runs ---


def by_chance(first: int, count: int) -> Iterator[Case]:
    """Runs with these seeds."""
    return (Case(seed=seed) for seed in range(first, first + count))


def opportunities(plan: Plan, case: Case) -> tuple[list[str], int, set[int]]:
    """The sites that a run passes, in order; the steps that its loop takes; those during which somebody is asked."""
    run = _make(plan, case, record=False)
    with suppress(Broken):  # whoever plays it as a run of its own hears of it
        run.play()
    faults = run.faults
    asking = {step for since, until in run.clients.steps_asking for step in range(since + 1, until + 1)}
    return (faults.met if isinstance(faults, TargetedFaults) else []), run.loop.steps, asking


def single_faults(plan: Plan) -> Iterator[Case]:
    """For each behaviour: the calm run, and every single fault there is."""
    for behaviour in range(len(plan.behaviours)):
        calm = Case(behaviour=behaviour)
        yield calm
        yield from _with_one_more(plan, calm)


def pairs_of_faults(plan: Plan, behaviour: int = 0, *, stride: int = 1) -> Iterator[Case]:
    """Every fault, followed by every other that can still come; ``stride``: only every so-many-th pair."""
    for number, first in enumerate(_with_one_more(plan, Case(behaviour=behaviour))):
        for place, second in enumerate(_with_one_more(plan, first)):
            if (place + number) % stride == 0:
                yield second


def _with_one_more(plan: Plan, case: Case) -> Iterator[Case]:
    """This run with one more fault, at every later place."""
    met, steps, asking = opportunities(plan, case)
    after = max((place for place, _ in case.targets), default=-1)
    later = max((step for step, _ in case.steps), default=0)
    enabled = set(plan.sites)
    for place in range(after + 1, len(met)):
        if met[place] in enabled:
            yield attrs.evolve(case, targets=(*case.targets, (place, met[place])))
    for site in PROCESS_SITES:
        if site in enabled:
            for step in range(later + 1, steps):
                if site == "cancel" and step not in asking:
                    continue  # nobody is there to lose patience
                yield attrs.evolve(case, steps=(*case.steps, (step, site)))
