"""Limits as they are declared: what they come to, and what is refused."""

import pytest

from sagafsm import Compensation, DefinitionError, Fallback, Limit, Saga, SagaDefinition, Step, step


def charge(order):
    return "paid"


def refund(order, payment): ...


def definition(**options):
    return SagaDefinition(name="order", steps=[Step("charge", charge, compensation=refund, **options)])


def limit_of(limit):
    return definition(limit=limit).steps["charge"].action.limit


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (Limit(concurrency=3), (None, 3, None, 1)),
        (Limit("bank", rate=5), ("bank", None, 5.0, 1)),
        (Limit(rate=600, per=60), (None, None, 10.0, 1)),
        (Limit(rate=600, per=60, burst=20), (None, None, 10.0, 20)),
        (Limit(rate=250), (None, None, 250.0, 25)),
    ],
)
def test_what_a_limit_comes_to(limit, expected):
    found = limit_of(limit)
    assert (found.name, found.concurrency, found.rate, found.burst) == expected


@pytest.mark.parametrize(
    ("limit", "says"),
    [
        (5, "limit takes a Limit, such as Limit.concurrency=5., got 5"),
        (Limit(), "limit limits nothing; give it a concurrency, a rate, or both"),
        (Limit("a b", rate=1), "a limit's name is 1 to 80 of A-Z a-z 0-9 . _ -, got 'a b'"),
        (Limit(5), "a limit's name is .* got 5"),
        (Limit(concurrency=0), "concurrency is a whole number from 1 up, got 0"),
        (Limit(concurrency=True), "concurrency is a whole number from 1 up, got True"),
        (Limit(rate=0), "rate is a number above 0, got 0"),
        (Limit(rate=float("inf")), "rate is a number above 0, got inf"),
        (Limit(rate=1, per=0), "per is a number above 0, got 0"),
        (Limit(rate=1, burst=1.5), "burst is a whole number from 1 up, got 1.5"),
        (Limit(concurrency=1, burst=2), "burst and per belong to a rate"),
        (Limit(concurrency=1, key="customer"), "the limit's key is 'customer', which cannot be called"),
        (Limit(concurrency=1, key=lambda order, nobody: 1), "asks for 'nobody', which nobody can supply"),
    ],
)
def test_a_bad_limit_is_refused_and_its_step_named(limit, says):
    with pytest.raises(DefinitionError, match=f"step 'charge'.*{says}"):
        definition(limit=limit)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"compensation": Compensation(refund, limit=Limit())}, "the compensation's limit limits nothing"),
        ({"compensation": refund, "fallback": Fallback(charge, limit=3)}, "the fallback's limit takes a Limit"),
    ],
)
def test_a_bad_limit_of_another_function_is_refused(options, says):
    with pytest.raises(DefinitionError, match=says):
        SagaDefinition(name="order", steps=[Step("charge", charge, **options)])


def test_an_async_key_is_refused():
    async def key(order):
        return "x"

    with pytest.raises(DefinitionError, match="key= takes a plain function of the data"):
        definition(limit=Limit(concurrency=1, key=key))


def test_a_limit_is_no_part_of_the_shape():
    assert definition(limit=Limit(concurrency=1)).fingerprint == definition().fingerprint


def test_each_function_of_a_step_can_have_a_limit_in_both_forms():
    bank, other = Limit("bank", concurrency=5), Limit("other", rate=1, key=lambda order: order["customer"])

    class Order(Saga[dict]):
        @step(limit=bank)
        def charge(self, order: dict) -> str:
            return "paid"

        @charge.compensation(limit=bank)
        def refund(self, order: dict, payment: str | None) -> None: ...

        @charge.fallback(limit=other)
        def charge_elsewhere(self, order: dict) -> str:
            return "paid"

        @charge_elsewhere.compensation(limit=other)
        def refund_elsewhere(self, order: dict, payment: str | None) -> None: ...

    listed = SagaDefinition(
        name="Order",
        steps=[
            Step(
                "charge",
                charge,
                limit=bank,
                compensation=Compensation(refund, limit=bank),
                fallback=Fallback(charge, compensation=Compensation(refund, limit=other), limit=other),
            )
        ],
    )
    for one in (Order.definition.steps["charge"], listed.steps["charge"]):
        limits = [one.forward("action"), one.backward("action"), one.forward("fallback"), one.backward("fallback")]
        assert [handler.limit.name for handler in limits] == ["bank", "bank", "other", "other"]
        assert limits[3].limit.key.function({"customer": "ann"}) == "ann"


def test_the_key_of_a_limit_may_be_a_method_and_ask_for_results():
    class Order(Saga[dict]):
        @step(compensatable=False)
        def find(self, order: dict) -> str:
            return "ch"

        def country(self, order: dict, find: str) -> str:
            return find

        @step(compensatable=False, limit=Limit(concurrency=1, key=country))
        def charge(self, order: dict) -> None: ...

    key = Order.definition.steps["charge"].action.limit.key
    assert [argument.source for argument in key.arguments] == ["input", "step"]
    assert key.function({}, "ch") == "ch"
