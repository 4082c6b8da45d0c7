"""``simulate``: the whole engine and the user's own saga through everything that can go wrong.

What must stay true: the user's functions are called for real, on virtual time; a failure names its run, and the same
run fails again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs

from ...core.definition import SagaDefinition
from ...core.errors import InvalidInput
from ...core.instance import SagaInstance
from ...core.retry import ACTION_RETRY, COMPENSATION_RETRY, RetryPolicy
from ...declare import definition_of
from ...runtime.session import Definable
from ...runtime.settings import Settings
from ..laws import Broken
from . import options
from .campaign import Played, Tally, by_chance, play, run_all
from .case import Case
from .failure import explain
from .faults import SITES
from .ledger import EffectLedger
from .plan import SETTINGS, Plan
from .real import RealWorld
from .regressions import keep, kept
from .run import Run
from .shrink import shrink

T = TypeVar("T")

LATE = ("call lost late",)
KEPT_IN = "sagafsm_regressions"


@attrs.define
class Report:
    """What the runs of a simulation came to. ``reached``: how many of them reached what, by name."""

    saga: str
    runs: int
    seconds: float
    reached: Mapping[str, int]

    def __str__(self) -> str:
        ends = ", ".join(
            f"{count} {what}"
            for what, count in sorted(self.reached.items())
            if what.startswith(("completed", "failed"))
        )
        return f"{self.saga}: {self.runs} runs in {self.seconds:.1f} s, none broke anything ({ends})"


class Simulation:
    """A saga with everything that can go wrong around it. Made by :func:`simulate`."""

    def __init__(self, plan: Plan, *, runs: int, seed: int, kept_in: Path | None) -> None:
        self._plan = plan
        self._runs = runs
        self._seed = seed
        self._kept_in = kept_in

    def check(self) -> Report:
        """Play the runs that failed before, then the others. Raises SimulationFailed for the first that breaks.

        With ``--sagafsm-replay`` only that run is played.
        """
        return _in_a_thread(self._check)

    def _check(self) -> Report:
        named = options.replay()
        if named is not None:
            cases: Sequence[Case] = [Case.parse(named)]
        else:
            before = kept(self._kept_in, self._plan.name) if self._kept_in is not None else ()
            cases = [
                *(Case.parse(regression.case) for regression in before),
                *by_chance(self._seed, options.runs(self._runs)),
            ]
        tally = run_all(self._plan, cases)
        if tally.failed is not None:
            raise self._failure(tally.failed, keep_it=named is None)
        self._check_reached(tally, named)
        return Report(self._plan.name, tally.runs, tally.seconds, dict(tally.reached))

    def _failure(self, failed: Played, *, keep_it: bool) -> AssertionError:
        smallest = shrink(self._plan, failed)
        where: str | None = None
        if self._kept_in is not None and keep_it and smallest.broken is not None:
            where = str(keep(self._kept_in, self._plan.name, smallest.case, smallest.broken.law))
        return explain(self._plan.name, smallest, command=options.command(str(smallest.case)), kept_in=where)

    def _check_reached(self, tally: Tally, named: str | None) -> None:
        """Runs that never got anywhere prove nothing."""
        if named is None and tally.runs >= 200 and not any(what.startswith("completed") for what in tally.reached):
            raise AssertionError(
                f"simulation of {self._plan.name}: no run of {tally.runs} completed the saga, so they prove little; "
                "does it need signals=, replies= or another input?"
            )

    def replay(self, case: str) -> str:
        """Play one run again; its timeline. Raises SimulationFailed where it breaks something."""

        def again() -> str:
            played = play(self._plan, Case.parse(case))
            if played.broken is not None:
                raise explain(self._plan.name, played, command=options.command(case), kept_in=None)
            return played.run.trace.timeline()

        return _in_a_thread(again)


def simulate(
    saga: Definable,
    data: Any = None,
    *,
    runs: int = 1_000,
    seed: int = 1,
    sagas: int = 1,
    workers: int = 2,
    others: Sequence[Definable] = (),
    signals: Mapping[str, Any] | None = None,
    replies: Mapping[str, Any] | None = None,
    ledger: EffectLedger | None = None,
    before: Callable[[], object] | None = None,
    after: Callable[[Mapping[str, SagaInstance]], object] | None = None,
    without: Sequence[str] = (),
    late_effects: bool = False,
    settings: Settings | None = None,
    retry: RetryPolicy | None = None,
    compensation_retry: RetryPolicy | None = None,
    kept_in: str | Path | None = KEPT_IN,
) -> Simulation:
    """Run a saga thousands of times through crashes, lost answers, frozen workers, faulty stores, races and aborts.

    ``simulate(OrderFulfillment, order, runs=5_000).check()`` runs the real engine, with ``workers`` processes on one
    store, and calls the real functions, on virtual time; every run is held against every invariant of the engine. A
    failure is made as small as can be, printed with its whole story and the command that plays it again, and kept as a
    file in ``kept_in`` (None: nowhere), to be played first from then on.

    ``sagas``: how many run at once in each run. ``signals``: payloads of the signals that are sent to it. ``replies``:
    results of steps that await a reply. ``ledger``: what functions add and remove (:class:`EffectLedger`). ``before``
    is called before each run (make the world new), ``after`` after it, with the sagas by id (assert what must be
    true). ``without``: faults to leave out. ``late_effects``: a call that was given up may still take effect later, as
    in real life; the functions then have to refuse what was undone before. ``others``: more definitions to know.
    """
    definitions = [definition_of(one) for one in (saga, *others)]
    unknown = [site for site in without if site not in SITES]
    if unknown:
        raise InvalidInput(f"{unknown[0]!r} is no fault; there are: {', '.join(SITES)}")
    if ledger is not None:
        ledger.check_names(_family(definitions))
    definitions = [
        definition.with_defaults(retry or ACTION_RETRY, compensation_retry or COMPENSATION_RETRY)
        for definition in definitions
    ]
    left_out = {*without, *(() if late_effects else LATE), "call unstorable", "purge"}
    plan = Plan(
        name=definitions[0].name,
        definitions=definitions,
        starts=[(definitions[0], data)] * sagas,
        processes=[_family(definitions)] * workers,
        signals=signals or {},
        replies=dict(replies or {}),
        sites=[site for site in SITES if site not in left_out],
        settings=settings or SETTINGS,
        world=_world,
        before=before,
    )
    plan.quiet = _patience(definitions)
    plan.after = _afterwards(ledger, after)
    folder = None if kept_in is None else Path(kept_in)
    return Simulation(plan, runs=runs, seed=seed, kept_in=folder)


def _family(definitions: Sequence[SagaDefinition]) -> list[SagaDefinition]:
    found = list(definitions)
    for definition in found:  # grows by the sub-sagas
        found.extend(
            step.child for step in definition.steps.values() if step.child is not None and step.child not in found
        )
    return found


def _patience(definitions: Sequence[SagaDefinition]) -> float:
    """Seconds within which a saga ends when nothing goes wrong any more: all its waits, several times over."""
    total = 300.0
    for definition in _family(definitions):
        for step in definition.steps.values():
            total += step.seconds or 0.0
            for handler in (step.action, step.compensation, step.fallback, step.fallback_compensation):
                total += 4 * (handler.timeout or 0.0) if handler is not None else 0.0
        for policy in {*definition.forward_retry.values(), *definition.backward_retry.values()}:
            attempts = min(policy.max_attempts or 20, 50)
            total += 2 * sum(policy.delay(number, 1.0) for number in range(1, attempts))
    return total


def _world(run: Run, say: Callable[[Any], object]) -> RealWorld:
    return RealWorld(run.loop, run.trace, run.faults, run.chance.below, run.behaviour, say)


def _afterwards(
    ledger: EffectLedger | None, after: Callable[[Mapping[str, SagaInstance]], object] | None
) -> Callable[[Run], None] | None:
    if ledger is None and after is None:
        return None

    def check(run: Run) -> None:
        evidence = run.evidence(thorough=False)
        found: dict[str, SagaInstance] = {}
        for saga_id, log in evidence.logs.items():
            progress = run.server.fold_of(saga_id)
            found[saga_id] = SagaInstance(progress, log.definition)
            if ledger is not None and isinstance(run.world, RealWorld):
                calls = [(one.function, one.key, one.effective) for one in run.world.counted.get(saga_id, ())]
                ledger.check(progress, log.definition, calls)
        if after is not None:
            try:
                after(found)
            except AssertionError as exc:
                raise Broken("what must be true", str(exc) or "an assertion of after= failed") from exc

    return check


def _in_a_thread(work: Callable[[], T]) -> T:
    """Run where no event loop runs: a test may have one."""
    result: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            result.append(work())
        except BaseException as exc:
            errors.append(exc)

    thread = threading.Thread(target=run, name="sagafsm simulation", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return result[0]
