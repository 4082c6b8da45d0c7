"""Stored sagas become tests: each is run as it stands, and fails when the saga's code is broken."""

import subprocess
import sys

import attrs
import pytest

from sagafsm import InvalidInput, Orchestrator, Rejected, SagaNotFound
from sagafsm.declare import definition_of
from sagafsm.runtime.memory import MemoryStore
from sagafsm.testing.exporting import CannotRetell, Log, export_stored, export_test
from sagafsm.testing.histories import entries_of
from tests.testing import exported as sagas
from tests.testing.exported import BESIDE, Order, Quote, Shop, Trip

TARGET = "tests.testing.exported"
WITHOUT = ["-p", "no:cacheprovider", "-p", "no:asyncio", "-c", "/dev/null"]
WHO = {"actor": "Bob Smith", "reason": "looked into it"}


@pytest.fixture
async def orchestrator():
    async with Orchestrator(MemoryStore(), sagas=[Shop, BESIDE, Quote, Trip]) as orchestrator:
        yield orchestrator


def run_exported(source):
    names: dict[str, object] = {}
    exec(compile(source, "exported", "exec"), names)
    [test] = [value for name, value in names.items() if name.startswith("test_")]
    test()  # type: ignore[operator]


async def stored(orchestrator, saga, data, saga_id="the-order"):
    await orchestrator.start(saga, data, saga_id=saga_id)
    await orchestrator.execute(saga_id)
    return saga_id


async def completed(o):
    await stored(o, Shop, Order("A-7", "4711", 20.0))
    await o.signal("the-order", "approval", {"by": "Ann Lee"})
    await o.execute("the-order")
    return Shop


async def skipped(o):
    await stored(o, Shop, Order("A-7", "4711", 2.0))
    await o.signal("the-order", "approval", {"by": "Ann Lee"}, message_id="m1")
    await o.execute("the-order")
    return Shop


async def compensated(o):
    await stored(o, Shop, Order("A-7", "bad"))
    return Shop


async def compensated_at_the_second_attempt(o):
    await stored(o, Shop, Order("A-7", "slow"))
    return Shop


async def stuck(o):
    await stored(o, Shop, Order("A-7", "blocked"))
    return Shop


async def stuck_then_retried(o):
    await stuck(o)
    await o.retry("the-order", **WHO)
    await o.execute("the-order")
    return Shop


async def stuck_then_skipped(o):
    await stuck(o)
    await o.skip("the-order", "reserve", **WHO)
    await o.execute("the-order")
    return Shop


async def waiting(o):
    await stored(o, Shop, Order("A-7", "4711"))
    return Shop


async def aborted_while_waiting(o):
    await waiting(o)
    await o.abort("the-order", "Ann changed her mind", actor="Bob Smith")
    await o.execute("the-order")
    return Shop


async def suspended_while_waiting(o):
    await waiting(o)
    await o.suspend("the-order", **WHO)
    await o.signal("the-order", "approval")
    await o.resume("the-order")
    await o.execute("the-order")
    return Shop


async def waived_as_a_whole(o):
    await waiting(o)
    await o.abort("the-order", "leave it", actor="Bob Smith", compensate=False)
    await o.execute("the-order")
    return Shop


async def beside_completed(o):
    await stored(o, BESIDE, {"done": True})
    return BESIDE


async def beside_by_the_fallback(o):
    await stored(o, BESIDE, {"done": True, "fail": True})
    return BESIDE


async def beside_stuck_at_the_pivot(o):
    await stored(o, BESIDE, {})
    return BESIDE


async def settled_by_hand(o):
    await beside_stuck_at_the_pivot(o)
    await o.complete_step("the-order", "pivot", "it did")
    await o.execute("the-order")
    return BESIDE


async def quoted(o):
    await stored(o, Quote, {"id": "A-7"})
    await o.complete_step("the-order", "ask", {"price": 12})
    await o.execute("the-order")
    await o.signal("the-order", "answer", "yes, says Ann")
    await o.execute("the-order")
    return Quote


async def quote_refused(o):
    await stored(o, Quote, {"id": "A-7"})
    await o.fail_step("the-order", "ask", "Ann is away")
    await o.execute("the-order")
    return Quote


async def quote_withdrawn(o):
    await stored(o, Quote, {"id": "A-7"})
    await o.complete_step("the-order", "ask", {"price": 12})
    await o.execute("the-order")
    await o.compensate("the-order", "Ann is away")
    await o.execute("the-order")
    await o.complete_step("the-order", "ask", compensation=True)
    await o.execute("the-order")
    return Quote


async def trip_waiting_for_its_shop(o):
    await stored(o, Trip, {"id": "A-7", "card": "4711"})
    return Trip


async def trip_completed(o):
    await trip_waiting_for_its_shop(o)
    await o.signal("the-order:shop", "approval")
    await o.wait("the-order")
    return Trip


async def trip_undone(o):
    await stored(o, Trip, {"id": "A-7", "card": "4711", "strike": True})
    await o.signal("the-order:shop", "approval")
    await o.wait("the-order")
    return Trip


async def trip_whose_shop_failed(o):
    await stored(o, Trip, {"id": "A-7", "card": "bad"})
    await o.wait("the-order")
    return Trip


STORIES = [
    completed, skipped, compensated, compensated_at_the_second_attempt, stuck, stuck_then_retried,
    stuck_then_skipped, waiting, aborted_while_waiting, suspended_while_waiting, waived_as_a_whole, beside_completed,
    beside_by_the_fallback, beside_stuck_at_the_pivot, settled_by_hand, quoted, quote_refused, quote_withdrawn,
    trip_waiting_for_its_shop, trip_completed, trip_undone, trip_whose_shop_failed,
]  # fmt: skip


def name_of(saga):
    return saga.__name__ if isinstance(saga, type) else "BESIDE"


async def export(orchestrator, story, **options):
    saga = await story(orchestrator)
    return await export_stored(orchestrator, "the-order", saga, target=f"{TARGET}:{name_of(saga)}", **options)


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
async def test_the_exported_test_passes_and_holds_none_of_the_data(orchestrator, story):
    exported = await export(orchestrator, story)
    saga = await orchestrator.get("the-order")
    assert exported.expected["state"] == saga.state.value
    assert exported.expected["steps"] == {name: step.state.value for name, step in saga.steps.items()}
    assert exported.differences() == []
    run_exported(exported.source)
    for secret in ("A-7", "4711", "Ann", "Bob", "the-order", "shelf of", "receipt", "looked into"):
        assert secret not in exported.source


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
async def test_the_same_saga_gives_the_same_test(orchestrator, story):
    first = await export(orchestrator, story)
    again = await export_stored(
        orchestrator, "the-order", first.definition, target=f"{TARGET}:{name_of(story_saga(first))}"
    )
    assert first.source == again.source


def story_saga(exported):
    return next(saga for saga in (Shop, BESIDE, Quote, Trip) if definition_of(saga).name == exported.definition.name)


async def test_a_field_can_be_kept(orchestrator):
    exported = await export(orchestrator, completed, keep=["card"])
    assert "4711" in exported.source
    assert "A-7" not in exported.source
    run_exported(exported.source)


# --- it fails when the code is broken ---


def without_the_compensation_of(saga, name):
    definition = definition_of(saga)
    broken = attrs.evolve(definition.steps[name], compensation=None, compensatable=False)
    return attrs.evolve(definition, steps={**definition.steps, name: broken}, trusted=True)


def in_another_order(saga, first, second):
    """The second step comes before the first."""
    definition = definition_of(saga)
    steps = dict(definition.steps)
    steps[second] = attrs.evolve(steps[second], after=steps[first].after)
    steps[first] = attrs.evolve(steps[first], after=(second,))
    return attrs.evolve(definition, steps=steps, trusted=True)


def with_one_attempt(saga, name):
    from sagafsm import RetryPolicy

    definition = definition_of(saga)
    step = definition.steps[name]
    assert step.action is not None
    broken = attrs.evolve(step, action=attrs.evolve(step.action, retry=RetryPolicy.none()))
    return attrs.evolve(definition, steps={**definition.steps, name: broken}, trusted=True)


@pytest.mark.parametrize(
    ("story", "breaks"),
    [
        (compensated, lambda: without_the_compensation_of(Shop, "reserve")),
        (completed, lambda: in_another_order(Shop, "reserve", "charge")),
        (completed, lambda: with_one_attempt(Shop, "charge")),
        (stuck, lambda: attrs.evolve(definition_of(Shop), compensation_retry=None)),
        (beside_by_the_fallback, lambda: attrs.evolve(
            BESIDE,
            steps={**BESIDE.steps, "right": attrs.evolve(BESIDE.steps["right"], fallback=None)},
            trusted=True,
        )),
        (trip_undone, lambda: attrs.evolve(
            definition_of(Trip),
            steps={
                **definition_of(Trip).steps,
                "shop": attrs.evolve(definition_of(Trip).steps["shop"], compensatable=False),
            },
            trusted=True,
        )),
    ],
    ids=["no compensation", "another order", "one attempt", "other policy", "no fallback", "child not undone"],
)  # fmt: skip
async def test_the_exported_test_fails_when_the_code_is_broken(orchestrator, story, breaks, monkeypatch):
    exported = await export(orchestrator, story)
    broken = breaks()
    assert attrs.evolve(exported, definition=broken).differences()
    monkeypatch.setattr(sagas, name_of(story_saga(exported)), broken)
    with pytest.raises(AssertionError):
        run_exported(exported.source)


async def test_a_result_that_can_no_longer_be_read_makes_it_fail(orchestrator):
    exported = await export(orchestrator, completed)
    definition = definition_of(Shop)
    ship = definition.steps["ship"]
    assert ship.action is not None
    arguments = tuple(attrs.evolve(one, type=int) if one.step == "charge" else one for one in ship.action.arguments)
    broken = attrs.evolve(
        definition,
        steps={**definition.steps, "ship": attrs.evolve(ship, action=attrs.evolve(ship.action, arguments=arguments))},
        trusted=True,
    )
    assert attrs.evolve(exported, definition=broken).differences()


# --- what cannot be exported ---


async def test_other_code_than_the_stored_saga_s_is_refused(orchestrator):
    await completed(orchestrator)
    with pytest.raises(InvalidInput, match="export it with the code that it was started with"):
        await export_stored(orchestrator, "the-order", Quote, target="x:y")


async def test_a_saga_that_is_not_there(orchestrator):
    with pytest.raises(SagaNotFound):
        await export_stored(orchestrator, "nothing", Shop, target="x:y")


async def test_a_saga_that_was_stopped_before_it_began(orchestrator):
    await orchestrator.create(Shop, Order("A-7", "4711"), saga_id="the-order")
    await orchestrator.abort("the-order", "no")
    await orchestrator.execute("the-order")
    with pytest.raises(CannotRetell, match="before its first step"):
        await export_stored(orchestrator, "the-order", Shop, target="x:y")


def test_dead_processes_are_told():
    from sagafsm.testing import SagaTestHarness, dies, ends, fails, passes

    harness = SagaTestHarness(Shop)
    data = Order("A-7", "4711")
    harness.play_sync(
        data,
        [
            dies(),
            ends("reserve", {"shelf": "x"}),
            fails("charge", TimeoutError("slow")),
            passes(),
            dies(),
            fails("charge", Rejected("no")),
            dies(),
            ends("reserve.compensation"),
        ],
    )
    logs = [Log(definition=Shop.definition, entries=entries_of(harness.history))]
    exported = export_test(logs, target=f"{TARGET}:Shop")
    assert [cue.kind for cue in exported.story.cues].count("dies") == 3
    run_exported(exported.source)


def test_the_file_runs_by_itself(tmp_path):
    """With nothing but pytest, in a process of its own."""
    from sagafsm.testing import SagaTestHarness, ends, fails

    harness = SagaTestHarness(Shop)
    story = [ends("reserve", {"a": 1}), fails("charge", Rejected("no")), ends("reserve.compensation")]
    harness.play_sync(Order("A-7", "4711"), story)
    logs = [Log(definition=Shop.definition, entries=entries_of(harness.history))]
    (tmp_path / "test_order.py").write_text(export_test(logs, target=f"{TARGET}:Shop").source)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:asyncio",
            "--rootdir",
            str(tmp_path),
            "-c",
            "/dev/null",
            str(tmp_path),
        ],
        cwd=tmp_path,
        env={"PYTHONPATH": ":".join(sys.path), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr
