"""Bugs of the core that the property tests found, each as the shortest story that shows it."""

import msgspec
import pytest

from sagafsm.core import commands as c
from sagafsm.core import events as e
from sagafsm.core.codec import decode_snapshot, encode_snapshot
from sagafsm.core.decider import decide
from sagafsm.core.errors import InvalidInput
from sagafsm.core.turn import Surroundings
from tests.core.script import TWICE, K, RetryPolicy, Script, SubSaga, WaitFor, holds, look, other_way, step
from tests.core.strategies import CHILD


def test_a_snapshot_keeps_the_result_null():
    """JSON's null was read back as "no result", so the step was missing from the results after a reload."""
    saga = Script(step("charge"), step("ship")).begin().ok("charge", result=None)
    again = decode_snapshot("saga", encode_snapshot(saga.progress))
    assert again == saga.progress
    assert again.steps["charge"].result == msgspec.Raw(b"null")


def test_nothing_starts_beside_a_step_whose_condition_raised():
    saga = Script(step("a", when=holds), step("b", after=()), when=e.Failure(type="KeyError", step="a")).begin()
    assert saga.running == []
    assert saga.state == "failed (compensated)"


def test_what_the_deadline_cut_short_is_asked_for_at_once():
    """It used to wait until its siblings had ended, or for ever where nothing else woke the saga."""
    saga = Script(
        step("a", probe=look, on_unknown="probe", compensatable=False), SubSaga("b", CHILD, after=()), deadline=60
    )
    saga.begin().passes(60)
    assert saga.cancelled == ["a"]
    assert "?a" in saga.running


def test_retrying_a_signal_that_did_not_come_waits_for_it_again():
    """After the pivot, the retry began a call of a function that a waiting step does not have."""
    saga = Script(step("pay", pivot=True), WaitFor("approval", signal="approval", timeout=5))
    saga.begin().ok("pay").passes(5)
    assert saga.state == "pending, stuck"
    saga.retry()
    assert saga.called == ["pay"]
    assert saga.signal("approval") is c.Delivery.ACCEPTED
    assert saga.state == "completed"


def test_retrying_a_condition_that_raised_asks_it_again():
    """The retry called the step without asking its condition."""
    saga = Script(step("pay", pivot=True), step("tell", when=holds), when=e.Failure(type="KeyError", step="tell"))
    saga.begin().ok("pay")
    assert saga.state == "pending, stuck"
    saga.retry()
    assert (saga.state, saga.called) == ("pending, stuck", ["pay"])


def test_retrying_a_step_whose_key_cannot_be_made_leaves_it_stuck():
    """The decider itself raised StoreCorrupt."""
    saga = Script(step("pay", pivot=True), step("tell", idempotency_key="tell-{order}"), data={"number": 7})
    saga.begin().ok("pay")
    assert saga.state == "pending, stuck"
    saga.retry()
    assert (saga.state, saga.called) == ("pending, stuck", ["pay"])


def aborted_while_probing() -> Script:
    saga = Script(step("a"), step("b", probe=look, on_unknown="probe")).begin().ok("a").lost("b")
    assert saga.running == ["?b"]
    return saga.abort()


def test_a_compensation_that_was_interrupted_is_called_again_also_where_a_probe_had_been_running():
    """The old probe was taken for what had been interrupted, so the compensation hung for ever."""
    saga = aborted_while_probing()
    assert saga.running == ["?b", "~b"]
    saga.crash()
    assert saga.running == ["~b"]


def test_the_answer_of_a_probe_is_late_once_compensation_has_started():
    """It made the step succeed while the saga was compensating."""
    saga = Script(step("a", probe=look, on_unknown="probe"), step("b", after=())).begin().lost("a").ok("b").abort()
    assert saga.running == ["?a", "~b"]
    saga.answers("a", happened=True)
    assert saga.at("a") == "unknown"
    saga.ok("~b", "~a")
    assert saga.state == "failed (aborted)"


def test_a_planned_probe_does_not_wake_a_compensating_saga():
    """Its time stayed in the progress: once it had passed, the saga was due for ever and did nothing."""
    saga = Script(step("a", probe=look, on_unknown="probe", retry=TWICE, idempotent=False), step("b", after=()))
    saga.begin().lost("a").lost("?a").ok("b").abort()
    saga.now += 100
    assert saga.running == ["~b"]
    assert saga.wake is None


def test_a_deadline_that_means_nothing_wakes_nobody():
    """Between attempts of a pivot that may have happened the deadline was due and without effect: a hot loop."""
    saga = Script(step("pay", pivot=True, retry=RetryPolicy(initial_interval=100, jitter=0)), deadline=60)
    saga.begin().lost("pay")
    saga.now = 61.0
    assert saga.wake == 100.0


def test_no_call_begins_that_the_deadline_cuts_short_in_the_same_decision():
    """A saga taken over after its deadline repeated the call, cut it, and ended; the call began all the same."""
    saga = Script(step("a", compensatable=False), deadline=60).begin()
    saga.now = 61.0
    saga.crash()
    assert saga.called == ["a"]
    assert saga.state == "failed (compensated)"


def test_what_a_person_retries_after_the_deadline_is_not_cut_short():
    saga = Script(step("a", on_unknown="stick"), deadline=60).begin().passes(60)
    assert saga.state == "pending, stuck"
    saga.retry().passes(1)
    assert saga.running == ["a"]
    saga.ok("a").ok("~a")
    assert saga.state == "failed (compensated)"


def test_a_stuck_saga_names_what_still_holds_it():
    """When the step that it named was settled, and another was not, the reason stayed the old one."""
    saga = Script(step("a", on_unknown="stick"), step("b", on_unknown="stick", after=())).begin().lost("a").lost("b")
    assert saga.progress.stuck_step == "a"
    saga.reply("a")
    assert saga.state == "pending, stuck"
    assert saga.progress.stuck_step == "b"
    assert "step b" in saga.progress.stuck_reason


def test_settling_a_step_does_not_free_a_saga_that_a_child_holds():
    saga = Script(step("a", on_unknown="stick"), SubSaga("b", CHILD, after=())).begin().ok("b")
    saga.tell(c.ChildStuck(step="b", child_id="saga:b", reason="nobody home"))
    saga.lost("a").reply("a")
    assert saga.progress.stuck_child == "saga:b"
    saga.tell(c.ChildUnstuck(step="b", child_id="saga:b"))
    assert saga.state == "pending"


def test_a_probe_that_a_person_asked_for_is_asked_to_its_end():
    """Where ``on_unknown`` is not "probe", its first "cannot tell" left a saga that nobody could move."""
    saga = Script(step("pay", pivot=True), step("tell", idempotent=False, probe=look, retry=TWICE))
    saga.begin().ok("pay").lost("tell").retry().lost("?tell")
    assert saga.state == "pending"
    saga.passes(10).lost("?tell")
    assert saga.state == "pending, stuck"
    saga.skip("tell")
    assert saga.state == "completed"


@pytest.mark.parametrize("kind", [K.FAILED, K.UNKNOWN])
def test_not_this_time_does_not_settle_an_unknown_step(kind):
    """The last attempt did not happen; an earlier one may have, and its effect was never undone."""
    saga = Script(step("a", awaits_reply=True, on_unknown="stick", retry=TWICE, timeout=5))
    saga.begin().ok("a").passes(5).passes(10).ok("a").passes(5)
    assert saga.state == "pending, stuck"
    assert saga.reply("a", kind, attempt=2) is c.Delivery.LATE
    assert saga.at("a") == "unknown"
    assert saga.reply("a", K.REJECTED, attempt=2) is c.Delivery.ACCEPTED
    assert saga.state == "failed (compensated)"


def test_the_probe_of_a_fallback_has_all_its_attempts():
    """Those that the action's probe had used up were counted against it."""
    saga = Script(step("a", probe=look, on_unknown="probe", fallback=other_way, retry=TWICE, idempotent=False))
    saga.begin().lost("a").lost("?a").passes(10).answers("a", happened=False)
    assert saga.running == ["a"]  # the fallback
    saga.lost("a").lost("?a")
    assert saga.state == "pending"
    saga.passes(10)
    assert saga.running == ["?a"]


def test_the_answer_of_an_interrupted_probe_is_late():
    saga = Script(step("a", probe=look, on_unknown="probe")).begin().lost("a")
    old = saga.calls["?a"]
    saga.crash()
    saga.tell(c.CallEnded(call=old, kind=K.SUCCEEDED, happened=False))
    assert saga.at("a") == "unknown"
    saga.answers("a", happened=True)
    assert saga.state == "completed"


def test_an_aborted_saga_probes_no_more_after_a_crash():
    """The probe began again in the very decision that ended the saga."""
    saga = Script(step("a", probe=look, on_unknown="probe", compensatable=False)).begin().lost("a")
    saga.tell(c.AbortAsked(reason="stop"), advance=False)
    saga.crash()
    assert saga.called == ["a", "?a"]
    assert saga.state == "failed (aborted)"


def test_a_probe_that_never_can_tell_does_not_fill_the_log():
    forever = RetryPolicy(max_attempts=None, initial_interval=0)
    saga = Script(step("a", probe=look, on_unknown="probe", idempotent=False, retry=forever)).begin().lost("a")
    full = msgspec.structs.replace(saga.progress, event_budget=saga.progress.version)
    ended = c.CallEnded(call=saga.calls["?a"], kind=K.UNKNOWN)
    decision = decide(saga.definition, full, ended, saga.now, saga.surroundings)
    assert decision.progress.stuck
    assert not decision.commands


def test_a_process_that_is_leaving_takes_nothing_up():
    """``advance=False`` promises that nothing is begun, and a takeover repeated the interrupted calls all the same."""
    saga = Script(step("a")).begin()
    saga.tell(c.TakenOver(), advance=False)
    assert saga.called == ["a"]
    assert saga.crash().running == ["a"]


def test_a_saga_without_a_parent_is_not_undone():
    """It was, and no log like that could be read again."""
    saga = Script(step("a")).begin().ok("a")
    with pytest.raises(InvalidInput, match="nobody's sub-saga"):
        saga.tell(c.UndoAsked(cause=e.Failure(type="Rejected")))


def test_nobody_but_the_child_itself_says_what_became_of_it():
    """While the parent was stuck, a word that the child had failed was believed, and the child ran on and completed."""
    saga = Script(SubSaga("a", CHILD), step("b", on_unknown="stick", after=()), deadline=60).begin()
    saga.passes(60)
    assert saga.state == "pending, stuck"
    for _ in range(11):
        saga.crash()
    assert saga.at("a") == "unknown"
    assert saga.reply("a", K.REJECTED) is c.Delivery.LATE
    saga.reply("b", K.REJECTED)
    assert saga.running == ["~a"]


def test_a_saga_that_begins_looks_at_its_steps_in_their_order():
    """Once the steps that wait for none came first: ``c`` was called although ``b``, declared before it, had failed."""

    def when(spec, progress):
        return e.Failure(type="KeyError", step="b") if spec.name == "b" else False

    saga = Script(step("a", when=holds), step("b", when=holds), step("c", after=()))
    saga.surroundings = Surroundings(condition=when)
    saga.begin()
    assert (saga.called, saga.state) == ([], "failed (compensated)")
