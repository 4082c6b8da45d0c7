"""How a function is called is read from its parameters; what could be meant in two ways is refused."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TypedDict
from unittest.mock import AsyncMock

import pytest

from sagafsm import DefinitionError, SagaDefinition, Step, StepContext, SubSaga

if TYPE_CHECKING:
    from nowhere import Missing


@dataclass
class Order:
    id: str


@dataclass
class Payment:
    id: str


async def charge(order: Order) -> Payment:
    return Payment(order.id)


async def nothing_of(): ...


def compiled(function, *, role="action", before=charge):
    """The handler of ``function`` in the role, in a step ``ship`` that comes after a step ``charge``."""
    options = {"compensatable": False}
    if role == "compensation":
        options = {"compensation": function}
    elif role != "action":
        options[role] = function
    if role == "probe":
        options["on_unknown"] = "probe"
    action = function if role == "action" else charge
    first = Step("charge", before, compensatable=False)
    ship = SagaDefinition(name="order", steps=[first, Step("ship", action, **options)]).steps["ship"]
    return getattr(ship, role)


def passed(function, **options):
    """What is passed: parameter → where from."""
    return {one.parameter: one.step or one.source for one in compiled(function, **options).arguments}


# --- which argument goes where ---


def test_the_first_parameter_is_the_input():
    assert passed(lambda order: None) == {"order": "input"}
    assert passed(lambda anything: None) == {"anything": "input"}


def test_a_parameter_named_after_an_earlier_step_is_its_result():
    assert passed(lambda order, charge: None) == {"order": "input", "charge": "charge"}


def test_ctx_is_the_context_wherever_it_stands():
    assert passed(lambda ctx: None) == {"ctx": "context"}
    assert passed(lambda ctx, order: None) == {"ctx": "context", "order": "input"}
    assert passed(lambda order, *, ctx: None) == {"order": "input", "ctx": "context"}


def test_so_is_a_parameter_annotated_with_it():
    async def ship(order: Order, context: StepContext): ...
    async def maybe(order: Order, context: StepContext | None): ...

    assert passed(ship) == passed(maybe) == {"order": "input", "context": "context"}


def test_a_type_that_only_mentions_the_context_is_not_it():
    async def ship(order: dict[str, StepContext]): ...

    refused("StepContext is no dataclass", ship)


def test_a_step_may_ask_for_nothing():
    assert passed(lambda: None) == {}


@pytest.mark.parametrize("role", ["fallback", "probe", "when"])
def test_fallbacks_probes_and_conditions_ask_like_an_action(role):
    assert passed(lambda order, charge: True, role=role) == {"order": "input", "charge": "charge"}


def test_the_second_parameter_of_a_compensation_is_what_its_action_returned():
    assert passed(lambda order, shipment: None, role="compensation") == {"order": "input", "shipment": "result"}


def test_a_compensation_may_ask_for_less_and_for_more():
    def undo(order, shipment, ctx, charge): ...

    assert passed(lambda: None, role="compensation") == {}
    assert passed(lambda order: None, role="compensation") == {"order": "input"}
    assert passed(lambda order, ctx: None, role="compensation") == {"order": "input", "ctx": "context"}
    assert passed(undo, role="compensation") == {
        "order": "input",
        "shipment": "result",
        "ctx": "context",
        "charge": "charge",
    }


def test_a_compensation_may_name_its_own_step_for_the_result():
    assert passed(lambda order, *, ship: None, role="compensation") == {"order": "input", "ship": "result"}


def test_a_parameter_with_a_default_that_names_nothing_is_left_alone():
    assert passed(lambda order, dry_run=False: None) == {"order": "input"}
    assert passed(lambda order, charge=None: None) == {"order": "input", "charge": "charge"}


def test_what_comes_after_it_is_passed_by_name():
    handler = compiled(lambda order, dry_run=False, charge=None: None)
    assert [(one.parameter, one.keyword_only) for one in handler.arguments] == [("order", False), ("charge", True)]


# --- what is refused ---


def refused(match, function, **options):
    with pytest.raises(DefinitionError, match=match) as caught:
        compiled(function, **options)
    assert "step 'ship' (" in str(caught.value)
    assert "test_signature.py:" in str(caught.value)


def test_a_name_that_nobody_can_supply():
    refused("asks for 'chrage', which nobody can supply.*did you mean 'charge'", lambda order, chrage: None)
    refused("It can have the saga's input .*, ctx, the results of the steps before it .charge.", lambda o, x: None)


def test_a_step_that_need_not_have_ended():
    def ask_for_later(order, ship): ...

    refused("'ship', which nobody can supply", ask_for_later)
    with pytest.raises(DefinitionError, match="'b' is a step, but not one that is certain to have ended"):
        SagaDefinition(
            name="order",
            steps=[Step("a", lambda order, b: None, compensatable=False), Step("b", nothing_of, compensatable=False)],
        )


def test_a_first_parameter_named_after_an_earlier_step():
    """It would silently receive the input in place of the result."""
    refused("takes 'charge' as its first parameter, which is the saga's input, but", lambda charge: None)


def test_a_second_parameter_of_a_compensation_named_after_an_earlier_step():
    refused("takes 'charge' as its second parameter", lambda order, charge: None, role="compensation")


def test_parameters_that_cannot_be_read_by_name():
    refused(r"takes \*args", lambda *args: None)
    refused(r"takes \*\*kwargs", lambda order, **kwargs: None)
    refused(r"takes \*args.*functools.wraps", AsyncMock())
    refused("parameters that cannot be read; call it from a function of your own", dict)


def test_a_positional_only_parameter_after_one_left_out():
    def ship(order, dry=False, charge=None, /): ...

    refused("takes 'charge' by position only", ship)


@pytest.mark.parametrize("not_a_function", [None, "charge", 3])
def test_what_cannot_be_called(not_a_function):
    refused("cannot be called; pass a function", not_a_function)


def test_a_call_in_place_of_the_function():
    coroutine = charge(Order("1"))
    refused("pass the function itself, without calling it", coroutine)
    coroutine.close()


def test_generators():
    def generator(order):
        yield

    async def async_generator(order):
        yield

    refused("is a generator", generator)
    refused("is a generator", async_generator)


def test_conditions_are_plain_functions_of_the_data():
    async def expensive(order): ...

    refused("is async, but when= takes a plain function of the data", expensive, role="when")
    child = SagaDefinition(name="child", steps=[Step("a", nothing_of, compensatable=False)])
    with pytest.raises(DefinitionError, match="is async, but data= takes a plain function"):
        SagaDefinition(name="order", steps=[SubSaga("child", child, data=expensive)])


# --- all kinds of functions ---


class Callable:
    async def __call__(self, order: Order) -> Payment: ...

    async def method(self, order: Order) -> Payment: ...

    @classmethod
    async def of_class(cls, order: Order) -> Payment: ...

    @staticmethod
    async def static(order: Order) -> Payment: ...


async def with_region(region: str, order: Order) -> Payment: ...


def logged(function):
    @functools.wraps(function)
    async def wrapper(*args, **kwargs):
        return await function(*args, **kwargs)

    return wrapper


@pytest.mark.parametrize(
    "function",
    [
        charge,
        Callable(),
        Callable().method,
        Callable.of_class,
        Callable.static,
        functools.partial(with_region, "eu"),
        functools.partial(functools.partial(with_region), "eu"),
        logged(charge),
        functools.partial(logged(with_region), "eu"),
    ],
    ids=["function", "object", "method", "classmethod", "staticmethod", "partial", "partial²", "wrapped", "both"],
)
def test_parameters_types_and_colour_are_read_through_every_wrapping(function):
    handler = compiled(function)
    assert [one.source for one in handler.arguments] == ["input"]
    assert (handler.input_type, handler.result_type, handler.is_async) == (Order, Payment, True)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (nothing_of, "nothing_of"),
        (functools.partial(nothing_of), "nothing_of"),
        (Callable(), "Callable"),
        (lambda: None, "ship.action"),
    ],
)
def test_a_handler_is_called_what_a_person_would_call_it(function, name):
    assert compiled(function).name == name


def test_a_sync_wrapper_of_an_async_function_counts_as_sync():
    """Nobody can tell whether it hands the coroutine on or runs it (as ``asyncio.run`` would); a thread suits both."""

    @functools.wraps(charge)
    def wrapper(order): ...

    assert compiled(wrapper).is_async is False


# --- types ---


def test_a_class_of_the_function_that_declares_is_found():
    @dataclass
    class Local:
        id: str

    async def ship(order: Local) -> Local: ...

    assert compiled(ship).input_type is Local
    assert compiled(ship).result_type is Local


def test_an_annotation_that_cannot_be_resolved_is_any_and_spoils_no_other():
    async def ship(order: Missing, charge: Payment, context: StepContext) -> Missing: ...

    handler = compiled(ship)
    assert (handler.input_type, handler.result_type) == (Any, Any)
    assert [one.source for one in handler.arguments] == ["input", "step", "context"]
    assert handler.arguments[1].type == Payment | None


def test_a_result_is_read_as_the_parameter_says_or_else_as_its_step_says():
    class Receipt(TypedDict):
        id: str

    def typed(order, charge: Receipt): ...

    assert compiled(typed).arguments[1].type == Receipt | None
    assert compiled(lambda order, charge: None).arguments[1].type == Payment | None
    assert compiled(lambda order, charge: None, before=nothing_of).arguments[1].type == Any


def test_the_result_of_a_step_with_two_kinds_of_results_is_plain_data():
    async def voucher(order) -> Receipt: ...

    steps = [
        Step("charge", charge, fallback=voucher, compensatable=False),
        Step("ship", lambda order, charge: None, compensatable=False),
    ]
    assert SagaDefinition(name="order", steps=steps).steps["ship"].action.arguments[1].type is Any


@dataclass
class Receipt:
    number: int


def test_object_and_no_return_say_nothing_about_the_data():
    async def ship(order: object) -> NoReturn: ...

    assert (compiled(ship).input_type, compiled(ship).result_type) == (Any, Any)


def test_a_reply_is_not_what_the_handing_over_returns():
    async def hand_over(order) -> None: ...

    steps = [Step("ask", hand_over, awaits_reply=True, compensatable=False)]
    assert SagaDefinition(name="order", steps=steps).steps["ask"].action.result_type is Any


class Session:
    """Something that is no data."""


def test_types_that_json_cannot_hold_are_refused_when_declared():
    async def opens(order) -> Session: ...
    async def takes(order: Session): ...
    async def asks(order, charge: Session): ...
    async def undecided(order) -> Order | Payment: ...

    refused("returns what cannot be stored as JSON: Session is no dataclass", opens)
    refused("takes 'order' as what cannot be read from JSON: Session", takes)
    refused("asks takes 'charge' as what cannot be read from JSON: Session", asks, before=nothing_of)
    refused("may not contain more than one dataclass", undecided)
    assert compiled(asks).arguments[1].type == Payment | None  # what the step returns is known, so it is read as that
