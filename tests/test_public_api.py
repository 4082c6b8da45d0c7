"""The public names and signatures: what users, documentation and outside test suites type.

What must stay true: a name is never removed or renamed, and a parameter never changes its name, its place or its
default. Adding is fine: a new name goes into the list, a new parameter is keyword-only and has a default.
"""

import ast
import inspect
import re

import pytest

import sagafsm
import sagafsm.testing

NAMES = """
    Saga step sleep subsaga wait_for
    SagaDefinition Step Parallel Sequence Compensation Fallback WaitFor Sleep SubSaga Probe
    RetryPolicy StepContext Rejected Unknown
    Orchestrator SyncOrchestrator Handle Delivery Settings Store open_store
    SagaInstance SagaState Event Failure Waiting
    SagaError DefinitionError DefinitionWarning InvalidInput ResultNotStorable SagaNotFound SagaConflict SagaFinished
    PastPivot SagaFailed SagaStuck StoreError StoreUnavailable OutcomeUnknown StoreCorrupt StoreTooNew SettingsError
""".split()

METHODS = """
    create(saga, data, *, saga_id=None, correlation_id=None, tags=None)
    execute(saga_id, *, timeout=None)
    start(saga, data, *, saga_id=None, correlation_id=None, tags=None, on_conflict='return')
    run(saga, data, *, timeout=None, saga_id=None, correlation_id=None, tags=None, on_conflict='return')
    resume(saga_id, *, actor=None, reason=None)
    resume_all()
    abort(saga_id, reason, *, actor=None, cut=False, compensate=True)
    compensate(saga_id, reason)
    signal(saga_id, name, payload=None, *, message_id=None)
    complete_step(saga_id, step, result=None, *, attempt=None, message_id=None, compensation=False)
    fail_step(saga_id, step, error, *, retryable=False, attempt=None, message_id=None, compensation=False)
    retry(saga_id, *, actor, reason)
    skip(saga_id, step, *, actor, reason)
    suspend(saga_id, *, actor, reason)
    get(saga_id)
    history(saga_id)
    find(*, state=None, saga_type=None, stuck=None, suspended=None, tags=None, correlation_id=None, older_than=None,\
 limit=None)
"""

ORCHESTRATOR = (
    "Orchestrator(store, *, sagas, worker=True, lease=30.0, poll_interval=1.0, drain_timeout=10.0, retry=None, "
    "compensation_retry=None, hooks=(), settings=None)"
)

DECLARATIONS = [
    "wait_for(signal, *, timeout=None, on_timeout='fail', after=None, when=None)",
    "open_store(url)",
    (
        "RetryPolicy(max_attempts=3, initial_interval=1.0, backoff_coefficient=2.0, maximum_interval=60.0, "
        "jitter=0.1, non_retryable=(), max_interruptions=10)"
    ),
]

STEP_OPTIONS = """
    name after when retry timeout pivot compensatable on_unknown idempotent compensate_failed idempotency_key
    unknown_errors awaits_reply
""".split()

FIELDS = {
    "SagaInstance": """saga_id saga_type definition_version state outcome stuck suspended data results steps waiting_for
        error errors correlation_id parent_id tags version created_at updated_at""",
    "Event": "seq type at step attempt data",
    "Failure": "type message step at",
    "Waiting": "step kind name until attempt",
    "StepContext": """saga_id saga_type step attempt idempotency_key action_key cause correlation_id results deadline
        via log heartbeat""",
    "Handle": "saga_id created result instance",
    "Probe": "HAPPENED DID_NOT_HAPPEN STILL_UNKNOWN",
}


def lines(table: str) -> list[str]:
    return [line.strip() for line in table.replace("\\\n", "").strip().splitlines()]


def documented(signature: str) -> tuple[str, list[tuple[str, bool, object]]]:
    """A signature as text -> its name and its (parameter, keyword-only, default) in order."""
    name, _, arguments = signature.partition("(")
    function = ast.parse(f"def f({arguments}: ...").body[0]
    assert isinstance(function, ast.FunctionDef)
    namespace: dict[str, object] = {}
    exec(compile(ast.Module([function], []), "signature", "exec"), namespace)
    return name, parameters(namespace["f"])


def parameters(function: object) -> list[tuple[str, bool, object]]:
    assert callable(function)
    return [
        (parameter.name, parameter.kind is parameter.KEYWORD_ONLY, parameter.default)
        for parameter in inspect.signature(function).parameters.values()
        if parameter.name != "self"
    ]


def differences(signature: str, function: object) -> list[tuple[str, bool, object]]:
    """What a call that the signature allows would trip over; further keyword-only options are none."""
    _, wanted = documented(signature)
    found = parameters(function)
    positional = [one for one in wanted if not one[1]]
    missing = [one for one in wanted if one[1] and one not in found]
    return [*missing, *(found if found[: len(positional)] != positional else [])]


def test_the_signatures_are_compared():
    """The comparison itself: it sees another default, another order and a lost keyword, and allows a new option."""

    def function(self, a, b=1, *, c=None, new=None): ...

    assert differences("function(a, b=1, *, c=None)", function) == []
    assert differences("function(a, b=2, *, c=None)", function)
    assert differences("function(b, a=1, *, c=None)", function)
    assert differences("function(a, b=1, *, d=None)", function)


@pytest.mark.parametrize("name", NAMES)
def test_the_name_is_importable_and_exported(name):
    assert hasattr(sagafsm, name)
    assert name in sagafsm.__all__


def test_nothing_else_is_exported():
    """What is exported is a promise: a new name is added to the list here, and has its page in docs/reference."""
    assert sorted(sagafsm.__all__) == sorted(NAMES)


def test_the_test_harness_is_public():
    assert "SagaTestHarness" in sagafsm.testing.__all__
    for name in ("configure_failure", "run", "was_called"):
        assert callable(getattr(sagafsm.testing.SagaTestHarness, name))


@pytest.mark.parametrize("signature", [ORCHESTRATOR, *DECLARATIONS], ids=lambda text: text.partition("(")[0])
def test_the_signature_is_as_documented(signature):
    assert differences(signature, getattr(sagafsm, signature.partition("(")[0])) == []


@pytest.mark.parametrize("kind", ["Orchestrator", "SyncOrchestrator"])
@pytest.mark.parametrize("signature", lines(METHODS), ids=lambda text: text.partition("(")[0])
def test_the_orchestrators_have_the_same_methods(kind, signature):
    method = getattr(getattr(sagafsm, kind), signature.partition("(")[0])
    assert differences(signature, method) == []


@pytest.mark.parametrize("declaration", ["step", "Step"])
def test_a_step_takes_every_option(declaration):
    assert set(STEP_OPTIONS) <= set(inspect.signature(getattr(sagafsm, declaration)).parameters)


@pytest.mark.parametrize("kind", list(FIELDS))
def test_the_object_has_the_documented_attributes(kind):
    documented_names = set(re.findall(r"\w+", FIELDS[kind]))
    found = {*dir(getattr(sagafsm, kind)), *getattr(getattr(sagafsm, kind), "__annotations__", {})}
    assert documented_names - found == set()


def test_the_states_are_named_as_they_are_stored():
    states = {state.name: state.value for state in sagafsm.SagaState}
    assert states == {name: name.lower() for name in ("STARTED", "PENDING", "COMPENSATING", "COMPLETED", "FAILED")}


def test_the_deliveries_are_the_documented_ones():
    assert {delivery.name for delivery in sagafsm.Delivery} == {"ACCEPTED", "DUPLICATE", "LATE", "UNEXPECTED"}
