"""A saga from its start to its end, with words of the user's that MongoDB could take for something else: none of them
becomes the name of a field, and each comes back as it was."""

import re

import pytest

from sagafsm import Orchestrator, Rejected, Saga, StepContext, step, wait_for
from sagafsm.core.errors import InvalidInput
from sagafsm.testing.appends import create
from sagafsm_mongo import sealing

HOSTILE = {
    "$set": {"version": 999},
    "$where": "sleep(1e9)",
    "a.b": {"$inc": {"fence": 1}},
    ".": ["$unset", {"$pull": {"tail": {}}}],
    "": "",
    "$": None,
    "_id": {"$oid": "000000000000000000000000"},
    "__proto__": {"x": 1},
    "ö\u202e": "🦄",
}
OURS = re.compile("[a-z_]{1,15}")  # what a field of ours looks like
SEEN = []


class Hostile(Saga[dict]):
    @step
    async def inc(self, given: dict, ctx: StepContext) -> dict:
        SEEN.append(given)
        return {**given, "again": given}

    @inc.compensation
    async def unset(self, given: dict, result: dict | None) -> None:
        SEEN.append(result)

    approval = wait_for("where", timeout=60)

    @step(compensatable=False)
    async def tail(self, given: dict, approval: dict) -> str:
        SEEN.append(approval)
        raise Rejected('{"$set": {"a.b": 1}} \\0')


def names(value):
    """Every name of a field in a document, however deep."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from names(inner)


def everything(raw):
    return [document for name in raw.list_collection_names() for document in raw[name].find()]


async def test_words_of_the_users_are_values_from_the_start_of_a_saga_to_its_end(store, raw, monkeypatch):
    monkeypatch.setattr(sealing, "EVERY", 2)  # so that it passes through every collection
    SEEN.clear()
    async with Orchestrator(store, sagas=[Hostile]) as orchestrator:
        tags = {"_id": "$set", "a.b": "$where", "__proto__": '{"$ne": null}', "tags.k": "a.b"}
        handle = await orchestrator.start(
            Hostile, HOSTILE, saga_id="tail.events", correlation_id="sagas.version", tags=tags
        )
        await orchestrator.signal("tail.events", "where", HOSTILE)
        saga = await orchestrator.wait(handle.saga_id)
        found = [each.saga_id async for each in orchestrator.find(tags=tags)]
    assert (saga.state.value, saga.outcome) == ("failed", "compensated")
    assert SEEN == [HOSTILE, HOSTILE, {**HOSTILE, "again": HOSTILE}]
    assert saga.tags == tags
    assert found == ["tail.events"]
    stored = everything(raw)
    assert {type(document["_id"]) for document in stored} == {str}
    assert [name for document in stored for name in names(document) if not OURS.fullmatch(name)] == []
    users = {*HOSTILE, *tags, "x", "again", "where", "inc"} - {"_id", "k", "tags"}
    assert not users & {name for document in stored for name in names(document)}


@pytest.mark.parametrize("name", ["$set", "a\0b", "$where", "a b", ""])
async def test_a_name_that_begins_like_an_operator_does_not_even_come_so_far(store, raw, name):
    async with Orchestrator(store, sagas=[Hostile]) as orchestrator:
        for named in ({"tags": {name: "x"}}, {"saga_id": name}, {"correlation_id": name}):
            with pytest.raises(InvalidInput):
                await orchestrator.start(Hostile, {}, **named)
        with pytest.raises(InvalidInput, match="NUL"):  # no store takes it
            await orchestrator.start(Hostile, {"a\0b": 1})
    assert raw["sagas"].find_one() is None


async def test_a_store_that_is_handed_such_names_keeps_them_as_values_too(store, raw):
    """Other programs than the orchestrator may call a store."""
    await store.commit([create("s", tags={"$set": "1", "a.b": "2", "\0": "3"}, outcome="$set", problem="a.b \0")])
    document = raw["sagas"].find_one()
    assert document["tags"] == [{"k": "$set", "v": "1"}, {"k": "a.b", "v": "2"}, {"k": "\0", "v": "3"}]
    assert [name for name in names(document) if not OURS.fullmatch(name)] == []
