"""``crash_test``, ``fail_at_every_step``, ``repeat_every_step``: one thing goes wrong, at every place there is.

What must stay true: nothing is left to chance; a run in which what was meant to go wrong did not is an error, because
it proves nothing.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...core.definition import SagaDefinition
from ...core.errors import InvalidInput
from ...core.retry import RetryPolicy
from ...declare import definition_of
from ...runtime.session import Definable
from ...runtime.settings import Settings
from .campaign import single_faults
from .case import Case
from .ledger import EffectLedger
from .misfortunes import Behaviour, failures, repetitions, undoing_all
from .plan import ALL_WELL, Plan
from .proof import Report, Simulation, not_reached
from .run import Run
from .user import After, family_of, plan_of
from .watch import Watch

CRASHES = (
    "crash", "commit before", "commit after", "claim after", "call lost after",
    "message lost", "message twice", "message early", "start twice", "signal twice",
)  # fmt: skip


def fail_at_every_step(
    saga: Definable,
    data: Any = None,
    *,
    without: Sequence[str] = (),
    others: Sequence[Definable] = (),
    signals: Mapping[str, Any] | None = None,
    replies: Mapping[str, Any] | None = None,
    ledger: EffectLedger | None = None,
    before: Callable[[], object] | None = None,
    after: After | None = None,
    outside: bool = False,
    settings: Settings | None = None,
    retry: RetryPolicy | None = None,
    compensation_retry: RetryPolicy | None = None,
) -> Report:
    """Run a saga once for each way in which each of its functions can fail, and hold every run against every invariant.

    An action (and a fallback) is rejected; is never reached; loses the connection before it did anything; does its work
    and loses every answer. A compensation cannot be reached the first time, or loses its first answer. The real
    functions are called otherwise, on virtual time, as in :func:`simulate`, which explains the other arguments; there
    are no crashes and no races. ``without``: names of steps that are not to fail.

    Raises SimulationFailed for the first run that breaks something, NotReached where a function that was to fail was
    never called (with this input its step may be skipped: name it in ``without``).
    """
    return _one_by_one(
        saga, data, failures, _all_met, without, others=others, signals=signals, replies=replies, ledger=ledger,
        before=before, after=after, outside=outside, settings=settings, retry=retry,
        compensation_retry=compensation_retry,
    )  # fmt: skip


def repeat_every_step(
    saga: Definable,
    data: Any = None,
    *,
    without: Sequence[str] = (),
    others: Sequence[Definable] = (),
    signals: Mapping[str, Any] | None = None,
    replies: Mapping[str, Any] | None = None,
    ledger: EffectLedger | None = None,
    before: Callable[[], object] | None = None,
    after: After | None = None,
    outside: bool = False,
    settings: Settings | None = None,
    retry: RetryPolicy | None = None,
    compensation_retry: RetryPolicy | None = None,
) -> Report:
    """Call each function of a saga a second time with the same key, after it has done its work: nothing may double.

    That is what a crash between the work and its record leads to. Every action, fallback and compensation has its turn,
    then all actions at once and all compensations; only steps with ``idempotent=False`` are never repeated. What the
    functions did is for ``ledger`` (with ``counts``) or ``after`` to judge. For all else see
    :func:`fail_at_every_step`.
    """
    return _one_by_one(
        saga, data, repetitions, _all_repeated, without, others=others, signals=signals, replies=replies,
        ledger=ledger, before=before, after=after, outside=outside, settings=settings, retry=retry,
        compensation_retry=compensation_retry,
    )  # fmt: skip


def crash_test(
    saga: Definable,
    data: Any = None,
    *,
    workers: int = 1,
    others: Sequence[Definable] = (),
    signals: Mapping[str, Any] | None = None,
    replies: Mapping[str, Any] | None = None,
    ledger: EffectLedger | None = None,
    before: Callable[[], object] | None = None,
    outside: bool = False,
    settings: Settings | None = None,
    retry: RetryPolicy | None = None,
    compensation_retry: RetryPolicy | None = None,
) -> Callable[[Callable[..., object]], Callable[..., None]]:
    """Make a test of a function: the saga's process dies at every single moment, and after each such run it is called.

    ``@crash_test(OrderFulfillment, order, before=new_shop)`` over ``def test_…(saga): assert …`` runs the saga once
    for every step that its process takes and kills it there: before and after every write and every call, on the whole
    way forward and, a second time, on a way back. Answers of the store and of functions are lost and messages come
    twice, too, each at every place. The function is called with the saga when each of these runs is over, with whatever
    else it takes (fixtures). :func:`simulate` explains the arguments, and goes on to what happens by chance.

    Raises InvalidInput for a coroutine function; the test raises SimulationFailed, NotReached, CannotSimulate.
    """
    if workers < 1:
        raise InvalidInput(f"workers must be at least 1, got {workers!r}")

    def decorate(function: Callable[..., object]) -> Callable[..., None]:
        if inspect.iscoroutinefunction(function):
            raise InvalidInput(
                f"{function.__name__} looks at a run that is over, and waits for nothing: drop the async"
            )
        signature = inspect.signature(function)
        parameters = list(signature.parameters.values())
        place = 1 if parameters and parameters[0].name == "self" else 0
        if len(parameters) <= place:
            raise InvalidInput(f"{function.__name__} is given the saga after every run: def {function.__name__}(saga)")

        @functools.wraps(function)
        def test(*arguments: Any, **fixtures: Any) -> None:
            first, rest = arguments[:place], arguments[place:]
            watch = Watch(outside=outside)
            plan = plan_of(
                saga, data, watch, workers=workers, others=others, signals=signals, replies=replies, ledger=ledger,
                before=before, after=lambda sagas: function(*first, sagas["saga-1"], *rest, **fixtures),
                settings=settings, retry=retry, compensation_retry=compensation_retry, sites=CRASHES,
                behaviours=lambda family: _ways(family[0]),
            )  # fmt: skip
            report = Simulation(plan, watch, lambda: single_faults(plan)).check()
            if report.runs > 1 and not report.reached.get("crash"):
                raise not_reached(f"no process of {report.saga} died in {report.runs} runs")

        test.__signature__ = signature.replace(parameters=[*parameters[:place], *parameters[place + 1 :]])  # type: ignore[attr-defined]
        return test

    return decorate


def _ways(definition: SagaDefinition) -> list[Behaviour]:
    back = undoing_all(definition)
    return [ALL_WELL, back] if back else [ALL_WELL]


# --- one behaviour after the other ---


def _one_by_one(
    saga: Definable,
    data: Any,
    behaviours: Callable[[Sequence[SagaDefinition], Sequence[str]], Sequence[Behaviour]],
    check: Callable[[Run], str | None],
    without: Sequence[str],
    *,
    after: After | None,
    outside: bool,
    **options: Any,
) -> Report:
    definition = definition_of(saga)
    steps = {step for one in family_of([definition]) for step in one.steps}
    for name in without:
        if name not in steps:
            raise InvalidInput(f"no step is called {name!r}; there are: {', '.join(sorted(steps))}")
    watch = Watch(outside=outside)
    plan = plan_of(
        saga, data, watch, workers=1, sites=(), after=after,
        behaviours=lambda family: behaviours(family_of(family[:1]), without), **options,
    )  # fmt: skip
    if not plan.behaviours:
        raise InvalidInput(f"{definition.name} has no step that could fail: nothing would be tested")
    return _Thorough(plan, watch, check).check()


class _Thorough(Simulation):
    """One run for each behaviour, in which just that must happen."""

    def __init__(self, plan: Plan, watch: Watch, check: Callable[[Run], str | None]) -> None:
        super().__init__(plan, watch, lambda: [Case(behaviour=number) for number in range(len(plan.behaviours))])
        judge = plan.after

        def look(run: Run) -> None:
            missing = check(run)
            if missing is not None:
                raise not_reached(f"{missing} (meant: {dict(run.behaviour)}; called: {_called(run)})")
            if judge is not None:
                judge(run)

        plan.after = look


def _all_met(run: Run) -> str | None:
    met = {label for label, _ in run.world.met}
    return next((f"{label} was to fail and was never called" for label in run.behaviour if label not in met), None)


def _all_repeated(run: Run) -> str | None:
    missing = _all_met(run)
    if missing is not None:
        return missing
    for label, how in run.behaviour.items():
        if how == "twice 1" and max(count for (one, _), count in run.world.begun.items() if one == label) < 2:
            return f"{label} was to be called twice and was called once"
    return None


def _called(run: Run) -> str:
    return ", ".join(label for label, _ in run.world.begun) or "nothing"
