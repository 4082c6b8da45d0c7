"""What the tests of this folder share: campaigns over the corpus, and what a failing one says."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from sagafsm.testing.simulation.campaign import Tally
from sagafsm.testing.simulation.failure import explain
from sagafsm.testing.simulation.plan import Plan
from sagafsm.testing.simulation.regressions import keep
from sagafsm.testing.simulation.shrink import shrink

REGRESSIONS = Path(__file__).parent.parent / "regressions"
RUNS = int(os.environ.get("SAGAFSM_TEST_INTERLEAVINGS", "50000"))


class NotReached(AssertionError):
    """A campaign never got where it was to go."""


def must_reach(reached: Mapping[str, int], wanted: Iterable[str]) -> None:
    """Raise NotReached for what no run of a campaign has reached."""
    missing = [what for what in wanted if not reached.get(what)]
    if missing:
        raise NotReached(f"no run has reached: {', '.join(missing)}")


def demand(plan: Plan, tally: Tally, *, kept: Path | None = REGRESSIONS) -> Tally:
    """The tally of a campaign in which nothing was broken; else raise, with the smallest run that breaks the same."""
    if tally.failed is None:
        return tally
    smallest = shrink(plan, tally.failed)
    where = None
    if kept is not None and smallest.broken is not None:
        where = str(keep(kept, plan.name, smallest.case, smallest.broken.law))
    command = f"python -m tests.simulation.prove {plan.name} --replay '{smallest.case}'"
    raise explain(plan.name, smallest, command=command, kept_in=where)
