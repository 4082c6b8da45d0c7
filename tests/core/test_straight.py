"""The straight way: after which steps it leads on, and that it decides what is decided without it."""

import pytest

from sagafsm import Limit, Parallel, SagaDefinition, Sequence, Sleep, Step, SubSaga, WaitFor
from sagafsm.core import commands as c
from sagafsm.core import decider
from sagafsm.core.codec import decode_snapshot, encode_snapshot
from sagafsm.core.decider import decide
from tests.core import hostile_run, script
from tests.core.hostility import run_through_everything
from tests.core.script import TWICE, K, Script, step
from tests.core.strategies import CHILD, Choices, act, holds
from tests.core.test_invariants import RUNS


def straight(*steps):
    return dict(SagaDefinition(name="order", steps=steps).straight)


def plain(name, **options):
    return Step(name, act, compensatable=False, **options)


# --- after which steps ---


def test_it_leads_from_step_to_step_to_the_end():
    assert straight(plain("a"), plain("b")) == {"a": "b", "b": None}


def test_it_leads_along_a_branch_and_neither_into_a_fork_nor_into_a_join():
    forked = straight(plain("a"), Parallel(Sequence(plain("b1"), plain("b2")), plain("c")), plain("d"), plain("e"))
    assert forked == {"b1": "b2", "d": "e", "e": None}


def test_it_leads_into_a_sub_saga_and_not_out_of_it():
    assert straight(plain("a"), SubSaga("b", CHILD), plain("c")) == {"a": "b", "c": None}


@pytest.mark.parametrize(
    "second",
    [WaitFor("b", signal="go"), Sleep("b", 5), plain("b", when=holds), plain("b", idempotency_key="order:{id}")],
    ids=["a signal", "a sleep", "a condition", "a key of the user's"],
)
def test_it_ends_before_what_may_not_begin_with_a_call(second):
    assert "a" not in straight(plain("a"), second)


@pytest.mark.parametrize(
    "first",
    [plain("a", awaits_reply=True), WaitFor("a", signal="go")],
    ids=["a reply", "a signal"],
)
def test_it_does_not_begin_where_the_end_of_a_call_is_not_that_of_the_step(first):
    assert "a" not in straight(first, plain("b"))


def test_there_is_none_where_calls_are_limited():
    assert straight(plain("a"), plain("b", limit=Limit("shop", concurrency=2))) == {}


# --- what it decides ---


class Compared:
    """Decides on both ways, and holds one against the other. ``count``: how often the straight one was taken."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._patch, self._original = patch, decider.straight_on
        patch.setattr(decider, "straight_on", self._counted)
        patch.setattr(hostile_run, "decide", self.decide)
        patch.setattr(script, "decide", self.decide)

    def _counted(self, *asked):
        found = self._original(*asked)
        self.count += found is not None
        return found

    def decide(self, *asked, **how):
        quick = decide(*asked, **how)
        with self._patch.context() as inner:
            inner.setattr(decider, "straight_on", lambda *given: None)
            whole = decide(*asked, **how)
        assert told(quick) == told(whole)
        return quick


def told(decision):
    return list(decision.events), decision.progress, list(decision.commands), decision.delivery, decision.held


@pytest.fixture
def compared(monkeypatch):
    return Compared(monkeypatch)


def test_it_decides_what_is_decided_without_it(compared):
    """Wherever a saga stands, whatever happens to it: no condition is missing from those under which it is taken."""
    for seed in range(RUNS):
        run_through_everything(Choices.of_seed(seed))
    assert compared.count > RUNS / 3


def test_a_saga_in_which_nothing_is_amiss_goes_straight_on_all_the_way(compared):
    saga = Script(step("a"), step("b"), step("c")).begin().ok("a").ok("b").ok("c")
    assert saga.state == "completed"
    assert compared.count == 3


def test_a_saga_from_its_snapshot_decides_the_same(compared):
    saga = Script(step("a"), step("b")).begin()
    ended = c.CallEnded(call=saga.calls["a"], kind=K.SUCCEEDED)
    decoded = decode_snapshot("saga", encode_snapshot(saga.progress))
    decisions = [
        compared.decide(saga.definition, progress, ended, 0.0, saga.surroundings)
        for progress in (saga.progress, decoded)
    ]
    assert told(decisions[0]) == told(decisions[1])
    assert compared.count == 1  # what has not begun is known by sight, and comes from a snapshot as another one


def test_beside_a_step_that_waits_for_a_person_nothing_begins(compared):
    """Stuck, and no step has failed: nothing but that says so."""
    saga = Script(Parallel(step("a"), Sequence(step("b"), step("c")))).begin()
    saga.ends("a", kind=K.IMPOSSIBLE).ok("b")
    assert (saga.state, saga.at("b"), saga.at("c")) == ("pending, stuck", "succeeded", "waiting")
    assert compared.count == 0


def test_an_attempt_that_has_failed_cannot_succeed_after_all(compared):
    """Until the next one begins it is the newest, and no call is under way."""
    saga = Script(step("a", retry=TWICE), step("b")).begin()
    call = saga.calls["a"]
    saga.fails("a").tell(c.CallEnded(call=call, kind=K.SUCCEEDED))
    assert (saga.at("a"), saga.at("b"), compared.count) == ("running", "waiting", 0)
