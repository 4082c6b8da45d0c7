"""What an orchestrator tells of its whole store, from code with and without ``await``."""

import pytest

from sagafsm import Rejected, RetryPolicy, SagaDefinition, SagaNotFound, Step, SyncOrchestrator, WaitFor
from sagafsm.runtime.memory import MemoryStore
from tests.runtime.steps import undo

REAL_TIME = True


async def works(data): ...


async def refuses(data):
    raise Rejected("no")


async def cannot(data, result):
    raise RuntimeError("the other side is down")


FINE = SagaDefinition(name="fine", steps=[Step("works", works, compensation=undo)])
STICKS = SagaDefinition(
    name="sticks",
    compensation_retry=RetryPolicy.none(),
    steps=[Step("works", works, compensation=cannot), Step("refuses", refuses, compensatable=False)],
)
WAITS = SagaDefinition(name="waits", steps=[WaitFor("yes", signal="yes")])
ALL = [FINE, STICKS, WAITS]


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def orchestrator(store):
    with SyncOrchestrator(store, sagas=ALL) as orchestrator:
        orchestrator.run(FINE, saga_id="fine")
        orchestrator.run(STICKS, saga_id="sticks")
        orchestrator.execute(orchestrator.start(WAITS, saga_id="waits").saga_id)
        yield orchestrator


def test_stats_count_by_state_and_flag(orchestrator):
    stats = orchestrator.stats()
    assert (stats.total, stats.live, stats.finished, stats.stuck, stats.suspended) == (3, 2, 1, 1, 0)
    orchestrator.run(FINE, saga_id="fine-2")
    later = orchestrator.stats()
    assert later.finished_per_second(stats) > 0
    assert stats.finished_per_second(later) == 0.0


def test_remedies_are_for_stuck_sagas_only(orchestrator):
    assert orchestrator.remedies(orchestrator.get("fine")) == []
    remedies = orchestrator.remedies(orchestrator.get("sticks"))
    assert [(one.verb, one.saga_id, one.step) for one in remedies] == [
        ("retry", "sticks", None),
        ("skip", "sticks", "works"),
    ]


def test_asking_for_remedies_changes_nothing(orchestrator):
    before = orchestrator.history("sticks")
    orchestrator.remedies(orchestrator.get("sticks"))
    assert orchestrator.history("sticks") == before


def test_the_definition_of_a_saga_is_found_without_the_code(orchestrator, store):
    assert orchestrator.definition_for("fine").steps["works"].action.function is works
    with SyncOrchestrator(store, sagas=[], worker=False) as outside:
        assert outside.definition_for("fine").shape == FINE.shape
        with pytest.raises(SagaNotFound):
            outside.definition_for("nobody")


def test_a_purge_can_be_tried_out(orchestrator):
    assert orchestrator.purge(finished_before=-1, dry_run=True) == 1
    assert orchestrator.purge(finished_before=60, dry_run=True) == 0
    assert orchestrator.purge(finished_before=-1, limit=0, dry_run=True) == 0
    assert orchestrator.purge(finished_before=-1) == 1
    assert orchestrator.purge(finished_before=-1, dry_run=True) == 0


def test_doctor_tells_problems_from_notes(orchestrator):
    found = orchestrator.doctor()
    assert not found.ok
    levels = {(finding.level, finding.about) for finding in found.findings}
    assert levels == {("problem", "store"), ("problem", "sagas")}  # it forgets; one is stuck
    (worker,) = found.facts["workers"]
    assert worker["alive"] is True
    assert all(finding.mend for finding in found.findings)
