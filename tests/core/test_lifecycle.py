"""The tables are exhaustive, and every input is answered in every state."""

import itertools
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transitions import Machine, MachineError

from sagafsm.core import commands as c
from sagafsm.core import events as e
from sagafsm.core.decider import decide
from sagafsm.core.errors import InvalidInput, PastPivot, SagaFinished
from sagafsm.core.fold import FOLDS
from sagafsm.core.legality import SAGA_STATES
from sagafsm.core.lifecycle import (
    SAGA_MACHINE,
    SAGA_TABLE,
    STEP_MACHINE,
    STEP_TABLE,
    IllegalTransition,
    SagaState,
    StepState,
    move_saga,
    move_step,
)
from sagafsm.testing.laws import SAGA_MAY
from tests.core.hostility import run_through_everything
from tests.core.script import Script, step
from tests.core.strategies import Choices

SAGA_PAIRS = list(itertools.product(SagaState, sorted(SAGA_MACHINE.events)))
STEP_PAIRS = list(itertools.product(StepState, sorted(STEP_MACHINE.events)))


def named(value):
    return value if isinstance(value, str) else value.value


@pytest.mark.parametrize(("state", "trigger"), SAGA_PAIRS, ids=named)
def test_a_pair_of_saga_state_and_trigger_is_in_the_table_or_refused(state, trigger):
    if (state, trigger) in SAGA_TABLE:
        assert move_saga(state, trigger, "order-1") is SAGA_TABLE[state, trigger]
    else:
        with pytest.raises(IllegalTransition, match=rf"order-1.*'{trigger}'.*'{state.value}'"):
            move_saga(state, trigger, "order-1")


@pytest.mark.parametrize(("state", "trigger"), STEP_PAIRS, ids=named)
def test_a_pair_of_step_state_and_trigger_is_in_the_table_or_refused(state, trigger):
    if (state, trigger) in STEP_TABLE:
        assert move_step(state, trigger, "order-1", "charge") is STEP_TABLE[state, trigger]
    else:
        with pytest.raises(IllegalTransition, match=rf"order-1, step charge.*'{trigger}'.*'{state.value}'"):
            move_step(state, trigger, "order-1", "charge")


class Model:
    """What a machine of `transitions` moves."""


@pytest.mark.parametrize(
    ("declared", "table", "pairs"),
    [(SAGA_MACHINE, SAGA_TABLE, SAGA_PAIRS), (STEP_MACHINE, STEP_TABLE, STEP_PAIRS)],
    ids=["saga", "step"],
)
def test_the_compiled_table_does_what_the_machine_does(declared: Machine, table, pairs):
    for state, trigger in pairs:
        model = Model()
        declared.add_model(model, initial=state.name)
        try:
            model.trigger(trigger)
            led_to = type(state)[getattr(model.state, "name", model.state)]
        except MachineError:
            led_to = None
        finally:
            declared.remove_model(model)
        assert table.get((state, trigger)) is led_to, (state, trigger)


def test_every_event_has_a_fold_and_says_where_it_is_possible():
    assert set(FOLDS) == set(e.EVENT_TYPES.values()) - {e.SagaStarted}
    assert set(SAGA_STATES) == set(FOLDS)


def test_what_the_fold_refuses_and_what_the_checker_refuses_is_the_same():
    """Two tables, written one without the other."""
    for kind, states in SAGA_STATES.items():
        allowed = {state.value for state in states}
        # A step that begins, or fails to, makes a started saga pending; a saga that is only started cannot be stuck.
        assert SAGA_MAY[kind] <= allowed, kind
        assert allowed - SAGA_MAY[kind] <= {"started"}, kind


# --- every input in every state ---

FAILURE = e.Failure(type="Boom", message="it broke")


def every_input(names: list[str], calls: list[c.Call]) -> list[c.Input]:
    """Every kind of input, with every step it may be about, with right and wrong numbers."""
    steps = [*names, "nobody"]
    given: list[c.Input] = [c.Begin(), c.Tick(), c.TakenOver(), c.UndoAsked(cause=FAILURE)]
    given += [
        c.CallEnded(call=call, kind=kind, final=final) for call in calls for kind in c.OutcomeKind for final in (0, 1)
    ]
    given += [
        c.ReplyArrived(step=name, kind=kind, backward=backward, attempt=attempt)
        for name in steps
        for kind in c.OutcomeKind
        for backward in (False, True)
        for attempt in (None, 1, 7)
    ]
    given += [
        c.SignalArrived(name=name, message_id=known) for name in ("paper", "stone", "no") for known in (None, "m")
    ]
    given += [
        c.AbortAsked(reason="stop", actor=actor, cut=cut, compensate=compensate)
        for actor in (None, "ann")
        for cut in (False, True)
        for compensate in (False, True)
    ]
    given += [c.RetryAsked(actor="ann", reason=""), c.SuspendAsked(actor="ann", reason=""), c.ResumeAsked()]
    given += [c.SkipAsked(step=name, actor="ann", reason="") for name in steps]
    given += [c.ChildStuck(step=name, child_id=f"saga:{name}", reason="lost") for name in names]
    given += [c.ChildUnstuck(step=name, child_id=f"saga:{name}") for name in names]
    assert {type(one) for one in given} >= set(get_args(c.Input)) - {c.CallEnded}
    return given


@given(st.integers(0, 100_000), st.data())
@settings(max_examples=150, suppress_health_check=list(HealthCheck))
def test_every_state_takes_every_input(seed, data):
    """Wherever a saga may stand, an input is answered or refused with one of three errors; never anything else."""
    run = run_through_everything(Choices.of_seed(seed), ending=data.draw(st.booleans()))
    calls = [flight.call for flight in run.flights] + [ghost.call for ghost in run.ghosts]
    for given_ in every_input(list(run.definition.steps), calls):
        for advance in (True, False):
            try:
                decided = decide(run.definition, run.progress, given_, run.now + 1, run.surroundings, advance=advance)
            except (InvalidInput, PastPivot, SagaFinished):
                continue
            assert not (run.progress.state.terminal and decided.commands and not isinstance(given_, c.UndoAsked))


@pytest.mark.parametrize("given_", every_input(["a"], []), ids=lambda one: type(one).__name__)
def test_a_finished_saga_stays_as_it_is(given_):
    saga = Script(step("a")).begin().rejects("a")
    assert saga.state == "failed (compensated)"
    try:
        decided = decide(saga.definition, saga.progress, given_, 99.0, saga.surroundings)
    except (InvalidInput, SagaFinished):
        return
    assert (list(decided.events), list(decided.commands)) == ([], [])
