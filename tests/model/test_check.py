"""The model checker on sagas of every shape: what it proves, what it finds, and that its tests really run."""

import pytest

from sagafsm import InvalidInput, RetryPolicy, Saga, SagaState, Sleep, WaitFor, step
from sagafsm.testing.model import Bounds, ModelBroken, check_model, outline
from tests.model import shapes
from tests.model.shapes import SHAPES, last, plain, saga

QUICK = Bounds(faults=2, suspensions=True)
TARGET = "tests.model.shapes"


def run_pasted(source):
    """Run a pasted test as it is."""
    names: dict[str, object] = {}
    exec(compile(source, "pasted", "exec"), names)
    tests = [value for name, value in names.items() if name.startswith("test_")]
    assert len(tests) == 1
    tests[0]()  # type: ignore[operator]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_no_promise_is_broken_by_a_saga_of_any_shape(shape):
    verdict = check_model(shape, bounds=QUICK)
    assert verdict.ok, str(verdict)
    assert verdict.explored.faults_done == 2


@pytest.mark.parametrize(
    "shape",
    [shapes.Two, shapes.Pivot, shapes.Replies, shapes.Timed, shapes.Parent, shapes.Endless],
    ids=lambda s: s.name,
)
def test_small_sagas_are_proven_with_any_number_of_faults(shape):
    verdict = check_model(shape)
    assert verdict.proven
    assert "everything was explored" in verdict.extent
    assert "completed" in verdict.endings


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_the_test_to_paste_of_every_finding_runs(shape):
    verdict = check_model(shape, bounds=QUICK, target=f"{TARGET}:{shape.name}")
    told = [finding for finding in verdict.findings if finding.path is not None]
    assert told
    for finding in told:
        if finding.test is None:
            assert shape is shapes.Parent  # a sub-saga that is stuck, or will not be undone
        else:
            run_pasted(finding.test)


def test_what_stands_and_what_gets_stuck_is_told_with_the_shortest_way():
    verdict = check_model(shapes.Stuck)
    found = {finding.what: finding for finding in verdict.findings}
    unknown = found["it can get stuck: nobody can tell whether step pivot happened"]
    assert unknown.path is not None
    assert [one.text for one in unknown.path.happened] == [
        "the saga begins",
        "before succeeds",
        "pivot times out, or its answer is lost: it may have happened",
    ]
    assert unknown.path.faults == 1
    assert "STUCK" in unknown.path.diagram()
    assert unknown.path.diagram("mermaid").startswith("flowchart")


def test_a_saga_that_stays_done_although_it_failed_is_told():
    verdict = check_model(saga("Shop", last("mail"), plain("pay")))
    assert any(finding.about == "stands after failed" and finding.step == "mail" for finding in verdict.findings)


def test_sleeps_that_do_not_fit_into_the_deadline_are_told():
    verdict = check_model(saga("Slow", Sleep("one", 40), Sleep("two", 40), plain("pay"), deadline=60))
    [warning] = verdict.of("warning")
    assert "take 1 m 20 s, but the deadline is 1 m" in warning.what
    assert warning.step == "two"


def test_waits_without_a_timeout_and_retries_without_end_are_told():
    verdict = check_model(
        saga("Slow", WaitFor("word", signal="word"), last("knock", retry=RetryPolicy(max_attempts=None)))
    )
    assert {finding.about for finding in verdict.of("note")} >= {"waits for ever", "retries without end"}


def test_both_answers_of_a_condition_are_explored():
    seen = set()

    def note(instance):
        seen.add(instance.steps["gift"].state.value)

    check_model(shapes.Timed, rules=[note])
    assert {"skipped", "succeeded", "failed"} <= seen


def never_both(instance):
    """A rule that this saga breaks: what was paid may be undone while the second step stands."""
    assert instance.state is not SagaState.FAILED or instance.outcome == "compensated", "only compensated, please"


def test_a_rule_of_the_user_is_held_against_every_state():
    verdict = check_model(shapes.One, rules=[never_both], target=f"{TARGET}:One")
    assert not verdict.ok
    [problem] = verdict.of("problem")
    assert problem.about == "rule"
    assert "only compensated, please" in problem.what
    assert problem.path is not None
    assert problem.path.faults == 1
    with pytest.raises(ModelBroken, match="never_both") as broken:
        verdict.check()
    assert broken.value.verdict is verdict


def test_the_test_to_paste_of_a_broken_rule_shows_it():
    problem = check_model(shapes.Two, rules=[never_compensated], target=f"{TARGET}:Two").of("problem")[0]
    assert problem.test is not None
    with pytest.raises(AssertionError):
        run_pasted(problem.test)


def never_compensated(instance):
    return instance.steps["first"].state.value != "compensated"


def test_what_was_not_explored_is_said():
    verdict = check_model(shapes.Beside, bounds=Bounds(states=200))
    assert verdict.ok
    assert not verdict.proven
    assert verdict.explored.waiting > 0
    assert "stopped at a limit" in verdict.extent
    assert f"{verdict.explored.waiting} states more" in verdict.extent


def test_a_limit_of_faults_is_said():
    verdict = check_model(shapes.Two, bounds=Bounds(faults=1))
    assert not verdict.proven
    assert "all paths with at most 1 fault were" in verdict.extent


def test_never_is_not_said_of_what_was_not_explored_whole():
    verdict = check_model(shapes.Three, bounds=Bounds(faults=0))
    assert not verdict.of("warning")


def test_progress_is_told():
    told = []
    check_model(shapes.Two, told=told.append)
    assert told[-1].complete
    assert told[-1].states > 100


def test_a_saga_class_is_taken_as_it_is():
    class Order(Saga[dict]):
        @step(idempotency_key="order-{id}")
        async def pay(self, order: dict) -> str:
            return "paid"

        @pay.compensation
        async def refund(self, order: dict, paid: str | None) -> None: ...

    assert check_model(Order).proven
    assert outline(Order).fingerprint == Order.definition.fingerprint
    assert outline(Order).steps["pay"].idempotency_key is None


def test_bounds_that_make_no_sense_are_refused():
    with pytest.raises(InvalidInput, match="attempts must be at least 1"):
        Bounds(attempts=0)


def test_a_verdict_is_plain_json():
    import json

    document = json.loads(json.dumps(check_model(shapes.Pivot, bounds=QUICK).to_dict()))
    assert document["ok"]
    assert document["findings"][0]["path"]["happened"][0]["what"] == "the saga begins"
