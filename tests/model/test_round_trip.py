"""What the model explores, the engine does; and what the engine did can be recorded and played again.

Paths picked all over the model are played with the real engine, which has to come to the same state; its history is
exported as a test, which has to come to it once more.
"""

import random

import pytest

from sagafsm.core.codec import describe
from sagafsm.testing import SagaTestHarness
from sagafsm.testing.exporting import Log, export_test
from sagafsm.testing.histories import entries_of
from sagafsm.testing.model import Bounds, outline
from sagafsm.testing.model.checking import path_to
from sagafsm.testing.model.explore import Exploration
from sagafsm.testing.model.paste import source_of
from tests.model.shapes import SHAPES

BOUNDS = Bounds(faults=4, states=300, suspensions=True)
PICKED = 8


def picked_paths(shape):
    exploration = Exploration(shape, BOUNDS, lambda number, played: None)
    exploration.run()
    numbers = list(range(1, len(exploration.nodes)))
    random.Random(shape.name).shuffle(numbers)
    return [path_to(shape, exploration, number) for number in numbers[:PICKED]]


def logs_of(small, harness):
    """The histories of the saga that was played, and of its sub-sagas."""
    logs = [Log(definition=small, entries=entries_of(harness.history))]
    stage = harness._stage
    for name, spec in small.steps.items():
        if spec.child is not None:
            stored = stage.loop.run_until_complete(stage.store.events(f"{harness.saga_id}:{name}"))
            if stored:
                history = [describe("", event) for event in stored]
                logs.append(Log(definition=spec.child, entries=entries_of(history), step=name))
    return logs


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_paths_of_the_model_are_played_recorded_and_played_again(shape, monkeypatch):
    played = []
    play = SagaTestHarness.play_sync
    monkeypatch.setattr(
        SagaTestHarness, "play_sync", lambda self, *given, **more: (played.append(self), play(self, *given, **more))[1]
    )
    small, told = outline(shape, BOUNDS), 0
    for path in picked_paths(shape):
        source = source_of(shape, BOUNDS, path, f"tests.model.shapes:{shape.name}", "it")
        if source is None:
            continue  # no story: something was said before the beginning, or in another process
        told += 1
        names: dict[str, object] = {}
        exec(compile(source, "pasted", "exec"), names)
        names["test_it"]()  # type: ignore[operator]
        exported = export_test(logs_of(small, played[-1]), target=f"tests.model.shapes:{shape.name}")
        assert exported.differences() == [], path.timeline()
    assert told
