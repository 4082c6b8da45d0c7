"""The laws of a log: each is one function, named for its rule, that is asked about every event before it is counted.

Each error begins with the number of the invariant that it breaks (:mod:`sagafsm.testing.judging.catalogue` lists
them).

What must stay true: a law looks at the events so far (the :class:`~sagafsm.testing.account.Account`) and at the next
one, and at nothing else; it raises :class:`Broken` with its own name, and never changes the account.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NoReturn

from ..core import events as e
from .account import Account, Calls, Entry, StepAccount, message_id_of

Law = Callable[[Account, Entry], None]

STARTING = (e.AttemptStarted, e.WaitStarted, e.ProbeStarted, e.CompensationAttemptStarted)
_LIVE = frozenset({"started", "pending"})
_ANY = frozenset({"started", "pending", "compensating"})
_BACK = frozenset({"compensating"})

# Where a saga must stand for an event to be possible at all.
SAGA_MAY: Mapping[type[e.SagaEvent], frozenset[str]] = {
    e.SagaStarted: frozenset({"none"}),
    e.SagaCompleted: frozenset({"pending"}),
    e.SagaFailed: _BACK,
    e.SagaStuck: frozenset({"pending", "compensating"}),
    e.SagaUnstuck: frozenset({"pending", "compensating"}),
    e.SagaSuspended: _ANY,
    e.SagaResumed: _ANY,
    e.AbortRequested: _LIVE,
    e.DeadlineExpired: _LIVE,
    e.CompensationStarted: frozenset({"started", "pending", "completed"}),
    e.SignalReceived: _LIVE,
    e.AttemptStarted: _LIVE,
    e.WaitStarted: _LIVE,
    e.StepSkipped: _LIVE,
    e.StepFailed: _LIVE,
    **dict.fromkeys(
        (e.ReplyAwaited, e.StepSucceeded, e.AttemptFailed, e.StepUnknown, e.ProbeStarted, e.ProbeFailed),
        frozenset({"pending"}),
    ),
    **dict.fromkeys(
        (
            e.CompensationAttemptStarted,
            e.CompensationReplyAwaited,
            e.CompensationAttemptFailed,
            e.CompensationFailed,
            e.StepCompensated,
            e.CompensationWaived,
        ),
        _BACK,
    ),
}

_HOLDING = frozenset({"running", "failed", "unknown", "compensation_failed"})

# Where the step must stand.
STEP_MAY: Mapping[type[e.SagaEvent], frozenset[str]] = {
    e.AttemptStarted: frozenset({"waiting", "running", "unknown", "failed"}),
    e.WaitStarted: frozenset({"waiting", "failed"}),
    e.ReplyAwaited: frozenset({"running"}),
    e.AttemptFailed: frozenset({"running"}),
    e.StepSucceeded: frozenset({"running", "unknown"}),
    e.StepFailed: frozenset({"waiting", "running", "unknown", "failed"}),
    e.StepUnknown: frozenset({"running"}),
    e.StepSkipped: frozenset({"waiting", "failed", "unknown"}),
    e.ProbeStarted: frozenset({"unknown"}),
    e.ProbeFailed: frozenset({"unknown"}),
    e.CompensationAttemptStarted: frozenset({"succeeded", "unknown", "failed", "compensating", "compensation_failed"}),
    e.CompensationReplyAwaited: _BACK,
    e.CompensationAttemptFailed: _BACK,
    e.CompensationFailed: _BACK,
    e.StepCompensated: _BACK,
    e.CompensationWaived: frozenset({"succeeded", "unknown", "failed", "compensation_failed"}),
}


class Broken(AssertionError):
    """A rule of sagas does not hold. ``law`` names it."""

    def __init__(self, law: str, problem: str) -> None:
        super().__init__(f"{law}: {problem}")
        self.law = law


def only_legal_transitions(account: Account, entry: Entry) -> None:
    """Nothing returns from compensating to pending, nothing leaves a terminal state; steps likewise."""
    kind = type(entry.event)
    if account.state not in SAGA_MAY[kind]:
        _broken("S2 legal transitions", account, entry, f"the saga is {account.state}")
    step = account.step(entry.event)
    if step is not None and kind in STEP_MAY and step.state not in STEP_MAY[kind]:
        _broken("S2 legal transitions", account, entry, f"the step is {step.state}")


def one_terminal_event_and_last(account: Account, entry: Entry) -> None:
    """After ``SagaCompleted`` or ``SagaFailed`` comes nothing, but a completed child may be undone by its parent."""
    if account.state not in ("completed", "failed"):
        return
    undone = isinstance(entry.event, e.CompensationStarted) and entry.event.undo
    if not (undone and account.state == "completed" and account.is_child):
        _broken("S1 one terminal event, last", account, entry, f"the saga is {account.state}")


def completed_means_done(account: Account, entry: Entry) -> None:
    """Completed: every step of the plan succeeded or was skipped, and no accepted abort was overwritten."""
    if not isinstance(entry.event, e.SagaCompleted):
        return
    undone = [step.name for step in account.steps.values() if not step.done]
    if undone:
        _broken("S3 completed means done", account, entry, f"{undone} are not done")
    if account.turned is not None:
        _broken("A2 an accepted abort is kept", account, entry, f"there was an {account.turned} before")


def failed_means_undone(account: Account, entry: Entry) -> None:
    """Failed: every step that was due was compensated, or waived by a person; the outcome says which."""
    if not isinstance(entry.event, e.SagaFailed):
        return
    left = [step.name for step in account.due()]
    if left:
        _broken("S4 failed means undone", account, entry, f"{left} are still to be undone")
    waived = any(step.waived for step in account.steps.values())
    outcome = account.abort.outcome if account.abort is not None else "compensated"
    if entry.event.outcome != ("forced" if waived else outcome):
        _broken("S4 failed means undone", account, entry, f"waived {waived}, abort {account.abort}")


def no_way_back_past_the_pivot(account: Account, entry: Entry) -> None:
    """While the pivot runs or is unknown, and after it: no abort, no deadline, no compensation."""
    if isinstance(entry.event, (e.AbortRequested, e.DeadlineExpired, e.CompensationStarted)):
        if account.pivot_passed:
            _broken("S5 pivot", account, entry, "the pivot has succeeded")
        if account.pivot_open:
            _broken("S5 pivot", account, entry, "the pivot may have happened")


def steps_wait_for_their_dependencies(account: Account, entry: Entry) -> None:
    """A step begins, or is skipped by its condition, only when every step before it has ended well."""
    step = account.step(entry.event)
    if step is None or step.state != "waiting" or not isinstance(entry.event, (*STARTING, e.StepSkipped, e.StepFailed)):
        return
    missing = [name for name in account.definition.steps[step.name].after if not account.steps[name].done]
    if missing:
        _broken("P3 dependencies", account, entry, f"{missing} have not ended well")


def nothing_new_starts_on_the_way_back(account: Account, entry: Entry) -> None:
    """After a definite failure, an abort or the deadline no further step begins; nor while one is after the pivot."""
    step = account.step(entry.event)
    if step is None or step.state != "waiting" or not isinstance(entry.event, (e.AttemptStarted, e.WaitStarted)):
        return
    if account.turned is not None:
        _broken("S6 nothing new starts", account, entry, f"there was an {account.turned} before")
    failed = [other.name for other in account.steps.values() if other.state == "failed" and _is_final(account, other)]
    if failed:
        _broken("S6 nothing new starts", account, entry, f"{failed} have failed")


def _is_final(account: Account, step: StepAccount) -> bool:
    fallback = account.definition.steps[step.name].fallback is not None
    return not step.granted and (not fallback or step.via == "fallback" or not step.calls.attempt)


def nothing_starts_while_halted(account: Account, entry: Entry) -> None:
    """A stuck or suspended saga begins nothing."""
    if isinstance(entry.event, STARTING) and (account.stuck or account.suspended):
        _broken("S6 halted", account, entry, f"stuck {account.stuck}, suspended {account.suspended}")


def siblings_end_before_compensation(account: Account, entry: Entry) -> None:
    """When compensation starts no step is running any more."""
    if isinstance(entry.event, e.CompensationStarted):
        running = [step.name for step in account.steps.values() if step.state == "running"]
        if running:
            _broken("P1 siblings end first", account, entry, f"{running} are still running")


def only_what_is_due_is_undone(account: Account, entry: Entry) -> None:
    """Compensated is what succeeded or is unknown (or failed, where that is asked for), and nothing past a pivot."""
    undoing = isinstance(entry.event, (e.CompensationAttemptStarted, e.CompensationWaived))
    if undoing and account.step(entry.event) not in account.due():
        _broken("C2 only what is due", account, entry, "it is not due")


def undone_in_reverse_order(account: Account, entry: Entry) -> None:
    """One at a time, the reverse of the order of completion; in parallel mode never before what depends on it."""
    if not isinstance(entry.event, e.CompensationAttemptStarted):
        return
    step = account.steps[entry.event.step]
    left = [other for other in account.due() if other.state != "compensation_failed" or other.granted]
    for other in left:
        if other is step:
            continue
        if account.definition.parallel_compensation:
            if step.name in _ancestors(account, other.name):
                _broken("C3 order of compensation", account, entry, f"{other.name} depends on it and is not undone yet")
        elif other.state == "compensating" or other.ended > step.ended:
            _broken("C3 order of compensation", account, entry, f"{other.name} ended later and is not undone yet")


def _ancestors(account: Account, name: str) -> set[str]:
    found: set[str] = set()
    waiting = list(account.definition.steps[name].after)
    while waiting:
        before = waiting.pop()
        if before not in found:
            found.add(before)
            waiting.extend(account.definition.steps[before].after)
    return found


def keys_are_stable(account: Account, entry: Entry) -> None:
    """Every call of an action, a fallback or a compensation carries the key of the first; the three differ."""
    purpose: str
    match entry.event:
        case e.AttemptStarted(via=via, idempotency_key=key):
            purpose = via
        case e.CompensationAttemptStarted(idempotency_key=key):
            purpose = "compensation"
        case _:
            return
    keys = account.steps[entry.event.step].keys
    if keys.get(purpose, key) != key:
        _broken("U2 key is stable", account, entry, f"it was {keys[purpose]}")
    if key in [other for known, other in keys.items() if known != purpose]:
        _broken("U2 key is stable", account, entry, f"{keys} has it for another purpose")


def calls_are_numbered(account: Account, entry: Entry) -> None:
    """A call is the next attempt, or the next interruption of one that was cut short; never two at a time."""
    event, step = entry.event, account.step(entry.event)
    if step is None or not isinstance(event, (e.AttemptStarted, e.ProbeStarted, e.CompensationAttemptStarted)):
        return
    calls = _calls_of(step, event)
    if calls.live:
        expected = (calls.attempt, calls.interruption + 1)
    else:
        kept = calls.interruption if calls is step.undoing and not step.granted and calls.attempt else 0
        expected = (calls.attempt + 1, kept)
    if (event.attempt, event.interruption) != expected:
        _broken("U1 calls are numbered", account, entry, f"expected attempt and interruption {expected}")
    if calls.awaits:
        _broken("U1 calls are numbered", account, entry, "the call before it still awaits its reply")


def _calls_of(step: StepAccount, event: e.SagaEvent) -> Calls:
    if isinstance(event, e.AttemptStarted):
        return step.calls
    return step.probes if isinstance(event, e.ProbeStarted) else step.undoing


def attempts_within_limits(account: Account, entry: Entry) -> None:
    """No more attempts than the policy allows, nor interruptions, across crashes; a person may grant new ones."""
    event, step = entry.event, account.step(entry.event)
    if step is None or not isinstance(event, (e.AttemptStarted, e.ProbeStarted, e.CompensationAttemptStarted)):
        return
    calls = _calls_of(step, event)
    if isinstance(event, e.CompensationAttemptStarted):
        policy = account.definition.backward_retry[step.name, step.via]
    else:
        policy = account.definition.forward_retry[step.name, getattr(event, "via", step.via)]
    if event.interruption > policy.max_interruptions:
        _broken("U7 interruptions within limit", account, entry, f"the limit is {policy.max_interruptions}")
    fresh = step.granted or (isinstance(event, e.AttemptStarted) and event.via != step.via)
    counted = 1 if fresh else event.attempt - calls.before
    if policy.max_attempts is not None and counted > policy.max_attempts:
        _broken("U7 attempts within limit", account, entry, f"the limit is {policy.max_attempts}")


def backoff_is_kept(account: Account, entry: Entry) -> None:
    """The next call begins when its backoff is over, and only where one was promised or a person granted it."""
    event, step = entry.event, account.step(entry.event)
    if step is None or step.granted or not isinstance(event, (e.AttemptStarted, e.CompensationAttemptStarted)):
        return
    calls = _calls_of(step, event)
    if isinstance(event, e.AttemptStarted) and (event.via != step.via or step.state == "waiting"):
        return
    if calls.attempt and not calls.live and (calls.retry_at is None or entry.at < calls.retry_at):
        _broken("U8 backoff is kept", account, entry, f"at {entry.at}, but the retry was for {calls.retry_at}")


def backoff_is_stored(account: Account, entry: Entry) -> None:
    """A failed attempt that is made again says when: not sooner than its policy asks."""
    step, at = account.step(entry.event), getattr(entry.event, "retry_at", None)
    if step is None or at is None or isinstance(entry.event, e.ProbeFailed):
        return
    if isinstance(entry.event, e.AttemptFailed):
        calls, policy = step.calls, account.definition.forward_retry[step.name, step.via]
    else:
        calls, policy = step.undoing, account.definition.backward_retry[step.name, step.via]
    least = entry.at + policy.delay(max(1, calls.counted), -1.0)
    if at < least - 1e-6:
        _broken("U8 backoff is stored", account, entry, f"the policy asks for {least} at least")


def what_is_not_idempotent_is_not_repeated(account: Account, entry: Entry) -> None:
    """A call of unknown outcome of a step with ``idempotent=False`` is never made again."""
    event = entry.event
    if not isinstance(event, e.AttemptStarted) or account.definition.steps[event.step].idempotent:
        return
    step = account.steps[event.step]
    if event.interruption or (step.open and step.via == event.via):
        _broken("U5 not idempotent", account, entry, "the call before it may have happened")


def no_fallback_while_unknown(account: Account, entry: Entry) -> None:
    """A fallback runs when the action certainly failed and is used up."""
    event = entry.event
    if not isinstance(event, e.AttemptStarted) or event.via != "fallback":
        return
    step = account.steps[event.step]
    if step.via == "action" and step.state != "failed":
        _broken("U4 fallback", account, entry, f"the step is {step.state}")


def messages_are_taken_once(account: Account, entry: Entry) -> None:
    """A message id leads to one event; a signal ends one step."""
    message_id = message_id_of(entry.event)
    if message_id is not None and message_id in account.message_ids:
        _broken("P3 messages are taken once", account, entry, "that message was taken before")
    if isinstance(entry.event, e.StepSucceeded) and entry.event.by == "signal":
        wanted = account.steps[entry.event.step].waits_for
        if wanted not in account.signals:
            _broken("P3 messages are taken once", account, entry, f"no signal {wanted!r} is left")


def only_what_is_stuck_is_granted(account: Account, entry: Entry) -> None:
    """A person's retry gives new attempts to what holds the saga up, and to nothing else."""
    if isinstance(entry.event, e.SagaUnstuck):
        states = {name: account.steps[name].state for name in entry.event.steps}
        others = [name for name, state in states.items() if state not in _HOLDING]
        if others:
            _broken("A3 only what is stuck", account, entry, f"{others} do not hold it up")


LAWS: tuple[Law, ...] = (
    one_terminal_event_and_last,
    only_legal_transitions,
    completed_means_done,
    failed_means_undone,
    no_way_back_past_the_pivot,
    steps_wait_for_their_dependencies,
    nothing_new_starts_on_the_way_back,
    nothing_starts_while_halted,
    siblings_end_before_compensation,
    only_what_is_due_is_undone,
    undone_in_reverse_order,
    keys_are_stable,
    calls_are_numbered,
    attempts_within_limits,
    backoff_is_kept,
    backoff_is_stored,
    what_is_not_idempotent_is_not_repeated,
    no_fallback_while_unknown,
    messages_are_taken_once,
    only_what_is_stuck_is_granted,
)


def _broken(law: str, account: Account, entry: Entry, why: str) -> NoReturn:
    raise Broken(law, f"{entry.event} as event {entry.seq}, but {why}")
