"""The list form: items become the steps of a definition, in the order and with the edges that the list shows."""

import attrs
import pytest

from sagafsm import (
    Compensation,
    DefinitionError,
    Fallback,
    Parallel,
    RetryPolicy,
    SagaDefinition,
    Sequence,
    Sleep,
    Step,
    SubSaga,
    WaitFor,
)
from sagafsm.core.step import StepKind


async def act(order): ...


async def undo(order, result): ...


async def probe(order): ...


def step(name, **options):
    return Step(name, act, **({"compensation": undo} | options))


def define(*items, **options):
    return SagaDefinition(name="order", steps=list(items), **options)


def edges(definition):
    return {name: list(one.after) for name, one in definition.steps.items()}


# --- the graph ---


def test_every_step_follows_the_one_above():
    assert edges(define(step("a"), step("b"), step("c"))) == {"a": [], "b": ["a"], "c": ["b"]}


def test_parallel_items_start_together_and_the_next_item_waits_for_all():
    definition = define(step("a"), Parallel(step("b"), step("c")), step("d"))
    assert edges(definition) == {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}


def test_a_branch_of_several_steps_is_a_sequence():
    definition = define(Parallel(step("a"), Sequence(step("b"), step("c"))), step("d"))
    assert edges(definition) == {"a": [], "b": [], "c": ["b"], "d": ["a", "c"]}


def test_groups_nest():
    inner = Parallel(step("c"), Sequence(step("d"), Parallel(step("e"), step("f"))))
    definition = define(step("a"), Parallel(Sequence(step("b"), inner), step("g")), step("h"))
    assert edges(definition)["c"] == ["b"]
    assert edges(definition)["e"] == edges(definition)["f"] == ["d"]
    assert edges(definition)["h"] == ["c", "e", "f", "g"]


@pytest.mark.parametrize("after", ["a", ["a"], step("a"), (step("a"), "a")], ids=["name", "list", "step", "both"])
def test_after_overrides_the_place_in_the_list(after):
    assert edges(define(step("a"), step("b"), step("c", after=after)))["c"] == ["a"]


def test_after_nothing_starts_at_once():
    assert edges(define(step("a"), step("b", after=()), step("c"))) == {"a": [], "b": [], "c": ["b"]}


def test_after_several_waits_for_all_of_them():
    definition = define(step("a"), step("b", after=()), step("c", after=["a", "b"]))
    assert edges(definition)["c"] == ["a", "b"]


@pytest.mark.parametrize("after", [3, [None], act, [Parallel(step("x"))]])
def test_after_takes_steps_and_names_only(after):
    with pytest.raises(DefinitionError, match=r"step 'b' \(.*test_declaration.py:\d+\): after= takes a step"):
        define(step("a"), step("b", after=after))


@pytest.mark.parametrize("group", [Parallel, Sequence])
def test_a_group_without_steps_is_refused(group):
    with pytest.raises(DefinitionError, match=rf"{group.__name__}\(\) at .*test_declaration.py:\d+ has no steps"):
        define(step("a"), group())


@pytest.mark.parametrize("item", [act, "a", None, [Step("a", act)], {"name": "a"}])
def test_an_item_is_one_of_the_six_kinds(item):
    with pytest.raises(DefinitionError, match="the list takes Step, Parallel, Sequence, WaitFor, Sleep and SubSaga"):
        define(item)


@pytest.mark.parametrize("steps", ["abc", 3, None])
def test_steps_is_a_list(steps):
    with pytest.raises(DefinitionError, match="takes a list of"):
        SagaDefinition(name="order", steps=steps)


def test_a_name_comes_first():
    with pytest.raises(DefinitionError, match="its name comes first"):
        define(Step(act, act))


# --- what an item says, the engine finds ---


def test_a_step_that_calls_a_function():
    often, seldom = RetryPolicy(max_attempts=9), RetryPolicy.none()
    definition = define(
        Step(
            "charge",
            act,
            compensation=Compensation(undo, retry=often, timeout=5, awaits_reply=True),
            fallback=Fallback(act, compensation=undo, retry=seldom, timeout=6),
            probe=probe,
            when=lambda order: order["total"] > 100,
            retry=seldom,
            timeout=7,
            on_unknown="probe",
            idempotent=False,
            compensate_failed=True,
            idempotency_key="order-{id}",
            unknown_errors=OSError,
            awaits_reply=True,
        )
    )
    charge = definition.steps["charge"]
    assert (charge.action.retry, charge.action.timeout, charge.action.awaits_reply) == (seldom, 7, True)
    assert (charge.compensation.retry, charge.compensation.timeout, charge.compensation.awaits_reply) == (
        often,
        5,
        True,
    )
    assert (charge.fallback.retry, charge.fallback.timeout, charge.fallback.awaits_reply) == (seldom, 6, False)
    assert charge.fallback_compensation.function is undo
    assert charge.probe.function is probe
    assert charge.when.function({"total": 101})
    assert (charge.on_unknown, charge.idempotent, charge.compensate_failed) == ("probe", False, True)
    assert (charge.idempotency_key, charge.unknown_errors) == ("order-{id}", (OSError,))


def test_steps_that_wait():
    child = SagaDefinition(name="shipping", steps=[step("pack")])
    definition = define(
        WaitFor("approval", signal="approved", timeout=60, on_timeout="continue"),
        Sleep("cooling_off", 3600),
        SubSaga("shipping", child, data=lambda order, approval: {"by": approval}, compensatable=False),
    )
    approval, cooling_off, shipping = definition.steps.values()
    assert (approval.kind, approval.signal, approval.seconds) == (StepKind.SIGNAL, "approved", 60)
    assert approval.on_timeout == "continue"
    assert (cooling_off.kind, cooling_off.seconds) == (StepKind.SLEEP, 3600)
    assert (shipping.kind, shipping.child, shipping.compensatable) == (StepKind.CHILD, child, False)
    assert [argument.source for argument in shipping.child_data.arguments] == ["input", "step"]


@pytest.mark.parametrize(
    ("options", "settled"),
    [
        ({}, "compensate"),
        ({"probe": probe, "on_unknown": "probe"}, "probe"),
        ({"on_unknown": "stick"}, "stick"),
        ({"pivot": True, "compensation": None}, "stick"),
        ({"pivot": True, "compensation": None, "probe": probe}, "probe"),
        ({"pivot": True, "on_unknown": "compensate"}, "compensate"),
    ],
)
def test_what_follows_an_unknown_outcome_is_settled_when_built(options, settled):
    assert define(step("a", **options)).steps["a"].on_unknown == settled


def test_places_are_those_of_the_caller():
    definition = define(step("a"), Sleep("b", 1))
    assert "test_declaration.py:" in definition.where
    assert all("test_declaration.py:" in one.where for one in definition.steps.values())


# --- definitions are values ---


def test_a_definition_cannot_be_changed():
    definition = define(step("a"))
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        definition.version = 2
    with pytest.raises(TypeError):
        definition.steps["b"] = definition.steps["a"]


def test_a_copy_keeps_its_steps():
    definition = define(step("a"), retry=None)
    other = definition.with_defaults(RetryPolicy.none(), None)
    assert other.steps is definition.steps
    assert other.fingerprint == definition.fingerprint


def test_the_fingerprint_is_of_the_shape_and_not_of_the_functions():
    async def other(order): ...

    assert define(step("a")).fingerprint == define(Step("a", other, compensation=undo, timeout=3)).fingerprint
    assert define(step("a")).fingerprint != define(step("a", compensate_failed=True)).fingerprint
    assert define(step("a"), step("b")).fingerprint != define(step("a"), step("b", after=())).fingerprint
