"""Indexes and the version of what is stored; and what is said of the server."""

import asyncio

import pytest

from sagafsm.core.errors import SettingsError, StoreCorrupt, StoreTooNew, StoreUnavailable
from sagafsm.testing.appends import create
from sagafsm_mongo import MongoStore, health
from sagafsm_mongo.schema import INDEXES, VERSION


async def test_of_six_that_begin_at_once_each_finds_it_done(url, raw):
    stores = [MongoStore.from_url(url) for _ in range(6)]
    await asyncio.gather(*(store.setup() for store in stores))
    assert list(raw["saga_meta"].find()) == [{"_id": "schema", "version": VERSION}]
    for collection, indexes in INDEXES.items():
        found = raw[collection].index_information()
        if len(found) > 1:  # the stand-in keeps only unique ones
            assert set(found) == {"_id_", *(index["name"] for index in indexes)}
    for store in stores:
        await store.close()


async def test_without_migrate_nothing_is_made(url, admin, raw):
    store = MongoStore.from_url(url)
    with pytest.raises(StoreUnavailable, match="migrate=True"):
        await store.setup(migrate=False)
    assert raw.list_collection_names() == []
    await store.setup()
    await store.close()
    await store.setup(migrate=False)
    await store.close()


async def test_a_newer_schema_is_left_alone(url, raw):
    raw["saga_meta"].insert_one({"_id": "schema", "version": VERSION + 1})
    store = MongoStore.from_url(url)
    for migrate in (True, False):
        with pytest.raises(StoreTooNew, match="upgrade sagafsm"):
            await store.setup(migrate=migrate)
    raw["saga_meta"].update_one({"_id": "schema"}, {"$set": {"version": "x"}})
    with pytest.raises(StoreCorrupt, match="restore a backup"):
        await store.setup()


async def test_a_collection_of_somebody_else_is_left_alone(url, raw):
    raw["sagas"].insert_one({"_id": 1, "hero": "Njal"})
    with pytest.raises(SettingsError, match="sagafsm did not make"):
        await MongoStore.from_url(url).setup()
    assert list(raw["sagas"].find()) == [{"_id": 1, "hero": "Njal"}]


async def test_state_and_time_can_be_asked_for_by_hand(store, raw):
    await store.commit([create("order-123", state="pending"), create("other", state="completed", finished_at=1.0)])
    assert [found["_id"] for found in raw["sagas"].find({"state": "pending"})] == ["order-123"]


@pytest.mark.parametrize(("protocol", "version"), [(7, "4.0.28"), (6, "3.6.23")])
async def test_a_server_that_is_too_old_is_refused_before_anything_is_made(store, raw, protocol, version):
    """No such server is here: only what it says of itself is replaced."""
    ask = store._parts.database.ask

    async def answer(command, *, of=None):
        match next(iter(command)):
            case "hello" | "isMaster":
                return {"maxWireVersion": protocol}
            case "buildInfo":
                return {"version": version}
        return await ask(command, of=of)

    raw.client.drop_database(raw.name)
    store._parts.database.ask = answer
    with pytest.raises(SettingsError, match=rf"this is MongoDB {version}, and 4\.2 is the oldest"):
        await store.setup()
    assert raw.list_collection_names() == []


@pytest.mark.parametrize(
    ("hello", "engine", "synced", "shape", "warning"),
    [
        ({}, {}, True, "a single server", "no replica set"),
        ({"setName": "rs0", "hosts": ["a"]}, {"persistent": True}, True, "'rs0' of 1", "one member"),
        ({"setName": "rs0", "hosts": ["a", "b"], "passives": ["c"]}, {"persistent": True}, True, "'rs0' of 3", None),
        ({"setName": "rs0", "hosts": ["a", "b"], "arbiters": ["c"]}, {}, True, "'rs0' of 2", "arbiter"),
        (
            {"setName": "r", "hosts": ["a", "b", "c"]},
            {"name": "m", "persistent": False},
            False,
            "'r' of 3",
            "'m' keeps",
        ),
        ({"msg": "isdbgrid"}, {}, True, "a sharded cluster", None),
    ],
)
async def test_what_a_server_says_of_itself(hello, engine, synced, shape, warning):
    """Answers of servers that are not here, as MongoDB documents them."""

    class Server:
        async def ask(self, command, *, of=None):
            match next(iter(command)):
                case "hello":
                    return hello
                case "buildInfo":
                    return {"version": "7.0.5"}
                case "serverStatus" if engine:
                    return {"storageEngine": engine}
            raise StoreUnavailable("not authorized")

    durability = await health.durability(Server())
    assert durability.synced is synced
    version, found, concern = durability.description.split(", ", 2)
    assert (version, concern) == ("MongoDB 7.0.5", "write concern majority, journalled")
    assert shape in found
    assert (warning is None) == (not durability.warnings)
    assert warning is None or warning in durability.warnings[0]


async def test_the_server_of_these_tests_says_what_it_is(store):
    durability = await store.check()
    assert durability.synced
    assert durability.description.startswith("MongoDB ")
