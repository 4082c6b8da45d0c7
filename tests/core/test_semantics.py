"""What a saga does, rule by rule: events, the outcomes of attempts, and compensation. One short example each."""

import pytest

from sagafsm.core import commands as c
from sagafsm.core import events as e
from sagafsm.core.keys import derived_key
from tests.core.script import ONCE, TWICE, Compensation, K, Parallel, RetryPolicy, Script, look, other_way, step, undo

# --- events before effects ---


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_happy_path_of_n_steps_costs_n_and_1_appends(steps):
    saga = Script(*(step(f"s{number}") for number in range(steps))).begin()
    for number in range(steps):
        saga.ok(f"s{number}")
    assert saga.state == "completed"
    assert saga.appends == steps + 1


def test_a_success_and_the_next_attempt_share_an_append():
    saga = Script(step("a"), step("b")).begin().ok("a")
    assert saga.events == ["SagaStarted", "AttemptStarted", "StepSucceeded", "AttemptStarted"]
    assert saga.appends == 2


# --- the outcomes of an attempt ---


def test_returned_means_succeeded():
    assert Script(step("a")).begin().ok("a").state == "completed"


def test_rejected_means_no_retry():
    saga = Script(step("a", retry=TWICE)).begin().rejects("a")
    assert saga.at("a") == "failed"
    assert saga.state == "failed (compensated)"


def test_rejected_leads_to_the_fallback_where_there_is_one():
    saga = Script(step("a", retry=TWICE, fallback=other_way)).begin().rejects("a")
    assert saga.calls["a"].via == "fallback"


def test_failed_means_another_attempt_when_its_backoff_is_over():
    saga = Script(step("a", retry=TWICE)).begin().fails("a")
    assert saga.running == []
    assert saga.wake == 10.0
    assert saga.passes(9).running == []
    assert saga.passes(1).running == ["a"]


def test_used_up_means_failed_without_a_last_wait():
    saga = Script(step("a", retry=TWICE)).begin().fails("a").passes(10).fails("a")
    assert saga.state == "failed (compensated)"


def test_an_open_outcome_is_retried_with_the_same_key():
    saga = Script(step("a", retry=TWICE)).begin()
    first = saga.calls["a"].idempotency_key
    saga.lost("a").passes(10)
    assert saga.calls["a"].idempotency_key == first


def test_an_open_outcome_used_up_is_unknown_and_compensated():
    saga = Script(step("a")).begin().lost("a")
    assert saga.last(e.StepUnknown).step == "a"
    assert saga.running == ["~a"]


def test_one_open_attempt_makes_the_step_unknown_whatever_the_last_one_said():
    saga = Script(step("a", retry=TWICE)).begin().lost("a").passes(10).fails("a")
    assert saga.last(e.StepUnknown).step == "a"


def test_a_rejection_settles_what_was_open():
    saga = Script(step("a", retry=TWICE)).begin().lost("a").passes(10).rejects("a")
    assert saga.at("a") == "failed"
    assert "~a" not in saga.called


def test_on_unknown_probe_asks():
    saga = Script(step("a", probe=look, on_unknown="probe")).begin().lost("a")
    assert saga.running == ["?a"]
    assert saga.answers("a", happened=True).state == "completed"


def test_a_probe_that_cannot_tell_is_asked_again_and_then_a_person_is():
    saga = Script(step("a", probe=look, on_unknown="probe", retry=TWICE, idempotent=False))
    saga.begin().lost("a").lost("?a").passes(10).lost("?a")
    assert saga.state == "pending, stuck"


def test_on_unknown_stick_waits_for_a_person():
    saga = Script(step("a", on_unknown="stick")).begin().lost("a")
    assert saga.state == "pending, stuck"
    assert saga.reply("a") is c.Delivery.ACCEPTED
    assert saga.state == "completed"


def test_no_fallback_while_it_is_unknown():
    saga = Script(step("a", fallback=other_way)).begin().lost("a")
    assert saga.called == ["a", "~a"]


def test_interrupted_means_called_again_without_using_up_an_attempt():
    saga = Script(step("a")).begin().crash()
    assert saga.running == ["a"]
    assert (saga.progress.steps["a"].attempts, saga.progress.steps["a"].interruptions) == (1, 1)
    assert saga.ok("a").state == "completed"


def test_interrupted_too_often_is_unknown():
    saga = Script(step("a", retry=RetryPolicy(max_attempts=1, max_interruptions=2))).begin().crash().crash()
    assert saga.running == ["a"]
    assert saga.crash().running == ["~a"]


def test_what_is_not_idempotent_is_never_repeated_after_an_open_outcome():
    assert Script(step("a", idempotent=False, retry=TWICE)).begin().lost("a").running == ["~a"]


def test_what_is_not_idempotent_is_never_repeated_after_an_interruption():
    assert Script(step("a", idempotent=False, retry=TWICE)).begin().crash().running == ["~a"]


def test_what_is_not_idempotent_is_retried_when_it_certainly_did_not_happen():
    assert Script(step("a", idempotent=False, retry=TWICE)).begin().fails("a").passes(10).running == ["a"]


def test_attempts_survive_a_restart():
    saga = Script(step("a", retry=TWICE)).begin().fails("a").crash().passes(10).fails("a")
    assert saga.state == "failed (compensated)"


def test_a_backoff_survives_a_restart():
    saga = Script(step("a", retry=TWICE)).begin().fails("a").crash()
    assert (saga.running, saga.wake) == ([], 10.0)


def test_a_retry_policy_without_end_goes_on():
    forever = RetryPolicy(max_attempts=None, initial_interval=0, jitter=0)
    saga = Script(step("a", retry=forever)).begin()
    for _ in range(50):
        saga.fails("a")
    assert saga.ok("a").state == "completed"


def test_the_deadline_cuts_a_running_call_and_compensates():
    saga = Script(step("a"), step("b"), deadline=60).begin().ok("a")
    assert saga.wake == 60.0
    saga.passes(60)
    assert saga.cancelled == ["b"]
    assert saga.ok("~b", "~a").state == "failed (compensated)"
    assert saga.progress.cause.type == "DeadlineExceeded"


def test_the_deadline_survives_a_restart():
    assert Script(step("a", retry=TWICE), deadline=60).begin().fails("a").crash().passes(60).state.startswith("failed")


def test_a_key_is_made_of_namespace_saga_step_and_purpose():
    keys = {
        derived_key(namespace, saga, name, purpose)
        for namespace in ("n1", "n2")
        for saga in ("s1", "s2")
        for name in ("a", "b")
        for purpose in ("action", "fallback", "compensation")
    }
    assert len(keys) == 24
    assert derived_key("n1", "s1", "a", "action") == derived_key("n1", "s1", "a", "action")


def test_a_late_result_of_a_superseded_attempt_is_ignored():
    saga = Script(step("a", retry=TWICE)).begin()
    old = saga.calls["a"]
    saga.crash()
    saga.tell(c.CallEnded(call=old, kind=K.REJECTED))
    assert saga.at("a") == "running"


def test_a_step_that_has_succeeded_never_runs_again():
    saga = Script(step("a"), step("b")).begin().ok("a").crash().ok("b")
    assert saga.called == ["a", "b", "b"]


def test_a_call_that_cannot_be_made_at_all_waits_for_a_person():
    saga = Script(step("a")).begin().ends("a", kind=K.IMPOSSIBLE)
    assert saga.state == "pending, stuck"
    assert saga.retry().running == ["a"]


# --- compensation ---


def test_due_is_what_succeeded_or_is_unknown():
    saga = Script(step("a"), step("b"), step("c"), step("d")).begin().ok("a", "b").lost("c")
    saga.ok("~c", "~b", "~a")
    assert saga.called == ["a", "b", "c", "~c", "~b", "~a"]
    assert saga.state == "failed (compensated)"


def test_not_due_is_what_failed():
    assert "~b" not in Script(step("a"), step("b")).begin().ok("a").rejects("b").ok("~a").called


def test_what_failed_is_due_where_it_says_so():
    saga = Script(step("a", compensate_failed=True, compensation=undo)).begin().rejects("a")
    assert saga.running == ["~a"]


def test_not_due_is_what_cannot_be_undone():
    saga = Script(step("a", compensatable=False), step("b")).begin().ok("a").rejects("b")
    assert saga.state == "failed (compensated)"


def test_one_at_a_time_in_the_reverse_of_completion():
    saga = Script(Parallel(step("a"), step("b"), step("c")), step("d")).begin().ok("b", "c", "a").rejects("d")
    for name in ("~a", "~c", "~b"):
        assert saga.running == [name]
        saga.ok(name)


def test_in_parallel_what_is_independent_is_undone_at_once():
    saga = Script(step("a"), Parallel(step("b"), step("c")), step("d"), parallel_compensation=True)
    saga.begin().ok("a", "b", "c").rejects("d")
    assert saga.running == ["~b", "~c"]
    assert saga.ok("~b").running == ["~c"]
    assert saga.ok("~c").running == ["~a"]


def test_running_siblings_end_before_compensation_starts():
    saga = Script(Parallel(step("a"), step("b"))).begin().rejects("a")
    assert (saga.state, saga.running) == ("pending", ["b"])
    assert saga.ok("b").running == ["~b"]


def test_a_compensation_has_its_own_key_the_same_at_every_retry():
    saga = Script(step("a", compensation=Compensation(undo, retry=TWICE)), step("b")).begin()
    action = saga.calls["a"].idempotency_key
    saga.ok("a").rejects("b")
    first = saga.calls["~a"].idempotency_key
    saga.lost("~a").passes(10)
    assert saga.calls["~a"].idempotency_key == first != action


def test_a_rejected_compensation_is_not_retried():
    saga = Script(step("a", compensation=Compensation(undo, retry=TWICE)), step("b")).begin().ok("a").rejects("b")
    assert saga.rejects("~a").state == "compensating, stuck"


def test_a_step_that_went_by_its_fallback_is_undone_by_that():
    saga = Script(step("a", fallback=other_way), step("b")).begin().fails("a").ok("a").rejects("b")
    assert saga.calls["~a"].via == "fallback"


@pytest.mark.parametrize("how", [{}, {"cut": True}, {"compensate": False}])
def test_a_compensation_is_never_cancelled(how):
    saga = Script(step("a"), step("b"), deadline=60).begin().ok("a").rejects("b").abort(**how).passes(100)
    assert (saga.running, saga.cancelled) == (["~a"], [])
    assert saga.ok("~a").state == "failed (compensated)"


def test_an_interrupted_compensation_is_called_again():
    saga = Script(step("a"), step("b")).begin().ok("a").rejects("b").crash()
    assert saga.running == ["~a"]


def test_when_one_is_used_up_the_others_still_run():
    saga = Script(step("a"), step("b"), step("c")).begin().ok("a", "b").rejects("c").fails("~b")
    assert saga.running == ["~a"]
    assert saga.ok("~a").state == "compensating, stuck"


def test_or_it_stops_there_at_once():
    saga = Script(step("a"), step("b"), step("c"), on_compensation_failure="stick").begin().ok("a", "b").rejects("c")
    assert saga.fails("~b").running == []
    assert saga.skip("b").running == ["~a"]


def test_retry_gives_attempts_to_what_is_stuck_and_to_nothing_else():
    saga = Script(step("a"), step("b"), step("c")).begin().ok("a", "b").rejects("c").fails("~b").ok("~a").retry()
    assert saga.running == ["~b"]
    assert saga.ok("~b").state == "failed (compensated)"


def test_skip_waives_with_actor_and_reason():
    saga = Script(step("a"), step("b")).begin().ok("a").rejects("b").fails("~a").skip("a")
    waived = saga.last(e.CompensationWaived)
    assert (waived.actor, waived.reason) == ("ann", "looked into it")
    assert saga.state == "failed (forced)"


def test_asking_twice_is_a_no_op():
    saga = Script(step("a"), step("b")).begin().ok("a").rejects("b").fails("~a").retry()
    events = len(saga.events)
    saga.retry().abort().abort()
    assert len(saga.events) == events
    saga.fails("~a").skip("a").skip("a")
    assert saga.state == "failed (forced)"


def test_compensation_awaits_a_reply_where_it_says_so():
    waits = Compensation(undo, retry=TWICE, awaits_reply=True, timeout=30)
    saga = Script(step("a", compensation=waits), step("b")).begin().ok("a").rejects("b").ok("~a")
    assert saga.state == "compensating"
    saga.passes(30).passes(10).ok("~a")
    assert saga.reply("a", backward=True, attempt=1) is c.Delivery.LATE
    assert saga.reply("a", backward=True, attempt=2) is c.Delivery.ACCEPTED
    assert saga.state == "failed (compensated)"


def test_a_used_up_compensation_is_never_called_failed():
    saga = Script(step("a", compensation=Compensation(undo, retry=ONCE)), step("b")).begin().ok("a").rejects("b")
    assert saga.lost("~a").state == "compensating, stuck"
