"""What users are given to prove their own sagas, each on a saga that is right and on one with a planted mistake."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sagafsm import InvalidInput, Saga, StepContext, step
from sagafsm.testing import (
    EffectLedger,
    NotReached,
    SimulationFailed,
    crash_test,
    fail_at_every_step,
    repeat_every_step,
    simulate,
)
from tests.simulation import planted
from tests.simulation.planted import WORLD, ledger

GOOD = planted.good()
GIVEN = {"before": WORLD.new}


def by_chance(saga, **options):
    return simulate(saga, {}, kept_in=None, ledger=ledger(), **{"runs": 300} | GIVEN | options).check()


# --- a saga that is right ---


def test_a_good_saga_survives_all_of_it():
    assert by_chance(GOOD, late_effects=True, sagas=2).runs == 300
    failing = fail_at_every_step(GOOD, {}, ledger=ledger(), **GIVEN)
    assert failing.never_called == []
    # Four ways for each of three actions, two for each of two compensations.
    assert failing.runs == 16
    repeating = repeat_every_step(GOOD, {}, ledger=ledger(), **GIVEN)
    assert repeating.runs == 7


SEEN = []


@crash_test(GOOD, {"n": 1}, ledger=ledger(), **GIVEN)
def test_a_good_saga_survives_a_crash_at_every_moment(saga):
    assert saga.data == {"n": 1}
    SEEN.append((saga.state.value, saga.outcome))


def test_after_every_crash_it_was_called():
    SEEN.clear()
    test_a_good_saga_survives_a_crash_at_every_moment()
    assert len(SEEN) > 100
    assert SEEN.count(("completed", None)) > 50
    assert SEEN.count(("failed", "compensated")) > 50


# --- planted mistakes ---


@pytest.mark.parametrize(
    ("saga", "options", "says"),
    [
        (planted.forgets, {"runs": 2_500}, "0 'stock' should be left when all is over, but 1 are counted"),
        (planted.does_nothing, {}, "0 'stock' should be left when all is over, but 1 are counted"),
        (planted.counts_calls, {}, "1 'stock' should be left when all is over, but 2 are counted"),
        (planted.no_tombstone, {"late_effects": True, "runs": 1_500}, "0 'stock' should be left .* but 1 are counted"),
        (planted.wrong_order, {}, "ship: shipped, and nobody has paid"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_simulate_finds(saga, options, says):
    with pytest.raises(SimulationFailed, match=says):
        by_chance(saga(), **options)


@pytest.mark.parametrize("saga", [planted.forgets, planted.does_nothing, planted.wrong_order])
def test_failing_at_every_step_finds(saga):
    with pytest.raises(SimulationFailed) as failure:
        fail_at_every_step(saga(), {}, ledger=ledger(), **GIVEN)
    assert "meant: {'Order." in str(failure.value) or saga is planted.wrong_order


@pytest.mark.parametrize("saga", [planted.counts_calls, planted.takes_twice_back])
def test_repeating_every_step_finds(saga):
    with pytest.raises(SimulationFailed):
        repeat_every_step(saga(), {}, ledger=ledger(), **GIVEN)


@pytest.mark.parametrize("saga", [planted.does_nothing, planted.counts_calls])
def test_crashing_at_every_moment_finds(saga):
    @crash_test(saga(), {}, ledger=ledger(), **GIVEN)
    def test(saga): ...

    with pytest.raises(SimulationFailed):
        test()


def test_what_the_decorated_function_asserts_counts():
    @crash_test(planted.counts_calls(), {}, **GIVEN)
    def test(saga):
        assert WORLD.held == (saga.state.value == "completed"), f"{WORLD.held} are held"

    with pytest.raises(SimulationFailed, match="what must be true: 2 are held"):
        test()


@pytest.mark.parametrize("prove", [fail_at_every_step, repeat_every_step])
def test_a_run_of_these_is_played_again_alone(prove, monkeypatch):
    saga = planted.does_nothing()
    with pytest.raises(SimulationFailed) as failure:
        prove(saga, {}, ledger=ledger(), **GIVEN)
    case = str(failure.value.case)
    assert f"--sagafsm-replay={case}" in str(failure.value)
    monkeypatch.setenv("SAGAFSM_TEST_REPLAY", case)
    with pytest.raises(SimulationFailed, match="stock") as again:
        prove(saga, {}, ledger=ledger(), **GIVEN)
    assert str(again.value.case) == case
    assert prove(GOOD, {}, ledger=ledger(), **GIVEN).runs == 1


def test_a_crash_is_played_again_alone(monkeypatch):
    @crash_test(planted.counts_calls(), {}, ledger=ledger(), **GIVEN)
    def test(saga): ...

    with pytest.raises(SimulationFailed) as failure:
        test()
    monkeypatch.setenv("SAGAFSM_TEST_REPLAY", str(failure.value.case))
    with pytest.raises(SimulationFailed, match="but 2 are counted"):
        test()


@given(st.fixed_dictionaries({"item": st.text(max_size=5), "count": st.integers(1, 9)}))
@settings(max_examples=5, deadline=None)
def test_any_order_with_hypothesis(order):
    assert simulate(GOOD, order, runs=5, kept_in=None, ledger=ledger(), **GIVEN).check().runs == 5


# --- what was meant to go wrong did ---


class Gift(Saga[dict]):
    @step(compensatable=False, when=lambda order: order["gift"])
    async def wrap(self, order: dict) -> None: ...

    @step(compensatable=False)
    async def ship(self, order: dict, ctx: StepContext) -> None: ...


def test_a_step_that_was_never_called_did_not_fail():
    with pytest.raises(NotReached, match=r"Gift\.wrap\.action was to fail and was never called .*Gift\.ship\.action"):
        fail_at_every_step(Gift, {"gift": False})
    with pytest.raises(NotReached, match=r"Gift\.wrap\.action"):
        repeat_every_step(Gift, {"gift": False})
    assert fail_at_every_step(Gift, {"gift": False}, without=["wrap"]).runs == 4
    assert fail_at_every_step(Gift, {"gift": True}).runs == 8


def test_a_call_that_was_never_made_again_was_not_repeated():
    class Once(Saga[dict]):
        @step(compensatable=False)
        async def ship(self, order: dict, ctx: StepContext) -> None: ...

    assert repeat_every_step(Once, {}).runs == 1

    class Never(Saga[dict]):
        @step(compensatable=False, idempotent=False)
        async def ship(self, order: dict, ctx: StepContext) -> None: ...

    with pytest.raises(InvalidInput, match="nothing would be tested"):
        repeat_every_step(Never, {})


def test_fallbacks_and_their_compensations_have_their_turn():
    done = []

    class Pays(Saga[dict]):
        @step
        async def by_card(self, order: dict) -> None: ...

        @by_card.fallback
        async def by_bill(self, order: dict) -> None:
            done.append("bill")

        @by_bill.compensation
        async def tear_up(self, order: dict, result: None) -> None:
            done.append("torn")

        @by_card.compensation
        async def refund(self, order: dict, result: None) -> None: ...

        @step(compensatable=False)
        async def ship(self, order: dict) -> None: ...

    assert fail_at_every_step(Pays, {}).never_called == []
    assert {"bill", "torn"} <= set(done)
    assert repeat_every_step(Pays, {}).never_called == []


# --- small things ---


def test_a_step_that_is_not_there_cannot_be_left_out():
    with pytest.raises(InvalidInput, match="no step is called 'wrp'; there are: ship, wrap"):
        fail_at_every_step(Gift, {"gift": True}, without=["wrp"])


def test_a_crash_test_takes_a_plain_function_that_takes_a_saga():
    with pytest.raises(InvalidInput, match="drop the async"):

        @crash_test(Gift, {"gift": True})
        async def waits(saga): ...

    with pytest.raises(InvalidInput, match="is given the saga"):

        @crash_test(Gift, {"gift": True})
        def takes_nothing(): ...


@pytest.fixture
def noted():
    return []


class TestInAClass:
    @crash_test(Gift, {"gift": True})
    def test_fixtures_and_self_are_handed_on(self, saga, noted):
        assert isinstance(self, TestInAClass)
        assert saga.state.terminal
        noted.append(saga)


def test_what_is_counted_must_be_added():
    with pytest.raises(InvalidInput, match="'parcels' is counted, and no function adds it"):
        simulate(Gift, {"gift": True}, ledger=EffectLedger().counts("parcels", int))
    with pytest.raises(InvalidInput, match="takes a function that counts"):
        EffectLedger().counts("parcels", 3)
