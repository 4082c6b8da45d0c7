"""Planted mistakes: each is one small change of the core, and the property run has to notice every one of them.

A mutant is a function that patches the core; its name says what is wrong then.
"""

import functools
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from sagafsm.core import backward, decider, fold, forward, legality, verbs
from sagafsm.core import commands as c
from sagafsm.core import events as e
from sagafsm.core.definition import SagaDefinition
from sagafsm.core.lifecycle import SagaState, StepState
from sagafsm.core.retry import RetryPolicy
from sagafsm.core.turn import Turn
from sagafsm.testing import checker
from tests.core import hostile_run

K = c.OutcomeKind
Mutant = Callable[[pytest.MonkeyPatch], None]
MUTANTS: list[Mutant] = []


def mutant(planted: Mutant) -> Mutant:
    MUTANTS.append(planted)
    return planted


def folds(patch, kind, change):
    """After the fold of this kind of event, ``change`` spoils the progress."""
    original = fold.FOLDS[kind]
    patch.setitem(fold.FOLDS, kind, lambda p, event, at: change(original(p, event, at), event, p))


def spoils_step(patch, kind, **changes):
    def change(after, event, before):
        return replace(after, steps={**after.steps, event.step: replace(after.steps[event.step], **changes)})

    folds(patch, kind, change)


def wraps(patch, where, name, change):
    """``change(original, *arguments)`` takes the place of a function."""
    patch.setattr(where, name, functools.partial(change, getattr(where, name)))


def handles(patch, kind, change):
    original = decider._HANDLERS[kind]
    patch.setitem(decider._HANDLERS, kind, lambda turn, given: change(original, turn, given))


# --- compensation ---


@mutant
def compensation_in_the_order_of_completion(patch):
    wraps(patch, backward, "due", lambda original, turn: original(turn)[::-1])


@mutant
def an_unknown_step_is_not_undone(patch):
    patch.setattr(backward, "_DUE", tuple(s for s in backward._DUE if s is not StepState.UNKNOWN))


@mutant
def a_step_that_never_started_is_undone(patch):
    patch.setattr(backward, "_DUE", (*backward._DUE, StepState.WAITING))


@mutant
def a_failed_step_that_asks_for_it_is_not_undone(patch):
    wraps(
        patch,
        backward,
        "_is_asked_for",
        lambda original, turn, name, step: step.state is not StepState.FAILED and original(turn, name, step),
    )


@mutant
def a_rejected_compensation_counts_as_done(patch):
    def settled(original, turn, name, kind, error, message_id=None):
        original(turn, name, K.SUCCEEDED if kind is K.REJECTED else kind, error, message_id)

    wraps(patch, backward, "compensation_settled", settled)


@mutant
def an_interrupted_compensation_counts_as_done(patch):
    patch.setattr(
        backward, "compensation_interrupted", lambda turn, name, step: turn.emit(e.StepCompensated(step=name))
    )


@mutant
def parallel_compensation_against_the_dependencies(patch):
    def ready(original, turn, left):
        return left if turn.definition.parallel_compensation else original(turn, left)

    wraps(patch, backward, "_ready", ready)


@mutant
def a_waived_compensation_is_forgotten(patch):
    spoils_step(patch, e.CompensationWaived, waived=False)


@mutant
def the_outcome_hides_what_was_waived(patch):
    patch.setattr(backward, "_outcome", lambda turn: "compensated")


@mutant
def compensation_starts_beside_running_siblings(patch):
    def wind_down(original, turn, since, cause):
        original(turn, since, cause)
        if turn.progress.state is SagaState.PENDING and not turn.halted:
            turn.emit(e.CompensationStarted(cause=cause))

    wraps(patch, forward, "wind_down", wind_down)


# --- outcomes ---


@mutant
def a_timeout_counts_as_a_failure(patch):
    def ended(original, turn, name, kind, *rest, **facts):
        original(turn, name, K.FAILED if kind is K.UNKNOWN else kind, *rest, **facts)

    wraps(patch, forward, "attempt_ended", ended)


@mutant
def an_interrupted_call_counts_as_failed(patch):
    def interrupted(turn, name, step):
        forward.end_badly(turn, name, turn.failure(name, "Interrupted", ""), open_=False)

    patch.setattr(forward, "interrupted", interrupted)


@mutant
def an_earlier_open_attempt_is_forgotten(patch):
    spoils_step(patch, e.AttemptFailed, open=False)


@mutant
def a_probe_that_cannot_tell_says_no(patch):
    def ended(original, turn, given):
        original(turn, replace(given, kind=K.SUCCEEDED, happened=given.kind is K.SUCCEEDED and given.happened))

    wraps(patch, forward, "probe_ended", ended)


@mutant
def what_is_not_idempotent_is_repeated(patch):
    def interrupted(turn, name, step):
        turn.call(name, attempt=step.attempts, via=step.via, interruption=step.interruptions + 1)

    patch.setattr(forward, "interrupted", interrupted)


@mutant
def the_fallback_runs_while_the_action_is_unknown(patch):
    def settle(original, turn, name, step, spec):
        if spec.fallback is not None and step.via == "action" and not turn.halted:
            turn.call(name, attempt=step.attempts + 1, via="fallback")
        else:
            original(turn, name, step, spec)

    wraps(patch, forward, "_settle_unknown", settle)


@mutant
def not_this_time_settles_an_unknown_step(patch):
    def settle(original, turn, reply):
        original(turn, replace(reply, kind=K.REJECTED) if reply.kind is K.FAILED else reply)

    wraps(patch, verbs, "_settle_by_reply", settle)


# --- attempts ---


@mutant
def a_call_without_its_event(patch):
    def call(self, name, *, attempt, via="action", interruption=0):
        key = self.key(name, "action")
        call = c.Call(
            step=name, role=c.Role.FORWARD, via=via, attempt=attempt, interruption=interruption, idempotency_key=key
        )
        self.commands.append(call)

    patch.setattr(Turn, "call", call)


@mutant
def one_key_per_attempt(patch):
    original = Turn.key
    patch.setattr(Turn, "key", lambda self, name, purpose: f"{original(self, name, purpose)}-{self.progress.version}")


@mutant
def one_attempt_too_many(patch):
    patch.setattr(RetryPolicy, "exhausted", lambda self, n: self.max_attempts is not None and n > self.max_attempts)


@mutant
def interruptions_are_not_counted(patch):
    original = Turn.call
    patch.setattr(Turn, "call", lambda self, name, **facts: original(self, name, **{**facts, "interruption": 0}))


@mutant
def attempts_are_counted_when_they_fail_only(patch):
    def interrupted(original, turn, name, step):
        original(turn, name, replace(step, interruptions=0))

    wraps(patch, forward, "interrupted", interrupted)


@mutant
def the_time_of_the_next_attempt_is_not_stored(patch):
    original = Turn.emit

    def emit(self, event):
        backoff = isinstance(event, e.AttemptFailed) and event.retry_at is not None
        original(self, replace(event, retry_at=self.now) if backoff else event)

    patch.setattr(Turn, "emit", emit)


@mutant
def the_time_of_the_next_attempt_is_not_kept(patch):
    def change(after, event, before):
        step = replace(after.steps[event.step], due_at=None if event.retry_at is None else after.updated_at)
        return replace(after, steps={**after.steps, event.step: step})

    folds(patch, e.AttemptFailed, change)


# --- what comes late, or twice ---


@mutant
def a_late_reply_is_accepted(patch):
    handles(patch, c.ReplyArrived, lambda original, turn, given: original(turn, replace(given, attempt=None)))


@mutant
def a_duplicate_result_advances_twice(patch):
    def ended(turn, given):
        forward.attempt_ended(turn, given.call.step, given.kind, given.result, given.error)

    patch.setattr(forward, "call_ended", ended)


@mutant
def a_duplicate_message_is_taken_again(patch):
    patch.setattr(fold, "remembered", lambda p, message_id: p.message_ids)
    folds(patch, e.SignalReceived, lambda after, event, before: replace(after, message_ids=before.message_ids))


@mutant
def a_signal_is_consumed_by_two_steps(patch):
    def change(after, event, before):
        return replace(after, signals=before.signals)

    folds(patch, e.StepSucceeded, change)


# --- the states ---


@mutant
def a_terminal_saga_still_changes(patch):
    everywhere = tuple(SagaState)
    patch.setitem(legality.SAGA_STATES, e.SagaSuspended, everywhere)
    handles(patch, c.SuspendAsked, lambda original, turn, given: turn.emit(e.SagaSuspended(actor=given.actor)))


@mutant
def completion_overwrites_an_accepted_abort(patch):
    wraps(
        patch, forward, "_way_back", lambda original, turn: None if turn.progress.abort is not None else original(turn)
    )


@mutant
def retry_of_a_compensating_saga_goes_forward(patch):
    def retry(original, turn, given):
        if turn.progress.stuck and turn.progress.state is SagaState.COMPENSATING:
            turn.emit(e.SagaUnstuck(decision="retry"))
            turn.call(next(iter(turn.progress.steps)), attempt=1)
        else:
            original(turn, given)

    handles(patch, c.RetryAsked, retry)


@mutant
def retry_grants_attempts_to_everything(patch):
    patch.setattr(verbs, "held_steps", lambda turn: list(turn.progress.steps))


@mutant
def a_step_does_not_wait_for_those_before_it(patch):
    patch.setattr(forward, "_is_ready", lambda turn, name: turn.step(name).state is StepState.WAITING)


@mutant
def a_suspended_saga_begins_new_calls(patch):
    patch.setattr(Turn, "halted", property(lambda self: self.progress.stuck))


@mutant
def a_writer_that_does_not_own_the_saga_begins_calls(patch):
    original = hostile_run.decide
    patch.setattr(hostile_run, "decide", lambda *given, advance: original(*given, advance=True))


# --- the straight way ---


def goes_straight_on(patch, change):
    """``change`` says how a saga and the end of a call look to whoever asks whether the way is straight."""
    original = decider.straight_on

    def straight_on(definition, progress, ended, now, namespace):
        seen, heard = change(progress, ended)
        return original(definition, seen, heard, now, namespace)

    patch.setattr(decider, "straight_on", straight_on)


@mutant
def a_suspended_saga_goes_straight_on(patch):
    goes_straight_on(patch, lambda progress, ended: (replace(progress, suspended=False), ended))


@mutant
def a_saga_with_a_failed_step_goes_straight_on(patch):
    goes_straight_on(patch, lambda progress, ended: (replace(progress, troubled=0), ended))


@mutant
def an_aborted_saga_goes_straight_on(patch):
    goes_straight_on(patch, lambda progress, ended: (replace(progress, abort=None), ended))


@mutant
def the_end_of_an_earlier_attempt_leads_straight_on(patch):
    def change(progress, ended):
        step = progress.steps[ended.call.step]
        newest = replace(ended.call, attempt=step.attempts, interruption=step.interruptions)
        return progress, replace(ended, call=newest)

    goes_straight_on(patch, change)


@mutant
def the_straight_way_leads_past_what_has_not_ended_yet(patch):
    def straight(self):
        return {name: names[0] if names else None for name, names in self.followers.items() if not self.limited}

    patch.setattr(SagaDefinition, "straight", property(straight))


# --- the pivot ---


@mutant
def the_way_back_leads_past_the_pivot(patch):
    patch.setattr(Turn, "pivot_passed", property(lambda self: False))


@mutant
def the_pivot_counts_as_nothing_while_it_is_open(patch):
    patch.setattr(Turn, "pivot_open", property(lambda self: False))


@mutant
def an_abort_is_accepted_past_the_pivot(patch):
    def abort(original, turn, asked):
        if turn.pivot_passed and turn.progress.state is SagaState.PENDING:
            turn.emit(e.AbortRequested(reason=asked.reason))
        else:
            original(turn, asked)

    handles(patch, c.AbortAsked, abort)


# --- going on ---


@mutant
def a_snapshot_off_by_one(patch):
    def encode(original, progress):
        return original(replace(progress, version=progress.version + 1))

    wraps(patch, checker, "encode_snapshot", encode)


@mutant
def a_snapshot_forgets_the_signals(patch):
    def encode(original, progress):
        return original(replace(progress, signals=()))

    wraps(patch, checker, "encode_snapshot", encode)


@mutant
def a_backoff_wakes_nobody(patch):
    def wake(original, definition, progress, now):
        waits = any(step.waiting == "backoff" for step in progress.steps.values())
        return None if waits else original(definition, progress, now)

    wraps(patch, checker, "next_wake", wake)
    wraps(patch, hostile_run, "next_wake", wake)


@mutant
def a_saga_that_waits_is_woken_again_and_again(patch):
    def wake(original, definition, progress, now):
        found = original(definition, progress, now)
        return found if found is None else now

    wraps(patch, checker, "next_wake", wake)


@mutant
def a_stuck_saga_says_nothing(patch):
    patch.setattr(Turn, "stick", lambda self, reason, step=None, child=None: None)


@mutant
def a_stuck_saga_is_not_freed_by_skip(patch):
    patch.setattr(verbs, "_unstick_unless_held", lambda turn, event: None)
