"""The class form: another way to write the list form, checked when the class is created."""

from __future__ import annotations

import asyncio
import functools
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import pytest

from sagafsm import (
    DefinitionError,
    DefinitionWarning,
    Fallback,
    Probe,
    RetryPolicy,
    Saga,
    SagaDefinition,
    Sleep,
    Step,
    StepContext,
    SubSaga,
    WaitFor,
    sleep,
    step,
    subsaga,
    wait_for,
)
from sagafsm.declare import definition_of

OFTEN = RetryPolicy(max_attempts=9)


@dataclass
class Order:
    id: str
    total: int = 1


@dataclass
class Payment:
    id: str


class Shipping(Saga[Order]):
    @step(compensatable=False)
    async def pack(self, order: Order) -> None: ...


class OrderFulfillment(Saga[Order]):
    """Reserve, charge, ship.

    In that order.
    """

    name = "order"
    version = 3
    deadline = 3600
    retry = OFTEN
    parallel_compensation = True

    @step(timeout=30)
    async def reserve(self, order: Order, ctx: StepContext) -> str:
        return f"reserved {order.id}"

    @reserve.compensation(retry=OFTEN, timeout=5)
    async def release(self, order: Order, reservation: str | None) -> str:
        return f"released {reservation}"

    @step
    def charge(self, order: Order) -> Payment:
        return Payment(order.id)

    @charge.compensation
    def refund(self, order: Order, payment: Payment | None, ctx: StepContext) -> None: ...

    @charge.fallback(timeout=7)
    async def charge_backup(self, order: Order) -> Payment:
        return Payment(f"backup {order.id}")

    @charge_backup.compensation
    async def refund_backup(self, order: Order, payment: Payment | None) -> None: ...

    approval = wait_for("approved", timeout=60, when=lambda order: order.total > 100)
    cooling_off = sleep(3600)
    shipping = subsaga(Shipping, data=lambda order, charge: {"id": charge.id})

    @step(pivot=True)
    async def ship(self, order: Order, charge: Payment) -> None: ...

    @ship.probe
    async def was_shipped(self, order: Order) -> Any:
        return Probe.STILL_UNKNOWN

    def on_completed(self, saga: Any) -> str:
        return f"completed {saga}"


DEFINITION = OrderFulfillment.definition


def refused(match, build):
    with pytest.raises(DefinitionError, match=match):
        build()


def edges(saga):
    return {name: list(one.after) for name, one in saga.definition.steps.items()}


# --- a class is a definition ---


def test_the_attributes_of_the_class():
    assert (DEFINITION.name, DEFINITION.version, DEFINITION.deadline) == ("order", 3, 3600)
    assert (DEFINITION.retry, DEFINITION.parallel_compensation, DEFINITION.input) == (OFTEN, True, Order)
    assert DEFINITION.description == "Reserve, charge, ship.\n\nIn that order."
    assert DEFINITION.on_completed("x") == "completed x"
    assert DEFINITION.on_failed is None


def test_it_is_the_same_definition_as_the_list_form_gives():
    def function(order): ...

    def undo(order, result): ...

    listed = SagaDefinition(
        name="order",
        version=3,
        deadline=3600,
        retry=OFTEN,
        parallel_compensation=True,
        steps=[
            Step("reserve", function, compensation=undo),
            Step("charge", function, compensation=undo, fallback=Fallback(function, compensation=undo)),
            WaitFor("approval", signal="approved", when=lambda order: True),
            Sleep("cooling_off", 3600),
            SubSaga("shipping", Shipping),
            Step("ship", function, pivot=True, probe=function),
        ],
    )
    assert listed.kind == DEFINITION.kind


def test_each_part_belongs_to_its_step():
    reserve, charge, approval, cooling_off, shipping, ship = DEFINITION.steps.values()
    assert (reserve.action.name, reserve.action.timeout, reserve.action.is_async) == ("reserve", 30, True)
    assert (reserve.compensation.name, reserve.compensation.retry, reserve.compensation.timeout) == (
        "release",
        OFTEN,
        5,
    )
    assert (charge.action.is_async, charge.action.result_type) == (False, Payment)
    assert (charge.fallback.name, charge.fallback.timeout) == ("charge_backup", 7)
    assert charge.fallback_compensation.name == "refund_backup"
    assert (approval.signal, approval.seconds, cooling_off.seconds) == ("approved", 60, 3600)
    assert (shipping.child, shipping.child_data.arguments[1].step) == (Shipping.definition, "charge")
    assert (ship.pivot, ship.probe.name, ship.on_unknown) == (True, "was_shipped", "probe")


def test_functions_are_bound():
    order = Order("1", total=200)
    assert DEFINITION.steps["charge"].action.function(order) == Payment("1")
    assert asyncio.run(DEFINITION.steps["reserve"].compensation.function(order, "r")) == "released r"
    assert DEFINITION.steps["approval"].when.function(order)


def test_a_method_can_be_called_by_hand():
    saga = OrderFulfillment()
    assert saga.charge(Order("1")) == OrderFulfillment.charge(saga, Order("1")) == Payment("1")
    assert asyncio.run(saga.release(Order("1"), "r")) == "released r"
    assert asyncio.run(saga.charge_backup(Order("1"))) == Payment("backup 1")
    assert OrderFulfillment.charge.__name__ == "charge"


def test_errors_and_warnings_show_the_line_of_the_method():
    def build():
        class Bad(Saga[Order]):
            @step
            async def charge(self, order: Order): ...

    with pytest.raises(DefinitionError, match=r"step 'charge' \(.*test_declare\.py:(\d+)\)") as caught:
        build()
    line = build.__code__.co_firstlineno + 2
    assert f"test_declare.py:{line})" in str(caught.value)


def test_a_warning_too():
    with pytest.warns(DefinitionWarning, match="its probe asks is never asked") as caught:

        class Unasked(Saga[Order]):
            @step(compensatable=False)
            async def charge(self, order: Order): ...

            @charge.probe
            async def asks(self, order: Order): ...

    assert caught[0].filename == __file__


# --- after ---


def test_after_takes_steps_names_and_several():
    class Graph(Saga[Order]):
        @step(compensatable=False)
        async def a(self, order): ...

        @step(after=(), compensatable=False)
        async def b(self, order): ...

        pause = sleep(1, after=a)

        @step(after=[a, "b", pause], compensatable=False)
        async def c(self, order): ...

        @step(name="dee", after="b", compensatable=False)
        async def d(self, order): ...

        @step(after=d, compensatable=False)
        async def e(self, order): ...

    assert edges(Graph) == {"a": [], "b": [], "pause": ["a"], "c": ["a", "b", "pause"], "dee": ["b"], "e": ["dee"]}


def test_after_takes_nothing_else():
    def build():
        class Bad(Saga[Order]):
            @step(compensatable=False, after=OrderFulfillment.ship)
            async def a(self, order): ...

    refused("Bad: after= takes a step of this class, a name, or several", build)


# --- inheritance ---


class Base(Saga[Order], abstract=True):
    @step
    async def first(self, order: Order) -> str:
        return "base"

    @first.compensation
    async def undo_first(self, order: Order, result: str) -> str:
        return "base"

    @step(after=first, compensatable=False)
    async def second(self, order: Order) -> str:
        return "base"


def test_steps_are_inherited_and_new_ones_follow():
    class Derived(Base):
        @step(compensatable=False)
        async def third(self, order: Order): ...

    assert edges(Derived) == {"first": [], "second": ["first"], "third": ["second"]}
    assert Derived.definition.name == "Derived"


def test_a_method_overrides_the_function_and_keeps_the_declaration():
    class Derived(Base):
        async def first(self, order: Order) -> str:
            return "derived"

        async def undo_first(self, order: Order, result: str) -> str:
            return "undone by derived"

    first = Derived.definition.steps["first"]
    assert asyncio.run(first.action.function(Order("1"))) == "derived"
    assert asyncio.run(first.compensation.function(Order("1"), "")) == "undone by derived"


def test_a_step_overrides_the_declaration_and_keeps_the_place():
    class Derived(Base):
        @step(compensatable=False, timeout=4)
        async def first(self, order: Order) -> str:
            return "derived"

    assert edges(Derived) == {"first": [], "second": ["first"]}
    assert Derived.definition.steps["first"].action.timeout == 4
    assert Derived.definition.steps["first"].compensation is None


def test_a_step_is_no_longer_open_once_its_class_is_complete():
    """Adding to it in a subclass would change the class that it was taken from."""

    def build():
        class Derived(Shipping):
            @Shipping.pack.compensation
            async def unpack(self, order: Order, result: None): ...

    refused("step 'pack' .* belongs to Shipping, which is complete", build)
    assert Shipping.definition.steps["pack"].compensation is None


def test_a_step_cannot_be_replaced_by_a_value():
    def build():
        class Derived(Base):
            first = None

    refused(r"Derived.first replaces the step of that name .* with None", build)


def test_an_abstract_step_must_be_overridden():
    class Template(Saga[Order], abstract=True):
        @step(compensatable=False)
        @abstractmethod
        async def ship(self, order: Order) -> str: ...

    def build():
        class Derived(Template): ...

    refused("Derived does not override the abstract method ship", build)

    class Complete(Template):
        async def ship(self, order: Order) -> str:
            return "shipped"

    assert Complete.definition.steps["ship"].action.name == "ship"


def test_two_classes_never_share_a_name_by_accident():
    class Special(OrderFulfillment): ...

    assert (Special.definition.name, Special.definition.version) == ("Special", 3)


# --- the input ---

T = TypeVar("T")


class Generic1(Saga[T], abstract=True):
    @step(compensatable=False)
    async def a(self, order): ...


class Generic2(Generic1[T], Generic[T], abstract=True): ...


def test_the_type_of_the_input_is_found_through_generic_bases():
    class Concrete(Generic2[Payment]): ...

    class Open(Generic2): ...  # type: ignore[type-arg]

    assert Concrete.definition.input is Payment
    assert Open.definition.input is Any


def test_a_saga_without_a_type_takes_any_data():
    class Untyped(Saga):  # type: ignore[type-arg]
        @step(compensatable=False)
        async def a(self, order): ...

    assert Untyped.definition.input is Any


def test_the_type_may_be_named_before_it_exists():
    @dataclass
    class Local:
        id: str

    class Forward(Saga["Local"]):
        @step(compensatable=False)
        async def a(self, order): ...

    assert Forward.definition.input is Local

    def build():
        class Unknown(Saga["Nowhere"]):
            @step(compensatable=False)
            async def a(self, order): ...

    refused("the input type 'Nowhere' cannot be resolved", build)


# --- functions of all kinds ---


def test_conditions_may_be_methods_or_plain_functions():
    class Conditional(Saga[Order]):
        limit = 100

        def is_big(self, order: Order) -> bool:
            return order.total > self.limit

        is_small = lambda order: order.total < 10  # noqa: E731

        @step(compensatable=False, when=is_big)
        async def a(self, order: Order): ...

        @step(compensatable=False, when=is_small)
        async def b(self, order: Order): ...

        pause = sleep(1, when=lambda order: False)

    a, b, pause = (one.when.function for one in Conditional.definition.steps.values())
    assert (a(Order("1", 101)), b(Order("1", 9)), pause(Order("1"))) == (True, True, False)


def test_static_methods_and_decorated_ones():
    def logged(function):
        @functools.wraps(function)
        async def wrapper(self, *args, **kwargs):
            return "logged " + await function(self, *args, **kwargs)

        return wrapper

    class Mixed(Saga[Order]):
        @step(compensatable=False)
        @staticmethod
        async def a(order: Order) -> str:
            return order.id

        @step(compensatable=False)
        @logged
        async def b(self, order: Order) -> str:
            return order.id

    a, b = (one.action for one in Mixed.definition.steps.values())
    assert (asyncio.run(a.function(Order("1"))), asyncio.run(b.function(Order("1")))) == ("1", "logged 1")
    assert (a.is_async, b.is_async, b.input_type) == (True, True, Order)


def test_compensations_may_all_have_the_same_name():
    class Anonymous(Saga[Order]):
        @step
        async def a(self, order): ...

        @a.compensation
        async def _(self, order):
            return "a"

        @step
        async def b(self, order): ...

        @b.compensation
        async def _(self, order):
            return "b"

    undone = [asyncio.run(one.compensation.function(None)) for one in Anonymous.definition.steps.values()]
    assert undone == ["a", "b"]


# --- what a class may not be ---


def test_a_class_without_steps():
    def build():
        class Empty(Saga[Order]): ...

    refused(r"saga 'Empty' \(.*test_declare.py:\d+\) has no steps; .*abstract=True", build)


def test_a_second_compensation_fallback_or_probe():
    def build():
        class Twice(Saga[Order]):
            @step
            async def a(self, order): ...

            @a.compensation
            async def undo(self, order): ...

            @a.compensation
            async def undo_again(self, order): ...

    refused(r"step 'a' \(.*\) already has a compensation; remove the second one, at .*test_declare.py:\d+", build)


def test_a_step_called_like_an_attribute_of_every_saga():
    def build():
        class Bad(Saga[Order]):
            @step(compensatable=False)
            async def retry(self, order): ...

    refused(r"step 'retry' .*call the method otherwise and say @step\(name='retry'\)", build)


@pytest.mark.parametrize("given", ["charge", 3])
def test_options_are_keywords(given):
    refused(r"@step decorates a method, got .*test_declare.py", lambda: step(given))


def test_a_saga_holds_no_state():
    with pytest.raises(DefinitionError, match=r"OrderFulfillment.total cannot be set: a saga holds no state on self"):
        OrderFulfillment().total = 1

    def build():
        class Stateful(Saga[Order]):
            def __init__(self): ...

            @step(compensatable=False)
            async def a(self, order): ...

    refused("Stateful has an __init__, but a saga holds no state on self", build)


# --- definition_of ---


def test_definition_of_what_is_a_saga():
    assert definition_of(OrderFulfillment) is definition_of(DEFINITION) is DEFINITION


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (Base, "Base is abstract and has no steps"),
        (OrderFulfillment(), r"pass the class itself, without \(\)"),
        ("order", "a saga is a class derived from Saga, or a SagaDefinition; got 'order'"),
        (int, "a saga is a class derived from Saga"),
    ],
)
def test_definition_of_anything_else(given, says):
    refused(says, lambda: definition_of(given))
