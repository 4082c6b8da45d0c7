"""What a saga does, rule by rule: pivots, parallel steps, waiting, sub-sagas, aborts. One short example each."""

import pytest

from sagafsm.core import commands as c
from sagafsm.core import events as e
from sagafsm.core.errors import InvalidInput, PastPivot, SagaFinished
from tests.core.script import (
    TWICE,
    Fallback,
    K,
    Parallel,
    Script,
    Sequence,
    Sleep,
    SubSaga,
    WaitFor,
    holds,
    look,
    other_way,
    step,
    undo,
)
from tests.core.strategies import CHILD

# --- the pivot ---


def pivot(**options) -> Script:
    return Script(step("a"), step("pay", pivot=True, **options), step("tell", retry=TWICE)).begin().ok("a")


def test_a_failing_pivot_leads_backward():
    assert pivot().rejects("pay").running == ["~a"]


def test_after_the_pivot_a_failure_is_stuck_and_nothing_is_undone():
    saga = pivot().ok("pay").fails("tell").passes(10).fails("tell")
    assert (saga.state, saga.running) == ("pending, stuck", [])


def test_after_the_pivot_rejected_is_stuck_at_once():
    assert pivot().ok("pay").rejects("tell").state == "pending, stuck"


def test_after_the_pivot_a_fallback_comes_before_a_person():
    saga = Script(step("pay", pivot=True), step("tell", fallback=other_way)).begin().ok("pay").rejects("tell")
    assert saga.calls["tell"].via == "fallback"


def test_after_the_pivot_retry_goes_on():
    assert pivot().ok("pay").rejects("tell").retry().ok("tell").state == "completed"


def test_after_the_pivot_skip_goes_on():
    saga = pivot().ok("pay").rejects("tell").skip("tell")
    assert saga.state == "completed"
    assert saga.progress.steps["tell"].result is None


def test_before_the_pivot_a_step_cannot_be_passed_over():
    saga = Script(step("a", on_unknown="stick"), step("pay", pivot=True)).begin().lost("a")
    with pytest.raises(InvalidInput, match="before the pivot"):
        saga.skip("a")


def test_abort_is_refused_while_the_pivot_runs():
    with pytest.raises(PastPivot, match="'pay' runs"):
        pivot().abort()


def test_abort_is_refused_while_the_pivot_is_unknown():
    with pytest.raises(PastPivot, match="'pay' runs, or its outcome is unknown"):
        pivot().lost("pay").abort()


def test_abort_is_refused_after_the_pivot():
    with pytest.raises(PastPivot, match="'pay' has succeeded"):
        pivot().ok("pay").abort()


def test_abort_is_accepted_between_failed_attempts_of_the_pivot():
    assert pivot(retry=TWICE).fails("pay").abort().running == ["~a"]


def test_abort_is_refused_between_attempts_one_of_which_may_have_happened():
    with pytest.raises(PastPivot):
        pivot(retry=TWICE).lost("pay").abort()


def test_an_unknown_pivot_is_stuck_and_neither_goes_on_nor_back():
    saga = pivot().lost("pay")
    assert (saga.state, saga.running) == ("pending, stuck", [])


def test_an_unknown_pivot_is_probed_where_it_can_be():
    saga = pivot(probe=look).lost("pay")
    assert saga.running == ["?pay"]
    assert saga.answers("pay", happened=True).running == ["tell"]


def test_an_unknown_pivot_is_compensated_where_it_says_so():
    assert pivot(compensation=undo, on_unknown="compensate").lost("pay").running == ["~pay"]


def test_the_deadline_means_nothing_while_the_pivot_runs_and_after_it():
    saga = Script(step("pay", pivot=True), step("tell"), deadline=60).begin().passes(100)
    assert saga.running == ["pay"]
    assert saga.ok("pay").passes(100).running == ["tell"]


def test_a_fallback_has_its_own_key_and_attempts():
    saga = Script(step("a", retry=TWICE, fallback=Fallback(other_way, retry=TWICE))).begin()
    action = saga.calls["a"].idempotency_key
    saga.fails("a").passes(10).fails("a")
    assert saga.calls["a"].idempotency_key != action
    saga.fails("a").passes(10)
    assert saga.running == ["a"]
    assert saga.fails("a").state == "failed (compensated)"


# --- parallel steps and conditions ---


def test_independent_steps_run_at_once_and_what_depends_on_them_waits():
    saga = Script(Parallel(step("a"), Sequence(step("b"), step("c"))), step("d")).begin()
    assert saga.running == ["a", "b"]
    assert saga.ok("a").running == ["b"]
    assert saga.ok("b").running == ["c"]
    assert saga.ok("c").running == ["d"]


def test_on_a_failure_nothing_new_starts():
    saga = Script(Parallel(step("a"), Sequence(step("b"), step("c")))).begin().rejects("a").ok("b")
    assert saga.called == ["a", "b", "~b"]


def test_a_false_condition_skips_the_step_and_it_is_never_undone():
    saga = Script(step("a", when=holds), step("b"), when=False).begin()
    assert (saga.at("a"), saga.running) == ("skipped", ["b"])
    assert saga.rejects("b").called == ["b"]
    assert saga.progress.steps["a"].result is None


def test_a_saga_whose_steps_are_all_skipped_is_completed():
    assert Script(step("a", when=holds), step("b", when=holds), when=False).begin().state == "completed"


# --- waiting ---


def test_a_step_that_awaits_its_reply_is_not_called_again_before_its_timeout():
    saga = Script(step("a", awaits_reply=True, retry=TWICE, timeout=30)).begin().ok("a")
    assert (saga.running, saga.wake) == ([], 30.0)
    assert saga.crash().running == []
    saga.passes(30)
    assert saga.last(e.AttemptFailed).open
    assert saga.passes(10).running == ["a"]


def test_a_reply_that_comes_before_the_call_has_returned_counts():
    saga = Script(step("a", awaits_reply=True), step("b")).begin()
    assert saga.reply("a") is c.Delivery.ACCEPTED
    assert saga.ok("a").running == ["b"]


def test_a_reply_to_a_step_that_awaits_none_is_unexpected():
    saga = Script(step("a")).begin()
    assert saga.reply("a") is c.Delivery.UNEXPECTED
    assert saga.reply("nobody") is c.Delivery.UNEXPECTED


def test_a_signal_ends_the_step_that_waits_for_it():
    saga = Script(WaitFor("w", signal="go"), step("b")).begin()
    assert saga.wake is None
    assert saga.signal("go") is c.Delivery.ACCEPTED
    assert saga.running == ["b"]


def test_a_signal_that_comes_early_is_kept_for_the_first_step_that_waits():
    saga = Script(step("a"), WaitFor("w1", signal="go"), WaitFor("w2", signal="go")).begin()
    assert saga.signal("go") is c.Delivery.ACCEPTED
    saga.ok("a")
    assert (saga.at("w1"), saga.at("w2")) == ("succeeded", "running")


def test_a_signal_is_deduplicated_by_its_message_id():
    saga = Script(step("a"), WaitFor("w", signal="go")).begin()
    assert [saga.signal("go", "m1"), saga.signal("go", "m1")] == [c.Delivery.ACCEPTED, c.Delivery.DUPLICATE]


def test_a_signal_that_no_step_waits_for_is_unexpected_and_one_that_none_waits_for_any_more_is_late():
    saga = Script(WaitFor("w", signal="go"), step("b")).begin()
    assert saga.signal("stop") is c.Delivery.UNEXPECTED
    saga.signal("go")
    assert saga.signal("go") is c.Delivery.LATE


def test_a_signal_that_does_not_come_fails_the_step():
    saga = Script(step("a"), WaitFor("w", signal="go", timeout=60)).begin().ok("a").passes(60)
    assert (saga.at("w"), saga.running) == ("failed", ["~a"])


def test_or_the_saga_goes_on_without_it():
    saga = Script(WaitFor("w", signal="go", timeout=60, on_timeout="continue"), step("b")).begin().passes(60)
    assert saga.running == ["b"]


def test_a_sleep_lasts_through_restarts():
    saga = Script(Sleep("s", 60), step("b")).begin().crash()
    assert saga.wake == 60.0
    assert saga.passes(59).running == []
    assert saga.passes(1).running == ["b"]


# --- sub-sagas ---


def parent() -> Script:
    return Script(step("a"), SubSaga("child", CHILD), step("b")).begin().ok("a").ok("child")


def test_a_child_that_completes_ends_its_step():
    saga = parent()
    saga.reply("child", by="child")
    assert saga.running == ["b"]


def test_a_child_that_was_rolled_back_is_a_definite_failure():
    saga = parent()
    saga.reply("child", K.REJECTED, by="child")
    assert (saga.at("child"), saga.running) == ("failed", ["~a"])


def test_undoing_the_parent_undoes_a_completed_child():
    saga = parent()
    saga.reply("child", by="child")
    saga.rejects("b")
    assert saga.running == ["~child"]
    saga.ok("~child")
    assert saga.state == "compensating"
    saga.reply("child", backward=True, by="child")
    assert saga.running == ["~a"]


def test_a_stuck_child_makes_its_parent_wait_and_is_named():
    saga = parent()
    saga.tell(c.ChildStuck(step="child", child_id="saga:child", reason="no answer"))
    assert saga.state == "pending, stuck"
    assert "saga:child" in saga.progress.stuck_reason
    saga.tell(c.ChildUnstuck(step="child", child_id="saga:child"))
    assert saga.state == "pending"


def test_a_completed_child_is_undone_by_its_parent_and_by_nobody_else():
    child = Script(step("a"), parent="parent").begin().ok("a")
    with pytest.raises(SagaFinished):
        child.abort()
    child.tell(c.UndoAsked(cause=e.Failure(type="Rejected")))
    assert (child.state, child.running) == ("compensating", ["~a"])
    assert child.ok("~a").state == "failed (compensated)"


def test_an_aborted_parent_aborts_its_running_child():
    saga = parent()
    saga.abort()
    assert (saga.state, saga.aborted_children) == ("pending", ["saga:child"])
    saga.reply("child", K.REJECTED, by="child")
    assert saga.running == ["~a"]


# --- aborting, suspending ---


def test_an_abort_lets_running_calls_finish():
    saga = Script(step("a"), step("b")).begin().ok("a").abort()
    assert (saga.state, saga.running) == ("pending", ["b"])
    assert saga.ok("b").running == ["~b"]


def test_an_abort_with_cut_does_not():
    saga = Script(step("a"), step("b")).begin().ok("a").abort(cut=True)
    assert (saga.cancelled, saga.running) == (["b"], ["~b"])


def test_an_accepted_abort_is_never_overwritten_by_completion():
    saga = Script(step("a")).begin().abort().ok("a").ok("~a")
    assert saga.state == "failed (aborted)"


def test_an_abort_that_undoes_nothing_waives_all_that_is_due_and_needs_an_actor():
    saga = Script(step("a"), step("b")).begin().ok("a")
    with pytest.raises(InvalidInput, match="needs an actor"):
        saga.tell(c.AbortAsked(reason="never mind", compensate=False))
    saga.abort(compensate=False).rejects("b")
    assert saga.last(e.CompensationWaived).step == "a"
    assert saga.state == "failed (forced)"


def test_an_abort_before_the_first_step_passes_through_compensating():
    saga = Script(step("a")).abort()
    assert saga.events == ["SagaStarted", "AbortRequested", "CompensationStarted", "SagaFailed"]


def test_an_abort_of_a_completed_saga_is_refused():
    with pytest.raises(SagaFinished):
        Script(step("a")).begin().ok("a").abort()


def test_an_abort_frees_a_stuck_saga():
    saga = Script(step("a"), step("b", on_unknown="stick")).begin().ok("a").lost("b").abort()
    assert saga.running == ["~b"]


def test_a_suspended_saga_records_and_starts_nothing():
    saga = Script(step("a"), step("b")).begin().suspend().ok("a")
    assert (saga.state, saga.at("a"), saga.running) == ("pending, suspended", "succeeded", [])
    assert saga.wake is None
    assert saga.resume().running == ["b"]


def test_a_sweep_pulls_no_retry_forward():
    assert Script(step("a", retry=TWICE)).begin().fails("a").crash().crash().running == []


def test_a_saga_that_was_only_created_keeps_what_it_is_told_and_runs_nothing():
    saga = Script(WaitFor("w", signal="go"), step("b"))
    assert saga.signal("go") is c.Delivery.ACCEPTED
    assert (saga.state, saga.running) == ("started", [])
    assert saga.begin().running == ["b"]
