"""A simulation to be checked: its runs, what they came to, and what a person is told of the first that breaks.

What must stay true: a failure that is shown was played twice, and what did not happen again is said not to have; a
run that was kept is played before all others.
"""

from __future__ import annotations

import asyncio
import contextvars
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import attrs

from ...core.errors import InvalidInput
from ..laws import Broken
from ..script import NotReached
from . import options
from .campaign import Played, Tally, play, run_all
from .case import Case
from .failure import SimulationFailed, explain
from .outside import sealed
from .plan import Plan
from .regressions import keep, kept_files
from .shrink import law_of, shrink
from .watch import Watch

T = TypeVar("T")

ENOUGH = 200  # runs that prove little if none of them completed the saga
REACHED = "what was meant to go wrong did"
UNSTEADY = (
    "Played again, the same run {again}: what the functions do depends on more than their run. The clock (datetime.now "
    "is the real one), the order of a set, or something that a run before it left behind: make the world new in before="
)


@attrs.define
class Report:
    """What the runs of a simulation came to.

    ``reached``: how many of them reached what, by name. ``never_called``: functions that none of them called.
    """

    saga: str
    runs: int
    seconds: float
    reached: Mapping[str, int]
    never_called: Sequence[str] = ()

    def __str__(self) -> str:
        ends = ", ".join(
            f"{count} {what}"
            for what, count in sorted(self.reached.items())
            if what.startswith(("completed", "failed"))
        )
        never = f"; never called: {', '.join(self.never_called)}" if self.never_called else ""
        return f"{self.saga}: {self.runs} runs in {self.seconds:.1f} s, none broke anything ({ends}){never}"


class Simulation:
    """A saga with everything that can go wrong around it. Made by :func:`simulate`."""

    def __init__(
        self, plan: Plan, watch: Watch, cases: Callable[[], Iterable[Case]], *, kept_in: Path | None = None
    ) -> None:
        self._plan = plan
        self._watch = watch
        self._cases = cases
        self._kept_in = kept_in
        self._used = False
        self._stopped = False

    def __del__(self) -> None:
        if not getattr(self, "_used", True):
            text = f"the simulation of {self._plan.name} was made and never run: call .check()"
            warnings.warn(text, RuntimeWarning, stacklevel=2)

    def check(self) -> Report:
        """Play the runs that failed before, then the others. Raises SimulationFailed for the first that breaks.

        With ``--sagafsm-replay`` only that run is played. Raises CannotSimulate where the functions reach outside.
        """
        self._used = True
        return apart(self._check, self._stop)

    def _stop(self) -> None:
        self._stopped = True

    def _check(self) -> Report:
        named = options.replay()
        if named is not None:
            tally = self._play([self._named(named)])
        else:
            tally = self._play_kept()
            if tally.failed is None:
                tally.join(self._play(self._cases()))
        if tally.failed is not None:
            raise self._failure(tally.failed, keep_it=named is None)
        if named is None:
            self._check_reached(tally)
        never = self._watch.never_called(self._plan.definitions) if named is None else ()
        return Report(self._plan.name, tally.runs, tally.seconds, dict(tally.reached), never)

    def _named(self, text: str) -> Case:
        case = Case.parse(text)
        if case.behaviour is not None and case.behaviour >= len(self._plan.behaviours):
            raise InvalidInput(f"{text!r} is a run of another simulation: this one of {self._plan.name} has no such")
        return case

    def _play_kept(self) -> Tally:
        """Play what failed before. Raises SimulationFailed, which names the file."""
        tally = Tally()
        for path, regression in kept_files(self._kept_in, self._plan.name) if self._kept_in is not None else ():
            tally.join(self._play([self._named(regression.case)]))
            if tally.failed is not None:
                raise self._explained(tally.failed, f"it failed before, and is kept in {path}")
        return tally

    def _play(self, cases: Iterable[Case]) -> Tally:
        with sealed():
            tally = run_all(self._plan, self._watched(cases))
        self._watch.check(self._plan.name)
        return tally

    def _watched(self, cases: Iterable[Case]) -> Iterator[Case]:
        for case in cases:
            yield case
            self._watch.check(self._plan.name)
            if self._stopped:
                return

    def _failure(self, failed: Played, *, keep_it: bool) -> AssertionError:
        if failed.broken is not None and failed.broken.law == REACHED:
            return NotReached(f"simulation of {self._plan.name}: {failed.broken.args[0]}")
        with sealed():
            again = play(self._plan, failed.case)
            steady = law_of(again) == law_of(failed)
            smallest = shrink(self._plan, failed) if steady else failed
        if not steady:
            how = f"broke something else: {again.broken}" if again.broken is not None else "broke nothing"
            return self._explained(failed, UNSTEADY.format(again=how))
        if self._kept_in is None or not keep_it or smallest.broken is None:
            return self._explained(smallest)
        try:
            where = keep(self._kept_in, self._plan.name, smallest.case, smallest.broken.law)
        except OSError as exc:
            return self._explained(smallest, f"it could not be kept in {self._kept_in}: {exc.strerror or exc}")
        return self._explained(smallest, f"kept in {where}: it is played first from now on")

    def _explained(self, played: Played, *more: str) -> SimulationFailed:
        command = options.command(str(played.case))
        raised = [f"raised by the functions themselves: {text}" for text in self._watch.most_raised()]
        return explain(self._plan.name, played, command=command, more=(*raised, *more))

    def _check_reached(self, tally: Tally) -> None:
        """Runs that never got anywhere prove nothing."""
        if tally.runs >= ENOUGH and not any(what.startswith("completed") for what in tally.reached):
            raised = "; ".join(self._watch.most_raised())
            raise AssertionError(
                f"simulation of {self._plan.name}: no run of {tally.runs} completed the saga, so they prove little; "
                + (raised or "does it need signals=, replies= or another input?")
            )

    def replay(self, case: str) -> str:
        """Play one run again; its timeline. Raises SimulationFailed where it breaks something."""
        self._used = True

        def again() -> str:
            with sealed():
                played = play(self._plan, self._named(case))
            self._watch.check(self._plan.name)
            if played.broken is not None:
                raise self._explained(played)
            return played.run.trace.timeline()

        return apart(again, self._stop)


def apart(work: Callable[[], T], stop: Callable[[], object] = lambda: None) -> T:
    """Do it where no event loop runs: here, or in a thread where a test has one. ``stop``: nobody waits for it."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return work()
    with ThreadPoolExecutor(1, "sagafsm-simulation") as thread:
        doing = thread.submit(contextvars.copy_context().run, work)
        try:
            return doing.result()
        except BaseException:
            stop()
            raise


def not_reached(text: str) -> Broken:
    """What breaks a run in which what was meant to go wrong did not."""
    return Broken(REACHED, text)
