"""``simulate`` on a user's own saga, with real functions: what holds is proved, and what does not is found."""

import asyncio
import re

import pytest

from sagafsm import InvalidInput, Rejected, Saga, StepContext, step, wait_for
from sagafsm.testing import EffectLedger, SimulationFailed, simulate

RUNS = 150


class Shelf:
    """A service that honours keys, and refuses what was cancelled before it came."""

    def __init__(self):
        self.taken = {}

    def take(self, key):
        if self.taken.setdefault(key, "taken") == "cancelled":
            raise Rejected("cancelled before")

    def put_back(self, key):
        self.taken[key] = "cancelled"

    @property
    def count(self):
        return sum(state == "taken" for state in self.taken.values())


SHELF = Shelf()


class Order(Saga[dict]):
    @step
    async def reserve(self, order: dict, ctx: StepContext) -> str:
        SHELF.take(ctx.idempotency_key)
        await asyncio.sleep(0.1)
        return "reserved"

    @reserve.compensation
    async def release(self, order: dict, reserved: str | None, ctx: StepContext) -> None:
        SHELF.put_back(ctx.action_key)

    @step(compensatable=False)
    def ship(self, order: dict, reserve: str) -> str:
        assert reserve == "reserved"
        return "shipped"


def new_shelf():
    SHELF.taken.clear()


def shelf_and_sagas_agree(sagas):
    if any(saga.outcome == "forced" for saga in sagas.values()):
        return  # a person has decided that something stays
    expected = sum(saga.state.value == "completed" for saga in sagas.values())
    assert SHELF.count == expected, f"{SHELF.count} on the shelf, {expected} expected"


def check(saga, **options):
    return simulate(saga, {"n": 1}, kept_in=None, **{"runs": RUNS} | options).check()


def test_a_saga_that_holds():
    report = check(Order, before=new_shelf, after=shelf_and_sagas_agree, late_effects=True)
    assert report.runs == RUNS
    assert report.reached["completed"] > 10
    assert report.reached["failed compensated"] > 0  # how often is a matter of chance
    assert report.never_called == []
    assert "none broke anything" in str(report)


async def test_a_test_that_has_an_event_loop_may_simulate_too():
    assert check(Order, before=new_shelf, runs=5).runs == 5


def test_several_sagas_at_once():
    report = check(Order, before=new_shelf, after=shelf_and_sagas_agree, sagas=3, runs=40)
    assert report.runs == 40


def test_a_ledger_in_three_lines():
    ledger = EffectLedger()
    ledger.adds("stock", "reserve")
    ledger.removes("stock", "release")
    check(Order, before=new_shelf, ledger=ledger)


class Forgets(Saga[dict]):
    """Somebody took the mail for something that need not be undone."""

    @step(compensatable=False)
    async def promise(self, order: dict) -> None: ...

    @step(compensatable=False)
    async def ship(self, order: dict) -> None: ...


def test_the_ledger_finds_what_is_not_undone():
    ledger = EffectLedger().adds("promise", "promise")
    with pytest.raises(SimulationFailed, match="should leave 0 'promise', but 1 stand in the ledger") as failure:
        check(Forgets, ledger=ledger)
    assert failure.value.law == "C1 net effect"


def test_a_ledger_of_functions_that_nobody_has_is_refused():
    with pytest.raises(InvalidInput, match="no function of the saga is called 'reserv'; there are: release, reserve"):
        simulate(Order, {}, ledger=EffectLedger().adds("stock", "reserv"))
    with pytest.raises(InvalidInput, match="say which functions"):
        EffectLedger().adds("stock")


class CountsCalls(Saga[dict]):
    """It takes another one for each call, whatever its key."""

    @step
    async def reserve(self, order: dict, ctx: StepContext) -> None:
        SHELF.taken[f"{ctx.idempotency_key} {len(SHELF.taken)}"] = "taken"

    @reserve.compensation
    async def release(self, order: dict, result: None, ctx: StepContext) -> None:
        SHELF.taken = {key: state for key, state in SHELF.taken.items() if not key.startswith(ctx.action_key)}

    @step(compensatable=False)
    async def ship(self, order: dict) -> None: ...


def test_a_step_that_does_not_honour_its_key_is_found_and_its_run_plays_again():
    options = {"before": new_shelf, "after": shelf_and_sagas_agree}
    with pytest.raises(SimulationFailed, match="2 on the shelf, 1 expected") as failure:
        check(CountsCalls, **options)
    text = str(failure.value)
    assert re.search(r"call +saga=saga-1 step=reserve", text)
    assert "play it again: pytest " in text
    assert f"--sagafsm-replay={failure.value.case}" in text
    with pytest.raises(SimulationFailed, match="2 on the shelf, 1 expected"):
        simulate(CountsCalls, {"n": 1}, kept_in=None, **options).replay(str(failure.value.case))


def test_a_failure_is_kept_and_played_first_from_then_on(tmp_path):
    options = {"before": new_shelf, "after": shelf_and_sagas_agree, "kept_in": tmp_path}
    with pytest.raises(SimulationFailed, match="kept in"):
        simulate(CountsCalls, {"n": 1}, runs=RUNS, **options).check()
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(SimulationFailed):
        simulate(CountsCalls, {"n": 1}, runs=0, **options).check()


def test_one_run_may_be_named_from_outside(monkeypatch):
    with pytest.raises(SimulationFailed) as failure:
        check(CountsCalls, before=new_shelf, after=shelf_and_sagas_agree)
    monkeypatch.setenv("SAGAFSM_TEST_REPLAY", str(failure.value.case))
    with pytest.raises(SimulationFailed, match="2 on the shelf, 1 expected"):
        check(CountsCalls, before=new_shelf, after=shelf_and_sagas_agree, runs=0)
    monkeypatch.setenv("SAGAFSM_TEST_REPLAY", "")
    monkeypatch.setenv("SAGAFSM_TEST_RUNS", "7")
    assert check(Order, before=new_shelf).runs == 7
    monkeypatch.setenv("SAGAFSM_TEST_RUNS", "many")
    with pytest.raises(InvalidInput, match="SAGAFSM_TEST_RUNS is a number of runs, not 'many'"):
        check(Order, before=new_shelf)


class Waits(Saga[dict]):
    @step
    async def reserve(self, order: dict) -> None: ...

    @reserve.compensation
    async def release(self, order: dict, result: None) -> None: ...

    approval = wait_for("approval", timeout=60)

    @step(awaits_reply=True, compensatable=False)
    async def quote(self, order: dict, approval: str | None) -> int: ...

    @step(compensatable=False)
    async def ship(self, order: dict, quote: int) -> None:
        assert quote == 7


def test_signals_and_replies_are_sent():
    report = check(Waits, signals={"approval": "yes"}, replies={"quote": 7}, runs=60)
    assert report.reached["completed"] > 3


def test_runs_that_get_nowhere_prove_nothing():
    with pytest.raises(AssertionError, match="no run of 200 completed the saga"):
        check(Waits, replies={"quote": 7}, runs=200)


def test_a_fault_that_nobody_knows_is_refused():
    with pytest.raises(InvalidInput, match="'crashes' is no fault; there are: commit before"):
        simulate(Order, without=["crashes"])


def test_faults_may_be_left_out():
    report = check(Order, before=new_shelf, without=["crash", "freeze", "abort"], runs=60)
    assert not {"crash", "freeze", "an abort was accepted"} & set(report.reached)
