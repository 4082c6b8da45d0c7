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
COLLECT_EVERY = 16  # runs; garbage of more than that no longer fits into the caches, and costs three times as much


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
    """A run leaves many cycles; they are collected now and then, not while it runs. What was there before is not looked
    through again.
    """
    before = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if before:
            gc.enable()


# --- which runs ---


def by_chance(first: int, count: int) -> Iterator[Case]:
    """Runs with these seeds."""
    return (Case(seed=seed) for seed in range(first, first + count))


@attrs.frozen
class Opportunities:
    """Where something can go wrong in a run. ``met``: the sites that it passes, in order; the rest: steps of its loop.

    ``own``: those of a worker process; ``boundaries``: those before which a process did something that others can see
    (it sent a request, or began a call); ``asking``: those during which somebody waits for an answer.
    """

    met: list[str]
    own: list[int]
    boundaries: list[int]
    asking: set[int]


def opportunities(plan: Plan, case: Case) -> Opportunities:
    """Play a run to see where more can go wrong in it."""
    run = _make(plan, case, record=False)
    owners = run.loop.watch()
    with suppress(Broken):  # whoever plays it as a run of its own hears of it
        run.play()
    faults = run.faults
    own: list[int] = []
    boundaries: list[int] = []
    deeds = iter(run.loop.deeds)
    deed, fresh = next(deeds, None), set[str]()
    seen: set[str] = set()
    for step, owner in enumerate(owners, start=1):
        while deed is not None and deed[0] < step:
            fresh.add(deed[1])
            deed = next(deeds, None)
        if "." in owner:
            own.append(step)
            if owner in fresh or owner not in seen:
                boundaries.append(step)
            fresh.discard(owner)
            seen.add(owner)
    asking = {step for since, until in run.clients.steps_asking for step in range(since + 1, until + 1)}
    return Opportunities(faults.met if isinstance(faults, TargetedFaults) else [], own, boundaries, asking)


def single_faults(plan: Plan, behaviours: Iterable[int] | None = None) -> Iterator[Case]:
    """For each behaviour (or these, by their numbers): the calm run, and every single fault there is."""
    for behaviour in range(len(plan.behaviours)) if behaviours is None else behaviours:
        calm = Case(behaviour=behaviour)
        yield calm
        yield from _with_one_more(plan, calm)


def pairs_of_faults(plan: Plan, behaviour: int = 0) -> Iterator[Case]:
    """Every fault, followed by every other that can still come.

    What strikes a process strikes it at its boundaries: between two of them it does nothing that others could see, so
    that a crash in one place is a crash in any.
    """
    for first in _with_one_more(plan, Case(behaviour=behaviour), coarse=True):
        yield from _with_one_more(plan, first, coarse=True)


def _with_one_more(plan: Plan, case: Case, *, coarse: bool = False) -> Iterator[Case]:
    """This run with one more fault, at every later place."""
    found = opportunities(plan, case)
    after = max((place for place, _ in case.targets), default=-1)
    later = max((step for step, _ in case.steps), default=0)
    enabled = set(plan.sites)
    for place in range(after + 1, len(found.met)):
        if found.met[place] in enabled:
            yield attrs.evolve(case, targets=(*case.targets, (place, found.met[place])))
    for site in PROCESS_SITES:
        if site not in enabled:
            continue
        for step in found.boundaries if coarse else found.own:
            if step > later and (site != "cancel" or step in found.asking):  # else nobody is there to lose patience
                yield attrs.evolve(case, steps=(*case.steps, (step, site)))
