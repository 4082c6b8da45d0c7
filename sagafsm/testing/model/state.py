"""Where an explored saga stands: its progress, what is under way in the world, and what of it tells states apart.

What must stay true: two states with one key have the same future. Times, payloads, errors and the numbers of events
are no part of a key: only which came first, where that decides something. All timers lie equally far ahead, so that
every order in which they can fall due is explored, and the deadline is either to come or past.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping

import attrs
from msgspec.structs import replace

from ...core import commands as c
from ...core import events as e
from ...core.definition import SagaDefinition
from ...core.fold import evolve
from ...core.lifecycle import SagaState, StepState
from ...core.progress import Progress, StepProgress
from ..account import Account, Calls, Entry, StepAccount

NOW, LATER = 1_000.0, 1_000_000_000.0
SAGA_ID = "saga"

Effect = tuple[str, str]  # a step, and what did it: "action" or "fallback"


@attrs.frozen(kw_only=True)
class State:
    """One state of the exploration.

    ``flights``: calls that a process is making. ``asleep``: created, and nobody has begun it. ``owed``: somebody who
    does not own the saga wrote, and its owner has not looked yet. ``current`` and ``earlier``: effects that may stand
    in the world, by the last call of the step, or by those before it.
    """

    progress: Progress
    account: Account
    flights: tuple[c.Call, ...] = ()
    asleep: bool = True
    owed: bool = False
    current: frozenset[Effect] = frozenset()
    earlier: frozenset[Effect] = frozenset()


def initial(definition: SagaDefinition) -> State:
    """A saga that was created just now."""
    born = e.SagaStarted(
        saga_id=SAGA_ID,
        saga_type=definition.name,
        definition_version=definition.version,
        fingerprint=definition.fingerprint,
        steps=definition.step_names,
        data=e.NULL,
        correlation_id=SAGA_ID,
        deadline=None if definition.deadline is None else LATER,
    )
    account = Account(definition)
    account.add(Entry(1, NOW, born))
    return State(progress=evolve(None, born, NOW), account=account)


# --- time ---


def put_off(progress: Progress, account: Account) -> Progress:
    """All timers lie ahead again, equally far. Changes the account, which must be the caller's own."""
    moved: dict[str, StepProgress] = {}
    for name, step in progress.steps.items():
        if step.due_at is not None and step.due_at != LATER:
            moved[name] = replace(step, due_at=LATER)
    for told in account.steps.values():
        for calls in (told.calls, told.undoing, told.probes):
            if calls.retry_at is not None:
                calls.retry_at = LATER
    return replace(progress, steps={**progress.steps, **moved}) if moved else progress


def fallen_due(state: State, step: str) -> tuple[Progress, Account]:
    """The state, but the step's timer has run out."""
    account = copied(state.account, (step,))
    told = account.steps[step]
    for calls in (told.calls, told.undoing, told.probes):
        if calls.retry_at is not None:
            calls.retry_at = NOW
    steps = {**state.progress.steps, step: replace(state.progress.steps[step], due_at=NOW)}
    return replace(state.progress, steps=steps), account


# --- the account, which changes as it is told events ---

_OF_STEP = tuple(field.name for field in attrs.fields(StepAccount))
_OF_CALLS = tuple(field.name for field in attrs.fields(Calls))


def copied(account: Account, steps: Iterable[str]) -> Account:
    """An account of one's own, as far as these steps and the saga go."""
    new: Account = Account.__new__(Account)
    new.__dict__.update(account.__dict__)
    new.message_ids = set(account.message_ids)
    new.signals = list(account.signals)
    new.steps = {**account.steps, **{name: _copied_step(account.steps[name]) for name in steps}}
    return new


def _copied_step(step: StepAccount) -> StepAccount:
    new: StepAccount = StepAccount.__new__(StepAccount)
    for name in _OF_STEP:
        value = getattr(step, name)
        if isinstance(value, Calls):
            value = _copied_calls(value)
        elif isinstance(value, dict):
            value = dict(value)
        setattr(new, name, value)
    return new


def _copied_calls(calls: Calls) -> Calls:
    new: Calls = Calls.__new__(Calls)
    for name in _OF_CALLS:
        setattr(new, name, getattr(calls, name))
    return new


# --- what tells states apart ---


def key_of(definition: SagaDefinition, state: State) -> Hashable:
    """Equal for states that have the same future."""
    p = state.progress
    if p.state.terminal:
        ends = tuple((step.state, step.waived) for step in p.steps.values())
        return (p.state, p.outcome, ends, state.current | state.earlier)
    passed = definition.pivot is not None and p.steps[definition.pivot].done
    order = _order(definition, p, passed)
    return (
        p.state,
        state.asleep,
        state.owed,
        p.stuck and (p.stuck_step, p.stuck_child is not None),
        p.suspended,
        p.abort and (p.abort.cut, p.abort.compensate, p.abort.outcome),
        p.deadline_expired or p.deadline == NOW,
        tuple(signal.name for signal in p.signals),
        tuple(_of_step(definition, p, name, step, passed) for name, step in p.steps.items()),
        order,
        frozenset((call.step, call.role) for call in state.flights),
        state.current,
        state.earlier,
    )


def _order(definition: SagaDefinition, p: Progress, passed: bool) -> tuple[str, ...]:
    """Which of the steps that are still to be undone ended first, and when the saga was asked to turn back."""
    if passed:
        return ()
    ends: list[tuple[int, str]] = []
    for name, step in p.steps.items():
        if step.state in (StepState.FAILED, StepState.UNKNOWN) or (
            step.state in (StepState.SUCCEEDED, StepState.COMPENSATION_FAILED, StepState.COMPENSATING)
            and not definition.parallel_compensation
            and name in definition.undoable
        ):
            ends.append((step.ended, name))
    if p.turned_at and p.state is not SagaState.COMPENSATING:
        ends.append((p.turned_at, ""))
    return tuple(name for _, name in sorted(ends))


def _of_step(definition: SagaDefinition, p: Progress, name: str, step: StepProgress, passed: bool) -> Hashable:
    state = step.state
    if state is StepState.WAITING or state is StepState.COMPENSATED:
        return state
    if state is StepState.SUCCEEDED or state is StepState.SKIPPED:
        return (state, step.via, step.waived) if name in definition.undoable and not passed else state
    if state is StepState.RUNNING:
        used = _used(definition.forward_retry[name, step.via].max_attempts, step.attempts - step.base)
        return (
            state, step.via, used, step.interruptions if step.calling else 0, step.calling, step.open, step.waiting,
            step.due_at is None, step.again, step.halted, step.began < p.turned_at, step.began < p.cut_at,
        )  # fmt: skip
    if state is StepState.UNKNOWN:
        asked = _used(definition.forward_retry[name, step.via].max_attempts, step.probes - step.probe_base)
        return (
            state, step.via, step.again, step.halted, step.probing, step.waiting, step.waived,
            asked if step.waiting or step.probing else 0, step.probe_interruptions if step.probing else 0,
        )  # fmt: skip
    if state is StepState.COMPENSATING:
        most = definition.backward_retry[name, step.via].max_attempts
        used = _used(most, step.compensation_attempts - step.compensation_base)
        return (state, step.via, used, step.compensation_interruptions, step.calling, step.waiting, step.due_at is None)
    return (state, step.via, step.attempts > 0, step.again, step.waived)  # failed, compensation_failed


def _used(most: int | None, attempts: int) -> int:
    return min(attempts, 1) if most is None else attempts


def summary(progress: Progress) -> str:
    """Where a saga stands, in a few words."""
    told: str = progress.state.value + (f" ({progress.outcome})" if progress.outcome else "")
    return told + (", stuck" if progress.stuck else "") + (", suspended" if progress.suspended else "")


def states_of(progress: Progress) -> Mapping[str, str]:
    """The state of each step, by name."""
    return {name: step.state.value for name, step in progress.steps.items()}
