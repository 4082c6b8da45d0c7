"""What a definition may not say: every error names the step, its file and line, and a way out."""

import asyncio
import contextlib
import itertools
import re
import warnings

import attrs
import pytest

from sagafsm import (
    Compensation,
    DefinitionError,
    DefinitionWarning,
    Fallback,
    Parallel,
    Rejected,
    RetryPolicy,
    SagaDefinition,
    Sleep,
    Step,
    SubSaga,
    WaitFor,
)

HERE = r"test_validation\.py:\d+"


async def act(order): ...


async def undo(order, result): ...


async def probe(order): ...


def step(name="a", **options):
    return Step(name, act, **({"compensation": undo} | options))


def forward(name="a", **options):
    return Step(name, act, compensatable=False, **options)


def define(*items, **options):
    return SagaDefinition(**({"name": "order", "steps": list(items)} | options))


def refused(match, *items, **options):
    with pytest.raises(DefinitionError, match=match):
        define(*items, **options)


# --- the saga ---


@pytest.mark.parametrize("name", ["", "a b", "order@1", "a#b", "größe", "x" * 201, None, 3])
def test_a_saga_has_a_plain_name(name):
    refused(rf"saga .*{HERE}.*: a saga's name is 1 to 200 letters, digits", step(), name=name)


@pytest.mark.parametrize("version", [0, -1, True, "1", 1.0, None])
def test_a_version_is_a_whole_number_from_1_up(version):
    refused("version is a whole number from 1 up", step(), version=version)


def test_an_empty_saga_would_never_complete():
    refused(rf"saga 'order' \(.*{HERE}\): it has no steps")


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("deadline", 0, "above 0"),
        ("deadline", float("inf"), "finite"),
        ("deadline", "1h", "a number of seconds"),
        ("deadline", True, "a number of seconds"),
        ("retry", 3, r"RetryPolicy\(max_attempts=3\)"),
        ("compensation_retry", "often", "takes a RetryPolicy"),
        ("on_compensation_failure", "ignore", "'continue' or 'stick'"),
        ("parallel_compensation", 1, "True or False"),
        ("on_completed", "print", "a function of the finished saga"),
        ("input", asyncio.Queue, "its input cannot be stored as JSON: Queue"),
    ],
)
def test_options_of_a_saga(option, value, says):
    refused(f"{option.replace('input', 'its input')}.*{says.replace('its input ', '')}", step(), **{option: value})


# --- names and edges ---


@pytest.mark.parametrize("name", ["", "1st", "a-b", "a b", "größe", "x" * 101])
def test_a_step_has_a_name_that_can_be_a_parameter(name):
    refused(rf"step '{name}' \(.*{HERE}\): a step's name is 1 to 100 letters", step(name))


@pytest.mark.parametrize("name", ["ctx", "self"])
def test_names_that_parameters_need(name):
    refused(f"the name '{name}' is taken", step(name))


def test_two_steps_of_one_name_are_shown_with_both_places():
    refused(rf"two steps are called 'a', at .*{HERE} and at .*{HERE}; rename one", step("a"), Parallel(step("a")))


def test_an_unknown_name_gets_a_suggestion():
    refused(rf"step 'ship' \(.*{HERE}\): it comes after 'reserv', which is no step.*did you mean 'reserve'?",
            step("reserve"), step("ship", after="reserv"))  # fmt: skip
    refused("the steps are reserve, ship", step("reserve"), step("ship", after="zzz"))


def test_a_cycle_is_shown():
    refused(
        rf"step 'a' \(.*{HERE}\): the steps wait for each other in a circle: a → b → c → a; remove one after=",
        step("x"), step("a", after="c"), step("b"), step("c"),
    )  # fmt: skip
    refused("in a circle: a → a", step("a", after="a"))


def test_a_long_saga_is_no_problem():
    assert len(define(*(step(f"s{n}") for n in range(1500))).steps) == 1500


# --- what can be undone ---


def test_a_step_that_cannot_be_undone_says_so():
    refused(
        rf"step 'charge' \(.*{HERE}\): it has no compensation.*add one, or say compensatable=False",
        Step("charge", act),
    )
    assert define(Step("charge", act, compensatable=False))


def test_the_pivot_and_what_comes_after_it_needs_no_compensation():
    child = define(forward(pivot=True), name="child")
    assert define(step("a"), Step("b", act, pivot=True), Step("c", act), SubSaga("d", child))


def test_waits_and_sleeps_have_nothing_to_undo():
    assert define(WaitFor("a", signal="a"), Sleep("b", 1))


def test_one_point_of_no_return():
    refused(
        rf"more than one pivot: step 'a' \(.*{HERE}\) and step 'b' \(.*{HERE}\)",
        Step("a", act, pivot=True), Step("b", act, pivot=True),
    )  # fmt: skip


def test_nothing_runs_beside_the_pivot():
    beside = step("a", after=()), Step("b", act, pivot=True, after=())
    refused(
        rf"step 'a' \(.*{HERE}\) runs beside the pivot 'b'.*put it before \(b after a\) or after the pivot", *beside
    )
    refused("runs beside the pivot", step("x"), Parallel(step("a"), Step("b", act, pivot=True)))


def test_a_completed_sub_saga_with_a_pivot_cannot_be_undone():
    child = SagaDefinition(name="child", steps=[Step("go", act, pivot=True)])
    refused(r"step 'b' .*sub-saga 'child' has a pivot \(go\).*after this saga's pivot, or say compensatable=False",
            step("a"), SubSaga("b", child))  # fmt: skip
    refused("sub-saga 'child' has a pivot", SubSaga("b", child), Step("c", act, pivot=True))
    assert define(SubSaga("b", child, compensatable=False))
    assert define(Step("a", act, pivot=True), SubSaga("b", child))


def test_a_saga_is_not_its_own_child():
    child = SagaDefinition(name="order", steps=[step("go")])
    between = SagaDefinition(name="between", steps=[SubSaga("inner", child)])
    refused("contains itself: order → order", SubSaga("a", child))
    refused("contains itself: order → between → order", SubSaga("a", between))


@pytest.mark.parametrize("child", [None, "Shipping", act, int])
def test_a_sub_saga_is_a_saga(child):
    refused(rf"step 'a' \(.*{HERE}\): a sub-saga is a Saga class or a SagaDefinition", SubSaga("a", child))


# --- options of one step: their values ---


@pytest.mark.parametrize(
    ("item", "says"),
    [
        (step(timeout=0), "timeout is in seconds and must be above 0"),
        (step(timeout=float("nan")), "timeout is in seconds and must be above 0"),
        (step(timeout="5s"), "timeout is a number of seconds"),
        (step(retry=3), "retry takes a RetryPolicy, such as RetryPolicy.max_attempts=3."),
        (step(pivot="yes"), "pivot is True or False"),
        (step(compensatable=None), "compensatable is True or False"),
        (step(idempotent=0), "idempotent is True or False"),
        (step(awaits_reply=1), "awaits_reply is True or False"),
        (step(compensate_failed=1), "compensate_failed is True or False"),
        (step(on_unknown="retry"), "on_unknown is 'compensate', 'probe' or 'stick'"),
        (step(unknown_errors=[KeyboardInterrupt]), "unknown_errors takes subclasses of Exception"),
        (step(unknown_errors=["OSError"]), "unknown_errors takes subclasses of Exception"),
        (step(unknown_errors=3), "unknown_errors takes subclasses of Exception"),
        (step(unknown_errors=Rejected), "Rejected in it, which always means that it did not happen"),
        (step(idempotency_key=5), "idempotency_key is a template"),
        (step(idempotency_key="order-{id"), "idempotency_key: .*a single '{'"),
        (step(idempotency_key="order"), "idempotency_key 'order' is the same for every saga"),
        (step(compensation=Compensation(undo, retry=1)), "the compensation's retry takes a RetryPolicy"),
        (step(compensation=Compensation(undo, timeout=-1)), "the compensation's timeout is in seconds"),
        (step(compensation=Compensation(undo, awaits_reply="yes")), "the compensation's awaits_reply is True or False"),
        (step(fallback=Fallback(act, retry=1)), "the fallback's retry takes a RetryPolicy"),
        (step(fallback=Fallback(act, timeout=-1)), "the fallback's timeout is in seconds"),
        (
            step(fallback=Fallback(act, compensation=Compensation(undo, timeout=-1))),
            "fallback's compensation's timeout",
        ),
        (Sleep("a", 0), "seconds is in seconds and must be above 0"),
        (Sleep("a", None), "seconds is a number of seconds"),
        (WaitFor("a", signal=""), "a signal's name is"),
        (WaitFor("a", signal=3), "a signal's name is"),
        (WaitFor("a", signal="s", timeout=0), "timeout is in seconds"),
        (WaitFor("a", signal="s", on_timeout="skip"), "on_timeout is 'fail' or 'continue'"),
        (WaitFor("a", signal="s", on_timeout="continue"), "never applies without a timeout"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_options_of_a_step(item, says):
    refused(rf"step 'a' \(.*{HERE}\): .*{says}", item)


# --- options of one step: together ---

FALLBACK = Fallback(act, compensation=undo)
DEFINITE = RetryPolicy(non_retryable=OSError)

IMPOSSIBLE = [
    ({"compensatable": False}, "has a compensation and says compensatable=False"),
    ({"compensation": None, "compensatable": False, "fallback": FALLBACK}, "its fallback has a compensation, but"),
    ({"compensation": None, "compensatable": False, "compensate_failed": True}, "compensate_failed=True asks to undo"),
    ({"compensation": None, "compensate_failed": True}, "compensate_failed=True .* has no compensation"),
    ({"compensation": None, "pivot": True, "compensate_failed": True}, "compensate_failed=True .* has no compensation"),
    (
        {"compensation": None, "compensatable": False, "on_unknown": "compensate"},
        "on_unknown='compensate' asks to undo",
    ),
    ({"compensation": None, "pivot": True, "on_unknown": "compensate"}, "would undo this pivot when its outcome"),
    ({"on_unknown": "probe"}, "on_unknown='probe' has nobody to ask"),
    ({"compensation": None, "pivot": True, "on_unknown": "probe"}, "on_unknown='probe' has nobody to ask"),
    ({"unknown_errors": OSError, "retry": DEFINITE}, "also non_retryable"),
    ({"unknown_errors": ConnectionError, "retry": DEFINITE}, "also non_retryable"),
]

POSSIBLE = [
    {"idempotent": False, "retry": RetryPolicy(max_attempts=5)},  # a definite failure is still tried again
    {"awaits_reply": True, "timeout": 60},
    {"awaits_reply": True, "fallback": act},  # the fallback answers at once
    {"compensate_failed": True},
    {"probe": probe, "on_unknown": "probe"},
    {"fallback": FALLBACK},
    {"unknown_errors": [OSError, ValueError], "retry": RetryPolicy(non_retryable=KeyError)},
    {"pivot": True, "compensation": None, "awaits_reply": True, "when": lambda order: True},
    {"pivot": True, "on_unknown": "compensate"},
    {"pivot": True, "compensate_failed": True},
    {"idempotency_key": "{input.id}-a", "idempotent": False},
]


@pytest.mark.parametrize(("options", "says"), IMPOSSIBLE)
def test_impossible_pairs_are_refused(options, says):
    refused(rf"step 'a' \(.*{HERE}\): .*{says}", step(**options))


@pytest.mark.parametrize("options", POSSIBLE)
def test_possible_pairs_are_accepted(options):
    assert define(step(**options))


def test_a_definite_error_of_the_whole_saga_counts_too():
    with pytest.raises(DefinitionError, match=r"step 'a' .*OSError is in unknown_errors .* and non_retryable"):
        define(step(unknown_errors=OSError), retry=DEFINITE)


MATRIX = {
    "compensation": [None, undo],
    "compensatable": [True, False],
    "compensate_failed": [False, True],
    "probe": [None, probe],
    "fallback": [None, act, FALLBACK],
    "pivot": [False, True],
}


@pytest.mark.parametrize("after_pivot", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("on_unknown", [None, "compensate", "probe", "stick"])
def test_every_combination_is_refused_or_warned_of_or_works(on_unknown, after_pivot):
    """No option is accepted and then silently dropped, and no accepted step needs what it does not have."""
    before = [Step("p", act, pivot=True)] if after_pivot else []
    for row in itertools.product(*MATRIX.values()):
        options = dict(zip(MATRIX, row, strict=True)) | {"on_unknown": on_unknown}
        with warnings.catch_warnings(record=True) as caught, contextlib.suppress(DefinitionError):
            warnings.simplefilter("always", DefinitionWarning)
            check_accepted(define(*before, Step("a", act, **options)), options, after_pivot, caught)


def check_accepted(definition, options, after_pivot, warned):
    one = definition.steps["a"]
    undone = not after_pivot and one.compensatable
    if one.pivot:
        undone = one.on_unknown == "compensate" or one.compensate_failed
    undoes = one.compensation is not None or one.fallback_compensation is not None
    assert not undone or one.compensation is not None, options  # what is undone can be
    assert not undoes or undone or warned, options  # what can undo does, or is said to be useless
    assert options["on_unknown"] != "compensate" or undone or warned, options
    assert one.on_unknown != "probe" or one.probe is not None, options
    assert one.probe is None or one.on_unknown == "probe" or warned, options
    assert not one.compensate_failed or (one.compensation is not None and (undone or warned)), options


# --- what can have no effect ---


@pytest.mark.parametrize(
    ("items", "says"),
    [
        ([Step("p", act, pivot=True), step()], "'a': its compensation undo never runs, because the step comes after"),
        ([step(pivot=True)], "'a': its compensation undo never runs, because a pivot that succeeded is not undone"),
        ([step(pivot=True, compensation=None, fallback=FALLBACK)], "'a': its compensation undo never runs"),
        ([step(probe=probe)], "'a': its probe probe is never asked; say on_unknown='probe' or remove it"),
        ([Step("p", act, pivot=True), Step("a", act, on_unknown="compensate")], "no effect after the pivot"),
    ],
)
def test_what_has_no_effect_is_a_warning_at_its_line(items, says):
    with pytest.warns(DefinitionWarning, match=re.escape(says)) as caught:
        define(*items)
    assert caught[0].filename == __file__
    assert caught[0].lineno == int(items[-1].where.rpartition(":")[2])


def test_a_warning_is_given_once_and_not_again_for_every_copy():
    with pytest.warns(DefinitionWarning):
        definition = define(step(probe=probe))
    assert attrs.evolve(definition, version=2).version == 2
