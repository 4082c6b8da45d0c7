"""SyncOrchestrator: the same verbs without await, for Flask, Django, scripts and the REPL."""

import inspect
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from sagafsm import (
    Delivery,
    InvalidInput,
    Orchestrator,
    PastPivot,
    Rejected,
    SagaConflict,
    SagaDefinition,
    SagaFailed,
    SagaFinished,
    SagaNotFound,
    SagaState,
    SagaStuck,
    Step,
    StoreUnavailable,
    SyncOrchestrator,
    WaitFor,
)
from sagafsm.runtime.memory import MemoryStore
from tests.runtime.steps import undo
from tests.runtime.world import NEVER, state_of, types


def maybe(data):
    if data == "bad":
        raise Rejected("no")
    return f"did {data}"


def stubborn(data, result):
    raise Rejected("gone")


ORDER = SagaDefinition(name="order", retry=NEVER, steps=[Step("work", maybe, compensation=undo)])
ASKS = SagaDefinition(
    name="asks",
    steps=[Step("quote", lambda data: None, awaits_reply=True, compensation=undo), WaitFor("go", signal="go")],
)
STICKS = SagaDefinition(
    name="sticks",
    steps=[Step("a", lambda data: 1, compensation=stubborn), Step("b", lambda data: maybe("bad"), compensation=undo)],
)
SAGAS = [ORDER, ASKS, STICKS]


@pytest.fixture
def orchestrator():
    with SyncOrchestrator("memory://", sagas=SAGAS, poll_interval=0.02) as orchestrator:
        yield orchestrator


def test_run_start_and_result(orchestrator):
    saga = orchestrator.run(ORDER, "well", saga_id="s-1", correlation_id="c-1", tags={"a": "b"}, timeout=10)
    assert (saga.state, saga.results) == (SagaState.COMPLETED, {"work": "did well"})
    handle = orchestrator.start(ORDER, "well", saga_id="s-1", correlation_id="c-1", tags={"a": "b"})
    assert (handle.created, handle.saga_id, repr(handle)) == (False, "s-1", "<SyncHandle s-1>")
    assert handle.result(timeout=10).state is SagaState.COMPLETED
    assert handle.instance().saga_id == "s-1"


def test_what_is_raised_is_what_the_other_one_raises(orchestrator):
    with pytest.raises(SagaFailed) as caught:
        orchestrator.start(ORDER, "bad").result(10)
    assert caught.value.instance.state is SagaState.FAILED
    with pytest.raises(SagaStuck):
        orchestrator.start(STICKS).result(10)
    with pytest.raises(SagaNotFound):
        orchestrator.get("nobody")
    with pytest.raises(InvalidInput):
        orchestrator.create(ORDER, "well", saga_id="a b")
    orchestrator.create(ORDER, "well", saga_id="s-1")
    with pytest.raises(SagaConflict):
        orchestrator.start(ORDER, "otherwise", saga_id="s-1")
    with pytest.raises(SagaConflict):
        orchestrator.start(ORDER, "well", saga_id="s-1", on_conflict="raise")
    with pytest.raises(TimeoutError):
        orchestrator.start(ASKS).result(timeout=0.01)


def test_create_execute_and_wait(orchestrator):
    saga_id = orchestrator.create(ORDER, "well")
    assert orchestrator.get(saga_id).state is SagaState.STARTED
    assert orchestrator.execute(saga_id, timeout=10).state is SagaState.COMPLETED
    assert orchestrator.wait(saga_id, timeout=10).state is SagaState.COMPLETED


def test_messages(orchestrator):
    orchestrator.create(ASKS, saga_id="s-1")
    assert orchestrator.execute("s-1", timeout=10).waiting_for.kind == "reply"
    assert orchestrator.fail_step("s-1", "quote", "busy", retryable=True, attempt=7) is Delivery.LATE
    assert orchestrator.complete_step("s-1", "quote", 7, message_id="m-1") is Delivery.ACCEPTED
    assert orchestrator.complete_step("s-1", "quote", 7, message_id="m-1") is Delivery.DUPLICATE
    assert orchestrator.signal("s-1", "other") is Delivery.UNEXPECTED
    assert orchestrator.signal("s-1", "go", {"n": 1}) is Delivery.ACCEPTED
    assert orchestrator.wait("s-1", timeout=10).results == {"quote": 7, "go": {"n": 1}}


def test_operators(orchestrator):
    for saga_id in ("s-1", "s-2", "s-3"):
        orchestrator.create(ASKS, saga_id=saga_id)
    assert orchestrator.suspend("s-1", actor="eve", reason="audit").suspended
    assert not orchestrator.resume("s-1", actor="eve", reason="done").suspended
    orchestrator.abort("s-2", "not wanted", actor="eve", cut=True)
    assert state_of(orchestrator.wait("s-2", timeout=10)) == "failed aborted"
    orchestrator.compensate("s-3", "not wanted")
    assert state_of(orchestrator.wait("s-3", timeout=10)) == "failed compensated"
    orchestrator.run(STICKS, saga_id="s-4", timeout=10)
    orchestrator.retry("s-4", actor="eve", reason="again")
    assert orchestrator.wait("s-4", timeout=10).stuck
    orchestrator.skip("s-4", "a", actor="eve", reason="by hand")
    assert state_of(orchestrator.wait("s-4", timeout=10)) == "failed forced"
    assert isinstance(orchestrator.resume_all(), list)
    orchestrator.run(ORDER, "well", saga_id="s-5", timeout=10)
    with pytest.raises((SagaFinished, PastPivot)):
        orchestrator.abort("s-5", "too late")


def test_reading(orchestrator):
    for n in range(5):
        orchestrator.run(ORDER, "well", saga_id=f"s-{n}", timeout=10)
    assert [saga.saga_id for saga in orchestrator.find(state="completed", limit=3)] == ["s-0", "s-1", "s-2"]
    assert types(orchestrator.history("s-0"))[-1] == "SagaCompleted"
    assert orchestrator.purge(finished_before=-1, limit=2) == 2
    assert len(list(orchestrator.find())) == 3


def test_a_step_may_use_the_orchestrator_that_runs_it(orchestrator):
    """Plain functions run in threads of their own, so they may wait for it."""

    def parent(data):
        return orchestrator.run(ORDER, "inside", timeout=10).results["work"]

    definition = SagaDefinition(name="nested", steps=[Step("a", parent, compensation=undo)])
    with SyncOrchestrator("memory://", sagas=[definition], poll_interval=0.02) as outer:
        assert outer.run(definition, timeout=10).results == {"a": "did inside"}


def test_a_hook_on_its_own_thread_must_not_wait_for_it():
    errors = []

    class Asks:
        def on_transition(self, instance, event):
            try:
                orchestrator.get(instance.saga_id)
            except InvalidInput as error:
                errors.append(str(error))

    with SyncOrchestrator("memory://", sagas=SAGAS, hooks=[Asks()]) as orchestrator:
        assert orchestrator.run(ORDER, "well", timeout=10).state is SagaState.COMPLETED
    assert "make the step a plain function" in errors[0]


def test_several_threads_use_one(orchestrator):
    with ThreadPoolExecutor(8) as pool:
        sagas = list(pool.map(lambda n: orchestrator.run(ORDER, str(n), timeout=20), range(40)))
    assert {saga.results["work"] for saga in sagas} == {f"did {n}" for n in range(40)}


def test_closed_it_says_how_to_open_it_and_leaves_no_thread():
    threads = threading.active_count()
    orchestrator = SyncOrchestrator("memory://", sagas=SAGAS)
    with pytest.raises(InvalidInput, match="with SyncOrchestrator"):
        orchestrator.get("s-1")
    with orchestrator:
        with pytest.raises(InvalidInput, match="open already"):
            orchestrator.__enter__()
        orchestrator.run(ORDER, "well", timeout=10)
    with pytest.raises(InvalidInput, match="with SyncOrchestrator"):
        orchestrator.run(ORDER, "well")
    orchestrator.close()
    assert threading.active_count() <= threads + 1  # the pool's thread ends by itself


def test_it_is_closed_when_it_cannot_be_opened():
    class Broken(MemoryStore):
        async def setup(self, *, migrate=True):
            raise StoreUnavailable("no such server")

    with pytest.raises(StoreUnavailable, match="no such server"):
        SyncOrchestrator(Broken(), sagas=SAGAS).__enter__()
    assert "sagafsm" not in {thread.name for thread in threading.enumerate()}


def test_where_its_thread_has_ended_it_says_so_instead_of_waiting_for_ever():
    """A step had ended the process, or so it thought: only the thread had ended, and without a word."""

    async def ends(data):
        raise SystemExit(3)

    definition = SagaDefinition(name="ends", steps=[Step("a", ends, compensation=undo)])
    orchestrator = SyncOrchestrator("memory://", sagas=[definition], poll_interval=0.02).__enter__()
    thread = orchestrator._thread
    with pytest.raises(InvalidInput, match="a step ended it with SystemExit"):
        orchestrator.run(definition, timeout=10)
    thread.join(10)
    assert not thread.is_alive()
    with pytest.raises(InvalidInput, match="a step ended it with SystemExit"):
        orchestrator.get("s-1")
    with pytest.raises(InvalidInput, match="a step ended it with SystemExit"):
        orchestrator.close()
    orchestrator.close()


VERBS = [name for name, _ in inspect.getmembers(Orchestrator, callable) if not name.startswith("_")]


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_is_there_with_the_same_parameters(name):
    """The facade is written by hand: here it is held to what it stands before."""
    ours, theirs = (inspect.signature(getattr(kind, name)) for kind in (SyncOrchestrator, Orchestrator))
    assert [(p.name, p.kind, p.default) for p in ours.parameters.values()] == [
        (p.name, p.kind, p.default) for p in theirs.parameters.values()
    ]
