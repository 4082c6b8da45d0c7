"""New code held against a store with live sagas, and against a file of shapes."""

import json

import pytest

from sagafsm import InvalidInput, Orchestrator, Saga, SagaDefinition, Step, SubSaga, WaitFor, step, wait_for
from sagafsm.runtime import compatibility
from sagafsm.runtime.compatibility import check_compatibility, compare_shapes, read_shapes, shapes_of, write_shapes
from sagafsm.runtime.memory import MemoryStore


async def act(data: object) -> None: ...
async def undo(data: object, result: None) -> None: ...


class Order(Saga[dict]):
    version = 1

    @step
    async def book(self, order: dict) -> str:
        return "booked"

    @book.compensation
    async def cancel(self, order: dict, booked: str | None) -> None: ...

    approval = wait_for("approval")

    @step(compensatable=False)
    async def mail(self, order: dict) -> None: ...


def order(*steps, version=2):
    return SagaDefinition(name="Order", version=version, steps=steps)


BOOK = Step("book", act, compensation=undo)
MAIL = Step("mail", act, compensatable=False)


@pytest.fixture
async def store():
    """Three orders that wait for approval, and one that has ended."""
    store = MemoryStore()
    await store.setup()
    async with Orchestrator(store, sagas=[Order]) as orchestrator:
        for number in range(4):
            await orchestrator.start(Order, {}, saga_id=f"order-{number}")
            await orchestrator.execute(f"order-{number}")
        await orchestrator.signal("order-0", "approval")
        await orchestrator.wait("order-0")
    await store.setup()
    yield store
    await store.close()


async def test_the_same_code_goes_on(store):
    found = await check_compatibility(store, [Order])
    assert found.ok
    assert [(group.fate, group.count) for group in found.groups] == [("goes on", 3)]
    assert found.known[0].registered


async def test_the_old_code_beside_the_new_goes_on(store):
    found = await check_compatibility(store, [Order, order(BOOK)])
    assert found.ok
    assert [kind.partition("#")[0] for kind in found.added] == ["Order@2"]


async def test_what_lies_ahead_was_changed(store):
    new = order(BOOK, WaitFor("approval", signal="approval"), Step("insure", act, compensatable=False), MAIL)
    found = await check_compatibility(store, [new])
    assert not found.ok
    [group] = found.groups
    assert (group.fate, group.count, group.because) == ("needs a map", 3, ("it could go on as Order version 2",))
    assert set(group.examples) == {"order-1", "order-2", "order-3"}
    assert [change.what for change in found.known[0].changes] == ["added", "reordered"]


async def test_what_they_have_been_through_was_changed(store):
    found = await check_compatibility(store, [order(MAIL)])
    [group] = found.groups
    assert (group.fate, group.count) == ("must drain", 3)
    assert any("book, which was removed" in one for one in group.because)
    assert found.count("must drain") == 3


async def test_the_definition_is_gone(store):
    found = await check_compatibility(store, [SagaDefinition(name="Other", steps=[MAIL])])
    [group] = found.groups
    assert group.because == ("the code has no Order any more",)
    assert found.known[0].now is None


async def test_a_changed_shape_under_the_same_version_is_a_problem_even_when_nothing_lives(store):
    for number in (1, 2, 3):
        async with Orchestrator(store, sagas=[Order]) as orchestrator:
            await orchestrator.signal(f"order-{number}", "approval")
            await orchestrator.wait(f"order-{number}")
        await store.setup()
    found = await check_compatibility(store, [order(MAIL, version=1)])
    assert found.groups == []
    assert found.known[0].same_version
    assert not found.ok


async def test_nothing_is_remembered_by_looking(store):
    before = await store.definitions()
    await check_compatibility(store, [order(MAIL)])
    assert await store.definitions() == before


async def test_it_looks_page_by_page_and_tells_how_far_it_is(store, monkeypatch):
    monkeypatch.setattr(compatibility, "PAGE", 2)
    told = []
    found = await check_compatibility(store, [order(MAIL)], told=lambda seen, total: told.append((seen, total)))
    assert found.count("must drain") == 3
    assert told == [(2, 3), (3, 3)]


# --- files ---


def test_a_file_of_shapes_stands_for_the_store(tmp_path):
    parent = SagaDefinition(name="Parent", steps=[SubSaga("child", Order)])
    assert write_shapes(tmp_path / "shapes.json", [parent]) == 2
    old = read_shapes(tmp_path / "shapes.json")
    assert old == shapes_of([parent])
    assert compare_shapes(old, [parent]).ok
    gone = compare_shapes(old, [Order])
    assert not gone.ok
    assert gone.to_dict()["live"] is None
    assert [one["registered"] for one in gone.to_dict()["definitions"]] == [True, False]


@pytest.mark.parametrize(
    "text", ["", "[]", '{"format": 2, "shapes": {}}', '{"format": 1, "shapes": {"x": {"name": "x"}}}', "{"]
)
def test_a_file_that_holds_no_shapes_is_refused(tmp_path, text):
    (tmp_path / "shapes.json").write_text(text)
    with pytest.raises(InvalidInput):
        read_shapes(tmp_path / "shapes.json")


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_shapes(tmp_path / "none.json")


def test_a_file_of_shapes_is_stable_text(tmp_path):
    write_shapes(tmp_path / "a.json", [Order])
    write_shapes(tmp_path / "b.json", [Order])
    assert (tmp_path / "a.json").read_text() == (tmp_path / "b.json").read_text()
    assert json.loads((tmp_path / "a.json").read_text())["format"] == 1
