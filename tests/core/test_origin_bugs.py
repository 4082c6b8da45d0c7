"""The bugs of the saga templates that people copy, each told as a story that ends well here.

The first nine are those of a widely copied orchestrator template; the others are of its neighbours.
"""

import msgspec
import pytest

from sagafsm.core import commands as c
from sagafsm.core import events as e
from sagafsm.core.codec import decode_event
from sagafsm.core.definition import SagaDefinition
from sagafsm.core.errors import DefinitionError, StoreCorrupt, StoreTooNew
from sagafsm.core.fold import evolve, fold
from sagafsm.testing.checker import Stored
from tests.core.script import ONCE, TWICE, Compensation, K, Parallel, Script, look, step, undo

# --- the nine ---


def test_1_compensations_are_not_all_sent_at_once():
    # Given three steps done and a fourth that is rejected
    saga = Script(step("order"), step("stock"), step("card"), step("ship")).begin()
    saga.ok("order", "stock", "card").rejects("ship")
    # When the saga compensates, then each compensation begins after the one before it has ended
    assert saga.running == ["~card"]
    saga.ok("~card")
    assert saga.running == ["~stock"]
    saga.ok("~stock")
    assert saga.running == ["~order"]
    saga.ok("~order")
    assert saga.state == "failed (compensated)"


def test_2_a_late_completion_does_not_bring_a_compensating_saga_back_from_the_dead():
    # Given a saga that compensates because a call was cut short
    saga = Script(step("stock"), step("card"), step("ship")).begin().ok("stock")
    late = saga.calls["card"]
    saga.abort(cut=True)
    assert saga.state == "compensating"
    # When the call's success arrives after all, twice
    for _ in range(2):
        saga.tell(c.CallEnded(call=late, kind=K.SUCCEEDED))
    # Then nothing moves forward, and what may have happened is undone
    assert saga.state == "compensating"
    saga.ok("~card", "~stock")
    assert saga.state == "failed (aborted)"
    # And it stays dead
    saga.tell(c.CallEnded(call=late, kind=K.SUCCEEDED))
    assert saga.state == "failed (aborted)"


def test_2b_nor_after_a_timeout_has_failed_it():
    saga = Script(step("card", awaits_reply=True, timeout=30)).begin().ok("card").passes(30).ok("~card")
    assert saga.state == "failed (compensated)"
    assert saga.reply("card") is c.Delivery.LATE
    assert saga.state == "failed (compensated)"


def test_3_a_duplicate_completion_does_not_skip_a_step():
    # Given a step that awaits its reply
    saga = Script(step("stock", awaits_reply=True), step("card"), step("ship")).begin().ok("stock")
    # When the reply is delivered twice
    assert saga.reply("stock", message_id="m1") is c.Delivery.ACCEPTED
    assert saga.reply("stock", message_id="m1") is c.Delivery.DUPLICATE
    assert saga.reply("stock") is c.Delivery.LATE
    # Then the next step has begun, and not the one after it
    assert saga.called == ["stock", "card"]


def test_4_a_step_that_timed_out_is_undone_for_it_may_have_happened():
    saga = Script(step("stock"), step("card")).begin().ok("stock").lost("card")
    assert saga.last(e.StepUnknown).step == "card"
    assert saga.running == ["~card"]
    saga.ok("~card", "~stock")
    assert saga.state == "failed (compensated)"


def test_5_there_is_nothing_between_saving_and_sending():
    # Given a step whose success was decided
    saga = Script(step("stock"), step("card")).begin().ok("stock")
    # Then its success and the beginning of the next call are one append: both are stored, or neither is
    assert saga.appends == 2
    assert saga.events[-2:] == ["StepSucceeded", "AttemptStarted"]
    # And when the process dies between that append and the call, the call is made by the next one, with the same key
    begun = saga.calls["card"]
    saga.crash()
    assert saga.calls["card"].idempotency_key == begun.idempotency_key


def test_5b_the_end_is_not_told_before_it_is_stored():
    """The end is an event like any other: whoever tells the world reads it from the log."""
    saga = Script(step("stock")).begin().rejects("stock")
    assert saga.events[-3:] == ["StepFailed", "CompensationStarted", "SagaFailed"]
    assert saga.appends == 2


def test_6_a_saga_without_steps_is_refused_when_it_is_declared():
    with pytest.raises(DefinitionError, match="no steps"):
        SagaDefinition(name="Empty", steps=[])


def test_6b_a_step_without_a_compensation_is_refused_unless_it_says_so():
    with pytest.raises(DefinitionError, match="no compensation"):
        Script(step("stock", compensation=None))


def test_6c_a_step_that_has_none_is_not_waited_for():
    saga = Script(step("stock"), step("mail", compensatable=False), step("card")).begin().ok("stock", "mail")
    saga.rejects("card").ok("~stock")
    assert saga.state == "failed (compensated)"


def test_7_a_compensation_that_fails_is_retried_and_then_shown_to_a_person():
    # Given a compensation with two attempts
    saga = Script(step("stock", compensation=Compensation(undo, retry=TWICE)), step("card"))
    saga.begin().ok("stock").rejects("card").fails("~stock")
    assert saga.state == "compensating"
    # When both have failed
    saga.passes(10).fails("~stock")
    # Then the saga is stuck, says why, and is not called failed
    assert saga.state == "compensating, stuck"
    assert "stock" in saga.progress.stuck_reason
    # And a person's retry ends it
    saga.retry().ok("~stock")
    assert saga.state == "failed (compensated)"


def test_8_the_data_of_users_cannot_overwrite_what_the_engine_says():
    # Given an input that names the engine's own fields
    saga = Script(step("stock"), data={"saga_id": "other", "step_name": "ship", "idempotency_key": "mine"}).begin()
    # Then the saga and the call keep their own, and the data lies by itself
    assert saga.progress.saga_id == "saga"
    call = saga.calls["stock"]
    assert (call.step, call.idempotency_key != "mine") == ("stock", True)
    assert msgspec.json.decode(saga.progress.data)["saga_id"] == "other"


def test_9_a_timer_belongs_to_its_attempt():
    # Given a first attempt that timed out, and a second that is under way
    saga = Script(step("card", awaits_reply=True, retry=TWICE, timeout=30)).begin().ok("card")
    saga.passes(30).passes(10).ok("card")
    assert saga.progress.steps["card"].attempts == 2
    # When the old timer could fire again
    saga.passes(1)
    # Then the second attempt goes on until its own
    assert saga.at("card") == "running"
    assert saga.wake == 70.0


# --- its neighbours ---


def test_the_reverse_order_is_that_of_completion_and_not_of_declaration():
    saga = Script(Parallel(step("a"), step("b")), step("c")).begin().ok("b").ok("a").rejects("c")
    assert saga.running == ["~a"]
    assert saga.ok("~a").running == ["~b"]


def test_a_step_that_was_begun_is_not_taken_for_one_that_was_done():
    """Any earlier execution under the key was taken for a success, also one that had only begun."""
    saga = Script(step("stock"), step("card")).begin().crash()
    assert saga.running == ["stock"]
    assert saga.at("stock") == "running"


def test_a_crash_between_storing_and_calling_loses_no_wake_up():
    saga = Script(step("stock"), step("card")).begin().ok("stock").crash().crash()
    assert saga.running == ["card"]


def test_a_reply_is_matched_to_its_attempt():
    saga = Script(step("card", awaits_reply=True, retry=TWICE, timeout=30)).begin().ok("card")
    saga.passes(30).passes(10).ok("card")
    assert saga.reply("card", K.REJECTED, attempt=1) is c.Delivery.LATE
    assert saga.reply("card", attempt=2) is c.Delivery.ACCEPTED
    assert saga.state == "completed"


def test_a_tolerant_reader_hides_nothing():
    """An insert that swallowed errors hid that the schema had changed: what cannot be read is refused here."""
    with pytest.raises(StoreCorrupt, match="event 3"):
        decode_event("saga", Stored(seq=3, type="StepSucceeded", at=0.0, data=b'{"step": 1}'))
    with pytest.raises(StoreTooNew, match="event 3"):
        decode_event("saga", Stored(seq=3, type="StepSucceeded", at=0.0, data=b'{"step": "a", "then": "b"}'))


def test_where_a_call_goes_is_never_taken_from_the_data():
    """Steps named their own addresses in the data; here a call is of a declared step, and its data is not in it."""
    saga = Script(step("stock"), data={"url": "http://169.254.169.254/", "action": "rm"}).begin()
    assert set(c.Call.__struct_fields__) == {"step", "role", "via", "attempt", "interruption", "idempotency_key"}
    assert saga.called == ["stock"]


def test_an_attempt_is_in_the_log_before_it_is_made():
    """The beginning was staged, and stored after the call had returned."""
    saga = Script(step("stock"))
    saga.begin()
    assert saga.last(e.AttemptStarted).idempotency_key == saga.calls["stock"].idempotency_key


def test_the_order_of_the_log_is_its_numbers_and_not_its_times():
    """A history sorted by time changed where two events had the same."""
    saga = Script(step("a"), step("b"), step("c")).begin().ok("a", "b").rejects("c").ok("~b")
    skewed = [(entry.event, -float(entry.seq % 3)) for entry in saga.log.entries]
    told = [(name, told.state, told.ended) for name, told in fold(skewed).steps.items()]
    assert told == [(name, told.state, told.ended) for name, told in saga.progress.steps.items()]


def test_a_failed_saga_has_nothing_left_to_undo():
    """A saga whose compensation had failed was marked failed, and forgotten."""
    saga = Script(step("a"), step("b")).begin().ok("a").rejects("b").fails("~a")
    assert saga.state == "compensating, stuck"
    with pytest.raises(StoreCorrupt, match="is not possible"):
        evolve(saga.progress, e.AttemptStarted(step="b", attempt=2, idempotency_key="k"), 0.0)
    saga.skip("a")
    assert saga.state == "failed (forced)"


def test_after_a_failed_compensation_one_may_ask_that_the_others_wait():
    saga = Script(step("a"), step("b"), step("c"), on_compensation_failure="stick").begin().ok("a", "b").rejects("c")
    saga.fails("~b")
    assert (saga.state, saga.running) == ("compensating, stuck", [])


def test_an_unknown_outcome_can_be_asked_for():
    saga = Script(step("card", probe=look, on_unknown="probe", retry=ONCE)).begin().lost("card")
    assert saga.running == ["?card"]
    saga.answers("card", happened=False)
    assert saga.state == "failed (compensated)"
