"""The harness plays stories: every call waits for its cue."""

import pytest

from sagafsm import (
    Probe,
    Rejected,
    RetryPolicy,
    Saga,
    SagaFinished,
    SagaState,
    Unknown,
    step,
    subsaga,
    wait_for,
)
from sagafsm.testing import NotReached, SagaTestHarness, asks, dies, ends, fails, passes
from sagafsm.testing.checker import check_log
from sagafsm.testing.histories import entries_of

CALLED = []


class Shop(Saga[dict]):
    retry = RetryPolicy(max_attempts=2, initial_interval=10, jitter=0)

    @step(timeout=30)
    async def reserve(self, order: dict) -> str:
        CALLED.append("reserve")
        return "shelf"

    @reserve.compensation
    async def release(self, order: dict, shelf: str | None) -> None:
        CALLED.append("release")

    @step(pivot=True)
    async def pay(self, order: dict, reserve: str) -> str:
        CALLED.append("pay")
        return "paid"

    @pay.probe
    async def was_paid(self, order: dict) -> object:
        return Probe.STILL_UNKNOWN

    @step(compensatable=False, when=lambda order: bool(order["gift"]))
    async def wrap(self, order: dict) -> None: ...

    def on_completed(self, saga) -> None:
        CALLED.append("on_completed")


class Trip(Saga[dict]):
    shop = subsaga(Shop, data=lambda trip: trip["order"], compensatable=False)
    approval = wait_for("approval", timeout=60)


@pytest.fixture(autouse=True)
def called():
    CALLED.clear()
    yield
    assert CALLED == []  # a story calls no function of the user


async def test_everything_happens_in_the_order_that_is_told():
    harness = SagaTestHarness(Shop)
    saga = await harness.play(
        {"gift": False},
        [
            fails("reserve", ConnectionError("lost")),
            passes(),
            dies(),
            ends("reserve", "shelf 7"),
            fails("pay", Unknown("silence")),
            passes(),
            fails("pay", Unknown("silence")),
            ends("pay.probe", Probe.HAPPENED("paid")),
        ],
    )
    assert saga.state is SagaState.COMPLETED
    assert saga.steps["wrap"].state.value == "skipped"
    assert saga.results["pay"] == "paid"
    assert harness.calls == ["reserve", "reserve", "reserve", "pay", "pay", "was_paid"]
    assert harness.elapsed == 20
    assert harness.call_args("pay")["reserve"] == "shelf 7"
    check_log(Shop.definition, entries_of(harness.history))


def test_a_story_may_end_in_the_middle():
    harness = SagaTestHarness(Shop)
    saga = harness.play_sync({"gift": True}, [ends("reserve", "x"), asks("suspend", actor="ann", reason="lunch")])
    assert saga.suspended
    assert saga.steps["pay"].state.value == "running"


def test_an_abort_in_the_middle_of_a_call():
    saga = SagaTestHarness(Shop).play_sync(
        {"gift": True},
        [
            asks("abort", "no more"),
            ends("reserve", "x"),
            fails("reserve.compensation", RuntimeError),
            passes(),
            ends("reserve.compensation"),
        ],
    )
    assert saga.outcome == "aborted"


def test_conditions_answer_as_told():
    story = [ends("reserve", "x"), ends("pay", "y")]
    saga = SagaTestHarness(Shop).play_sync({"gift": True}, story, conditions={"wrap": False})
    assert saga.steps["wrap"].state.value == "skipped"
    saga = SagaTestHarness(Shop).play_sync({"gift": False}, story, conditions={"wrap": None})
    assert saga.steps["wrap"].state.value == "failed"
    assert saga.stuck


def test_sub_sagas_are_played_too():
    harness = SagaTestHarness(Trip)
    saga = harness.play_sync(
        {},
        [ends("Shop.reserve", "x"), fails("Shop.pay", Rejected("no")), ends("Shop.reserve.compensation")],
        inputs={"shop": {"gift": False}},
    )
    assert saga.outcome == "compensated"
    assert "no" in str(saga.error)


def test_time_passes_until_something_happens_or_for_so_long():
    story = [ends("Shop.reserve", "x"), ends("Shop.pay", "y"), passes(59)]
    harness = SagaTestHarness(Trip)
    saga = harness.play_sync({"order": {"gift": False}}, story)
    assert saga.waiting_for is not None
    assert harness.elapsed == 59
    saga = SagaTestHarness(Trip).play_sync({"order": {"gift": False}}, [*story, passes()])
    assert saga.steps["approval"].state.value == "failed"


def test_something_can_be_asked_of_a_sub_saga():
    story = [ends("Shop.reserve", "x"), asks("suspend", of="shop", actor="ann", reason="wait"), ends("Shop.pay", "y")]
    saga = SagaTestHarness(Trip).play_sync({"order": {"gift": False}}, [*story, asks("resume", of="shop")])
    assert saga.steps["shop"].state.value == "succeeded"


def test_a_cue_that_cannot_be_given_says_what_is_under_way():
    with pytest.raises(
        NotReached, match=r"cue 2, ends\('wrap'\), .* under way is pay \(told before: ends\('reserve'\)\)"
    ):
        SagaTestHarness(Shop).play_sync({"gift": True}, [ends("reserve", "x"), ends("wrap")])


def test_what_the_orchestrator_refuses_is_raised():
    story = [ends("reserve", "x"), ends("pay", "y"), asks("abort", "too late")]
    with pytest.raises(SagaFinished):
        SagaTestHarness(Shop).play_sync({"gift": False}, story)
