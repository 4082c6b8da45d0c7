"""The public names and signatures: what users, documentation and outside test suites type.

What must stay true: a name is never removed or renamed, and a parameter never changes its name, its place or its
default. Adding is fine: a new name goes into the list, a new parameter is keyword-only and has a default.
"""

import ast
import inspect
from pathlib import Path

import griffe
import pytest

import sagafsm
import sagafsm.testing

NAMES = """
    Saga step sleep subsaga wait_for
    SagaDefinition Step Parallel Sequence Compensation Fallback WaitFor Sleep SubSaga Probe Operations
    RetryPolicy StepContext Rejected Unknown
    Limit Orchestrator SyncOrchestrator Handle Delivery StepOutcome Settings Store open_store
    SagaInstance SagaState StepView StepState Event Failure Waiting
    SagaError DefinitionError DefinitionWarning InvalidInput ResultNotStorable SagaNotFound SagaConflict SagaPurged
    SagaFinished SagaMoved copy_sagas read_archive undo_copy
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
    unknown_errors awaits_reply limit
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
        if parameter.name != "self" and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]


def differences(signature: str, function: object) -> list[tuple[str, bool, object]]:
    """What a call that the signature allows would trip over; a further option or default is none."""
    _, wanted = documented(signature)
    found = parameters(function)
    given = {(name, position): default for position, (name, keyword, default) in enumerate(found) if not keyword}
    wrong: list[tuple[str, bool, object]] = []
    for position, (name, keyword, default) in enumerate(wanted):
        if keyword:
            fits = (name, keyword, default) in found
        else:
            fits = (name, position) in given and default in (inspect.Parameter.empty, given[name, position])
        if not fits:
            wrong.append((name, keyword, default))
    taken = {name for name, _, _ in wanted}
    return wrong + [one for one in found if one[0] not in taken and one[2] is inspect.Parameter.empty]


def test_the_signatures_are_compared():
    """The comparison itself: what breaks a caller is seen, a further option or default is allowed."""

    def function(self, a, b=1, *, c=None, new=None): ...

    def demanding(a, b=1, *, c=None, new): ...

    assert differences("function(a, b=1, *, c=None)", function) == []
    assert differences("function(a, b, *, c=None)", function) == []
    assert differences("function(a, b=1, *, c=None)", demanding)
    assert differences("function(a, b=2, *, c=None)", function)
    assert differences("function(b, a=1, *, c=None)", function)
    assert differences("function(a, *, b=1, c=None)", function)
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


@pytest.fixture(scope="module")
def source() -> griffe.Module:
    """The package as its source reads: attributes that are set in `__init__` are members too."""
    package = griffe.load("sagafsm", search_paths=[str(Path(sagafsm.__file__).parents[1])])
    assert isinstance(package, griffe.Module)
    return package


@pytest.mark.parametrize("kind", list(FIELDS))
def test_the_object_has_the_documented_attributes(source, kind):
    assert set(FIELDS[kind].split()) - set(source[kind].all_members) == set()


def test_the_states_are_named_as_they_are_stored():
    states = {state.name: state.value for state in sagafsm.SagaState}
    assert states == {name: name.lower() for name in ("STARTED", "PENDING", "COMPENSATING", "COMPLETED", "FAILED")}


def test_the_deliveries_are_the_documented_ones():
    assert {delivery.name for delivery in sagafsm.Delivery} == {"ACCEPTED", "DUPLICATE", "LATE", "UNEXPECTED"}
