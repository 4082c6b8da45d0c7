"""``simulate``: the whole engine and the user's own saga through everything that can go wrong.

What must stay true: the user's functions are called for real, on virtual time; a failure names its run, and the same
run fails again.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...core.definition import SagaDefinition
from ...core.errors import InvalidInput
from ...core.instance import SagaInstance
from ...core.payload import NotReadable, NotStorable, decode, encode
from ...core.retry import ACTION_RETRY, COMPENSATION_RETRY, RetryPolicy
from ...core.step import StepKind
from ...declare import definition_of
from ...runtime.session import Definable
from ...runtime.settings import Settings
from ..laws import Broken
from . import options
from .campaign import by_chance
from .faults import SITES
from .ledger import EffectLedger, Kept
from .outside import CannotSimulate
from .plan import ALL_WELL, SETTINGS, Plan
from .proof import Simulation
from .real import RealWorld
from .run import Run
from .watch import Watch

LATE = ("call lost late",)
KEPT_IN = "sagafsm_regressions"

After = Callable[[Mapping[str, SagaInstance]], object]


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
    after: After | None = None,
    without: Sequence[str] = (),
    late_effects: bool = False,
    outside: bool = False,
    settings: Settings | None = None,
    retry: RetryPolicy | None = None,
    compensation_retry: RetryPolicy | None = None,
    kept_in: str | Path | None = KEPT_IN,
) -> Simulation:
    """Run a saga thousands of times through crashes, lost answers, frozen workers, faulty stores, races and aborts.

    ``simulate(OrderFulfillment, order, runs=5_000).check()`` runs the real engine, with ``workers`` processes on one
    store, and calls the real functions, on virtual time; every run is held against every invariant of the engine, and
    an AssertionError of a function fails it too. A failure is made as small as can be, printed with its whole story and
    the command that plays it again, and kept as a file in the folder ``kept_in`` beside the calling file (None:
    nowhere), to be played first from then on.

    ``sagas``: how many run at once in each run. ``signals``: payloads of the signals that are sent to it. ``replies``:
    results of steps that await a reply. ``ledger``: what functions add and remove (:class:`EffectLedger`). ``before``
    is called before each run (make the world new), ``after`` after it, with the sagas by id (assert what must be
    true). ``without``: faults to leave out. ``late_effects``: a call that was given up may still take effect later, as
    in real life; the functions then have to refuse what was undone before. ``outside``: let functions use blocking
    sockets, threads and programs. ``others``: more definitions to know. Raises InvalidInput for what cannot work.
    """
    for name, number, least in (("runs", runs, 0), ("sagas", sagas, 1), ("workers", workers, 1)):
        if number < least:
            raise InvalidInput(f"{name} must be at least {least}, got {number!r}")
    unknown = [site for site in without if site not in SITES]
    if unknown:
        raise InvalidInput(f"{unknown[0]!r} is no fault; there are: {', '.join(SITES)}")
    left_out = {*without, *(() if late_effects else LATE), "call unstorable", "purge"}
    watch = Watch(outside=outside)
    plan = plan_of(
        saga, data, watch, sagas=sagas, workers=workers, others=others, signals=signals, replies=replies,
        ledger=ledger, before=before, after=after, settings=settings, retry=retry,
        compensation_retry=compensation_retry, sites=[site for site in SITES if site not in left_out],
    )  # fmt: skip
    return Simulation(
        plan, watch, lambda: by_chance(seed, options.runs(runs)), kept_in=_beside_caller(kept_in, sys._getframe(1))
    )


def _beside_caller(folder: str | Path | None, frame: Any) -> Path | None:
    """A folder beside the file that asked for the simulation, wherever pytest was started."""
    if folder is None:
        return None
    return Path(frame.f_globals.get("__file__") or "").absolute().parent / folder


def plan_of(
    saga: Definable,
    data: Any,
    watch: Watch,
    *,
    sagas: int = 1,
    workers: int,
    sites: Sequence[str],
    others: Sequence[Definable],
    signals: Mapping[str, Any] | None,
    replies: Mapping[str, Any] | None,
    ledger: EffectLedger | None,
    before: Callable[[], object] | None,
    after: After | None,
    settings: Settings | None,
    retry: RetryPolicy | None,
    compensation_retry: RetryPolicy | None,
    behaviours: Callable[[Sequence[SagaDefinition]], Sequence[Mapping[str, str]]] = lambda definitions: (ALL_WELL,),
) -> Plan:
    """The plan of a simulation of real functions. Raises InvalidInput for what cannot work."""
    definitions = [definition_of(one) for one in (saga, *others)]
    definitions = [
        definition.with_defaults(retry or ACTION_RETRY, compensation_retry or COMPENSATION_RETRY)
        for definition in definitions
    ]
    family = family_of(definitions)
    _check_given(definitions[0], family, data, signals or {}, replies or {})
    if ledger is not None:
        ledger.check_names(family)
    plan = Plan(
        name=definitions[0].name,
        definitions=definitions,
        starts=[(definitions[0], data)] * sagas,
        processes=[family] * workers,
        behaviours=behaviours(family),
        signals=signals or {},
        replies=dict(replies or {}),
        sites=list(sites),
        settings=settings or SETTINGS,
        world=lambda run, say: _world(run, say, watch),
        before=None if before is None else lambda: _begin(before),
    )
    plan.quiet = _patience(family)
    plan.after = lambda run: _afterwards(run, ledger, after)
    return plan


def family_of(definitions: Sequence[SagaDefinition]) -> list[SagaDefinition]:
    """These sagas and their sub-sagas."""
    found = list(definitions)
    for definition in found:  # grows by the sub-sagas
        found.extend(
            step.child for step in definition.steps.values() if step.child is not None and step.child not in found
        )
    return found


def _check_given(
    definition: SagaDefinition,
    family: Sequence[SagaDefinition],
    data: Any,
    signals: Mapping[str, Any],
    replies: Mapping[str, Any],
) -> None:
    """What is wrong with these would show in every run, as something else."""
    what = f"the input of {definition.name}"
    try:
        decode(encode(data, what=what, kind=definition.input), definition.input, what=what)
    except (NotStorable, NotReadable) as exc:
        raise InvalidInput(str(exc)) from exc
    steps = [step for one in family for step in one.steps.values()]
    waited = {step.signal for step in steps if step.signal is not None}
    asked = {step.name for step in steps if step.action is not None and step.action.awaits_reply}
    for name, given, known in (("signals", signals, waited), ("replies", replies, asked)):
        for one in given:
            if one not in known:
                raise InvalidInput(
                    f"{name}={{{one!r}: …}}: no step waits for that; there are: {sorted(known) or 'none'}"
                )
    for step in (step for one in family if one.deadline is None for step in one.steps.values()):
        if step.kind is StepKind.SIGNAL and step.seconds is None and step.signal not in signals:
            raise InvalidInput(
                f"step {step.name} waits for the signal {step.signal!r} without a timeout, so no run would end; "
                f"say what is sent: signals={{{step.signal!r}: payload}}"
            )
    for name in sorted(asked - set(replies)):
        raise InvalidInput(f"step {name} awaits a reply; say what it is: replies={{{name!r}: result}}")


def _patience(family: Sequence[SagaDefinition]) -> float:
    """Seconds within which a saga ends when nothing goes wrong any more: all its waits, several times over."""
    total = 300.0
    for definition in family:
        for step in definition.steps.values():
            total += step.seconds or 0.0
            for handler in (step.action, step.compensation, step.fallback, step.fallback_compensation):
                total += 4 * (handler.timeout or 0.0) if handler is not None else 0.0
        for policy in {*definition.forward_retry.values(), *definition.backward_retry.values()}:
            attempts = min(policy.max_attempts or 20, 50)
            total += 2 * sum(policy.delay(number, 1.0) for number in range(1, attempts))
    return total


# --- one run ---


def _begin(before: Callable[[], object]) -> None:
    try:
        before()
    except Exception as exc:
        raise CannotSimulate(f"before= raised {type(exc).__name__}: {exc}") from exc


def _world(run: Run, say: Callable[[Any], object], watch: Watch) -> RealWorld:
    random.seed(run.chance.below(256))  # functions that draw numbers draw the same when the run is played again
    return RealWorld(run.loop, run.trace, run.faults, run.chance.below, run.behaviour, say, watch=watch)


def _afterwards(run: Run, ledger: EffectLedger | None, after: After | None) -> None:
    world = run.world
    if world.asserted:
        raise Broken("what must be true", world.asserted[0])
    if ledger is None and after is None:
        return
    logs = run.evidence(thorough=False).logs
    folds = {saga_id: run.server.fold_of(saga_id) for saga_id in logs}
    if ledger is not None:
        ledger.check(
            Kept(
                folds[saga_id],
                log.definition,
                [(one.function, one.effective) for one in world.counted.get(saga_id, ())],
                doubtful=saga_id in world.doubtful,
            )
            for saga_id, log in logs.items()
        )
    if after is not None:
        try:
            after({saga_id: SagaInstance(folds[saga_id], log.definition) for saga_id, log in logs.items()})
        except AssertionError as exc:
            raise Broken("what must be true", str(exc) or "an assertion of after= failed") from exc
