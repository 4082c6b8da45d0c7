"""Contracts: sagas as JSON or YAML that name operations; Python says which functions stand behind the names."""

import asyncio
import builtins
import copy
import json
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import msgspec
import pytest

import sagafsm
from sagafsm import DefinitionError, RetryPolicy, SagaDefinition, Step
from sagafsm.core.contract import Operations, contract_schema
from sagafsm.core.template import TemplateError

CONTRACT = {
    "name": "order",
    "version": 2,
    "deadline": 3600,
    "steps": [
        {
            "step_id": "reserve",
            "backend": "warehouse",
            "operation": "reserve",
            "payload": {"order": "{input.id}", "items": "{input.items}", "note": "for {input.customer.name}"},
            "compensation": {"operation": "release", "payload": {"reservation": "{result.id}"}},
            "idempotency_key": "reserve-{id}",
            "retry_policy": {"max_attempts": 5, "initial_interval": 0.5},
            "timeout": 30,
        },
        {
            "step_id": "charge",
            "backend": "bank",
            "operation": "charge",
            "payload": {"amount": "{input.total}", "reservation": "{steps.reserve.id}"},
            "compensation": {"backend": "ledger", "operation": "refund", "timeout": 5},
            "fallback": {"operation": "charge_backup"},
        },
        {"step_id": "log", "backend": "log", "operation": "write", "compensation": None, "compensatable": False},
        {"step_id": "ship", "backend": "carrier", "operation": "ship", "after": ["charge", "log"], "pivot": True},
    ],
}
ORDER = {"id": "o-1", "items": ["a", "b"], "total": 12.5, "customer": {"name": "Ada"}}

YAML = """
name: order
steps:
  - step_id: reserve
    backend: warehouse
    operation: reserve
    payload: {order: "{input.id}", since: 2026-01-31}
    compensatable: false
"""


def echo(kind):
    async def operation(payload):
        return {kind: payload}

    return operation


@pytest.fixture
def operations():
    registry = Operations()
    for backend, names in {"warehouse": "reserve release", "bank": "charge charge_backup", "ledger": "refund"}.items():
        for name in names.split():
            registry.register(backend, name)(echo(name))
    return registry


def changed(**changes):
    """The contract with its first step changed; ``...`` removes."""
    contract = copy.deepcopy(CONTRACT)
    contract["steps"][0] |= changes
    contract["steps"][0] = {key: value for key, value in contract["steps"][0].items() if value is not ...}
    return contract


def refused(match, document, operations=None):
    with pytest.raises(DefinitionError, match=match):
        SagaDefinition.from_contract(document, operations)


# --- what a contract says ---


def test_a_contract_builds_the_definition_that_the_list_form_builds():
    def act(order): ...

    def undo(order, result): ...

    listed = SagaDefinition(
        name="order",
        version=2,
        deadline=3600,
        steps=[
            Step("reserve", act, compensation=undo),
            Step("charge", act, compensation=undo, fallback=act),
            Step("log", act, compensatable=False),
            Step("ship", act, after=["charge", "log"], pivot=True),
        ],
    )
    definition = SagaDefinition.from_contract(CONTRACT)
    assert (definition.kind, definition.deadline) == (listed.kind, listed.deadline)
    reserve, charge = definition.steps["reserve"], definition.steps["charge"]
    assert reserve.action.retry == RetryPolicy(max_attempts=5, initial_interval=0.5)
    assert (reserve.action.timeout, reserve.idempotency_key) == (30, "reserve-{id}")
    assert (reserve.action.name, reserve.compensation.name) == ("warehouse.reserve", "warehouse.release")
    assert (charge.compensation.name, charge.compensation.timeout) == ("ledger.refund", 5)
    assert charge.fallback.name == "bank.charge_backup"


def test_json_yaml_mappings_and_files_are_the_same(tmp_path):
    (tmp_path / "order.json").write_text(json.dumps(CONTRACT))
    (tmp_path / "order.yaml").write_text("# a comment\n" + json.dumps(CONTRACT))
    text = json.dumps(CONTRACT)
    documents = [CONTRACT, text, text.encode(), "\ufeff\n" + text, "# a comment\n" + text]
    documents += [tmp_path / "order.json", tmp_path / "order.yaml", str(tmp_path / "order.json")]
    kinds = {SagaDefinition.from_contract(document).kind for document in documents}
    assert kinds == {SagaDefinition.from_contract(CONTRACT).kind}


def test_yaml_becomes_plain_json_data():
    call = SagaDefinition.from_contract(YAML, _with("warehouse", "reserve", lambda payload: payload)).steps["reserve"]
    assert call.action.function(ORDER) == {"order": "o-1", "since": "2026-01-31"}


def _with(backend, name, function):
    registry = Operations()
    registry.register(backend, name)(function)
    return registry


# --- payloads ---


def call(handler, *positional, **keywords):
    return asyncio.run(handler.function(*positional, **keywords))


def test_templates_are_filled_from_the_input_and_earlier_results(operations):
    steps = SagaDefinition.from_contract(CONTRACT, operations).steps
    reserved = {"order": "o-1", "items": ["a", "b"], "note": "for Ada"}
    assert call(steps["reserve"].action, ORDER) == {"reserve": reserved}
    assert [one.step for one in steps["charge"].action.arguments] == [None, "reserve"]
    charged = {"amount": 12.5, "reservation": 7}
    assert call(steps["charge"].action, ORDER, reserve={"id": 7}) == {"charge": charged}


def test_a_compensation_reads_what_the_action_returned(operations):
    release = SagaDefinition.from_contract(CONTRACT, operations).steps["reserve"].compensation
    assert call(release, ORDER, {"id": 7}) == {"release": {"reservation": 7}}
    assert call(release, ORDER, None) == {"release": {"reservation": None}}  # nobody knows whether it happened


def test_a_compensation_or_fallback_without_a_payload_gets_the_one_of_the_action(operations):
    charge = SagaDefinition.from_contract(CONTRACT, operations).steps["charge"]
    charged = {"amount": 12.5, "reservation": 7}
    assert call(charge.compensation, ORDER, None, reserve={"id": 7}) == {"refund": charged}
    assert call(charge.fallback, ORDER, reserve={"id": 7}) == {"charge_backup": charged}


def test_a_step_without_a_payload_gets_the_input():
    definition = SagaDefinition.from_contract(CONTRACT, _with("log", "write", lambda payload: payload))
    assert definition.steps["log"].action.function(ORDER) == ORDER
    assert SagaDefinition.from_contract(changed(payload=None), _with("warehouse", "reserve", lambda payload: payload))


def test_what_the_input_lacks_fails_the_step(operations):
    reserve = SagaDefinition.from_contract(CONTRACT, operations).steps["reserve"].action
    with pytest.raises(TemplateError, match=r"\{input.items\}: no 'items' in input, which has id"):
        reserve.function({"id": "o-1"})


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        ("{id}", r"\$.steps\[0\].payload: {id} is not known here; a place begins with {input…}, {steps.NAME…}"),
        ({"a": ["{result.id}"]}, r"\$.steps\[0\].payload.a\[0\]: {result.id} is not known here"),
        ("{steps}", "{steps} is not known here"),
        ("{input", "a single '{' at position 0"),
        ("{steps.charge.id}", "asks for 'charge', which nobody can supply.*not one that is certain to have ended"),
        ("{steps.resreve}", "asks for 'resreve', which nobody can supply"),
    ],
)
def test_places_are_checked_when_the_contract_is_read(payload, says):
    refused(says, changed(payload=payload))


# --- operations ---


def test_an_operation_that_nobody_registered_has_no_function():
    definition = SagaDefinition.from_contract(CONTRACT)
    assert definition.steps["reserve"].action.function is None


def test_an_operation_takes_payload_and_context_or_less():
    @dataclass
    class Payload:
        order: str

    registry = Operations()
    registry.register("a", "both")(lambda payload, ctx: (payload, ctx))
    registry.register("a", "context")(lambda ctx: ctx)
    registry.register("a", "none")(lambda: "nothing")
    registry.register("a", "default")(lambda payload, dry_run=False: dry_run)

    @registry.register("a", "typed")
    def typed(payload: Payload) -> str:
        return payload.order

    def answer(name, **context):
        document = {"step_id": "s", "backend": "a", "operation": name, "compensatable": False}
        document["payload"] = {"order": "{input.id}"}
        contract = {"name": "x", "steps": [document]}
        return SagaDefinition.from_contract(contract, registry).steps["s"].action.function(ORDER, **context)

    assert answer("both", ctx=1) == ({"order": "o-1"}, 1)
    assert (answer("context", ctx=1), answer("none"), answer("default"), answer("typed")) == (
        1,
        "nothing",
        False,
        "o-1",
    )
    assert [str(one) for one in registry] == ["a.both", "a.context", "a.none", "a.default", "a.typed"]
    assert len(registry) == 5


def test_operations_may_be_called_at_once_and_wait():
    registry = _with("warehouse", "reserve", lambda payload: 1)
    assert SagaDefinition.from_contract(YAML, registry).steps["reserve"].action.is_async is False
    registry = _with("warehouse", "reserve", echo("x"))
    assert SagaDefinition.from_contract(YAML, registry).steps["reserve"].action.is_async is True


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda payload, other: None, r"it is called with \(payload, ctx\) or less, got \(payload, other\)"),
        (lambda *payload: None, "it is called with"),
        (lambda *, payload: None, "it is called with"),
        (dict, "its parameters cannot be read"),
    ],
)
def test_an_operation_that_wants_more_is_refused(function, says):
    with pytest.raises(DefinitionError, match=rf"operation 'b' of 'a' .*{says}"):
        _with("a", "b", function)


def test_one_function_per_operation():
    registry = _with("a", "b", echo("x"))
    with pytest.raises(
        DefinitionError, match=r"registered twice, at .*test_contract.py:\d+ and at .*test_contract.py:\d+"
    ):
        registry.register("a", "b")(echo("x"))


# --- what is wrong with a contract ---

WRONG = [
    (changed(step_id="1st"), r"\$.steps\[0\].step_id"),
    (changed(backend=...), r"missing required field `backend` - at `\$.steps\[0\]`"),
    (changed(operation=5), r"Expected `str`, got `int` - at `\$.steps\[0\].operation`"),
    (changed(timeout="30s"), r"\$.steps\[0\].timeout"),
    (changed(timeout=0), r"\$.steps\[0\].timeout"),
    (changed(retry_policy={"attempts": 3}), r"unknown field `attempts` - at `\$.steps\[0\].retry_policy`"),
    (changed(compensation="release"), r"\$.steps\[0\].compensation"),
    (changed(compensation={"payload": 1}), r"missing required field `operation`"),
    (changed(on_unknown="probe"), r"\$.steps\[0\].on_unknown"),
    (changed(pivots=True), r"unknown field `pivots`"),
    (CONTRACT | {"steps": []}, r"\$.steps"),
    (CONTRACT | {"version": 0}, r"\$.version"),
    (CONTRACT | {"name": "an order"}, r"\$.name"),
    ({"steps": CONTRACT["steps"]}, "missing required field `name`"),
]


@pytest.mark.parametrize(("document", "says"), WRONG)
def test_errors_name_the_json_path(document, says):
    refused(says, document)


def test_what_the_schema_cannot_see_is_found_as_in_any_saga():
    refused(r"step 'reserve' \(contract \$.steps\[0\]\): it has no compensation", changed(compensation=None))
    refused(r'say "compensatable": false if it cannot', changed(compensation=None))  # JSON, not Python's keywords
    refused("is the same for every saga", changed(idempotency_key="reserve"))


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ("{", "contract is not JSON"),
        ("a: [", "contract is not YAML"),
        ("just text", "Expected `object`, got `str`"),
        ("", "Expected `object`, got `null`"),
        (b"\xff\xfe", "contract is not YAML|Expected `object`"),
        (5, "a contract is a mapping, JSON or YAML text, or a path; got 5"),
        (Path("nowhere.json"), "contract nowhere.json cannot be read"),
        ("nowhere.yaml", "contract nowhere.yaml cannot be read"),
        ({"name": "x", "steps": [{"payload": float("nan")}]}, r"\$.steps\[0\].payload: a float that is not finite"),
        ({"name": "x", "steps": [{"payload": object()}]}, r"\$.steps\[0\].payload: object objects cannot be stored"),
    ],
)
def test_what_is_no_contract_at_all(document, says):
    refused(says, document)


def test_without_pyyaml_the_error_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without_yaml(name, *rest):
        if name == "yaml":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_yaml)
    refused(r"pip install 'sagafsm\[yaml\]', or use JSON", YAML)


# --- the schema ---


def shipped():
    return json.loads((Path(sagafsm.__file__).parent / "core" / "contract.schema.json").read_text(encoding="utf-8"))


def test_the_shipped_schema_is_the_one_of_the_classes_that_read():
    assert shipped() == contract_schema()
    jsonschema.Draft202012Validator.check_schema(shipped())


def test_the_schema_accepts_what_is_accepted():
    validator = jsonschema.Draft202012Validator(shipped())
    validator.validate(CONTRACT)
    validator.validate(CONTRACT | {"$schema": "contract.schema.json"})
    assert SagaDefinition.from_contract(CONTRACT | {"$schema": "contract.schema.json"})


@pytest.mark.parametrize("document", [document for document, _ in WRONG])
def test_the_schema_refuses_what_is_refused(document):
    plain = msgspec.json.decode(msgspec.json.encode(document))
    assert list(jsonschema.Draft202012Validator(shipped()).iter_errors(plain))
