"""The straight way: after which steps it leads on, and that it decides what is decided without it."""

import pytest

from sagafsm import Limit, Parallel, SagaDefinition, Sleep, Step, SubSaga, WaitFor
from sagafsm.core import decider
from sagafsm.core.decider import decide
from tests.core.hostility import run_through_everything
from tests.core.script import Script, step
from tests.core.strategies import CHILD, Choices, act, holds
from tests.core.test_invariants import RUNS


def straight(*steps):
    return dict(SagaDefinition(name="order", steps=steps).straight)


def plain(name, **options):
    return Step(name, act, compensatable=False, **options)


# --- after which steps ---


def test_it_leads_from_step_to_step_to_the_end():
    assert straight(plain("a"), plain("b")) == {"a": "b", "b": None}


def test_it_goes_on_within_a_branch_and_not_past_a_fork_or_a_join():
    forked = straight(plain("a"), Parallel(plain("b"), plain("c")), plain("d"))
    assert forked == {"d": None}


@pytest.mark.parametrize(
    "second",
    [WaitFor("b", signal="go"), Sleep("b", 5), plain("b", when=holds), plain("b", idempotency_key="order:{id}")],
    ids=["a signal", "a sleep", "a condition", "a key of the user's"],
)
def test_it_ends_before_what_may_not_begin_with_a_call(second):
    assert "a" not in straight(plain("a"), second)


@pytest.mark.parametrize(
    "first",
    [plain("a", awaits_reply=True), SubSaga("a", CHILD), WaitFor("a", signal="go")],
    ids=["a reply", "a sub-saga", "a signal"],
)
def test_it_does_not_begin_where_the_end_of_a_call_is_not_that_of_the_step(first):
    assert "a" not in straight(first, plain("b"))


def test_there_is_none_where_calls_are_limited():
    assert straight(plain("a"), plain("b", limit=Limit("shop", concurrency=2))) == {}


# --- what it decides ---


class Compared:
    """Takes the straight way's place, and holds each of its decisions against the one made without it."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._patch, self._original = patch, decider.straight_on
        patch.setattr(decider, "straight_on", self)

    def __call__(self, definition, progress, ended, now, namespace):
        quick = self._original(definition, progress, ended, now, namespace)
        if quick is not None:
            with self._patch.context() as inner:
                inner.setattr(decider, "straight_on", lambda *given: None)
                whole = decide(definition, progress, ended, now, decider.Surroundings(namespace=namespace))
            assert told(quick) == told(whole)
            self.count += 1
        return quick


def told(decision):
    return list(decision.events), decision.progress, list(decision.commands), decision.delivery, decision.held


def test_it_decides_what_is_decided_without_it(monkeypatch):
    """Wherever a saga stands, whatever happens to it: no condition is missing from those under which it is taken."""
    compared = Compared(monkeypatch)
    for seed in range(RUNS):
        run_through_everything(Choices.of_seed(seed))
    assert compared.count > RUNS / 3


def test_a_saga_in_which_nothing_is_amiss_goes_straight_on_all_the_way(monkeypatch):
    compared = Compared(monkeypatch)
    saga = Script(step("a"), step("b"), step("c")).begin().ok("a").ok("b").ok("c")
    assert saga.state == "completed"
    assert compared.count == 3
